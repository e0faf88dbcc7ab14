//! What decodes from bytes encodes to the same bytes; nothing else happens.
#![no_main]

use gate_wire::call::{CallReply, CallRequest};
use gate_wire::control::{Report, Request};
use gate_wire::load::{LoadRequest, MAX_MEMORIES, MemoryMap};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(request) = Request::decode(data) {
        assert_eq!(request.encode(), data);
    }
    if let Some(report) = data.first_chunk().and_then(Report::decode) {
        assert_eq!(Report::decode(&report.encode()), Some(report));
    }
    if let Some(call) = CallRequest::decode(data) {
        assert_eq!(CallRequest::decode(&call.encode()), Some(call));
    }
    if let Some(reply) = CallReply::decode(data) {
        assert_eq!(CallReply::decode(&reply.encode()), Some(reply));
    }
    let mut memories = [MemoryMap::default(); MAX_MEMORIES];
    if let Some((request, count)) = LoadRequest::decode(data, &mut memories) {
        let mut buf = [0; LoadRequest::MAX_SIZE];
        let size = request.encode(&memories[..count], &mut buf).expect("decoded");
        assert_eq!(&buf[..size], data);
    }
});
