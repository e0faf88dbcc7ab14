//! Whatever comes as the state of streams, and whatever a program says about them: it is refused, or what is kept is bounded and can be
//! saved again.
#![no_main]

use gate_service::{Domain, Packet, StreamEnd, Streams};
use gate_wire::fields::Fields;
use gate_wire::packet::{Data, Flow};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, ReadBuf};

/// Most that is kept of each direction of a stream, in bytes.
const BOUND: usize = 256 << 10;

/// Saved, and taken over again.
fn moved(streams: &Streams) -> Streams {
    let mut state = Vec::new();
    streams.save(&mut state);
    let mut fields = Fields::new(&state);
    let moved = Streams::restore(&mut fields).expect("what was saved");
    fields.end().expect("nothing more");
    let mut again = Vec::new();
    moved.save(&mut again);
    assert!(again == state);
    moved
}

fuzz_target!(|data: &[u8]| {
    let mut cx = Context::from_waker(Waker::noop());
    let Some((&size, data)) = data.split_first() else { return };
    let (state, mut data) = data.split_at(usize::from(size).min(data.len()));
    let mut streams = match Streams::restore(&mut Fields::new(state)) {
        Ok(streams) => streams,
        Err(_) => Streams::new(),
    };
    let mut ends: BTreeMap<i32, StreamEnd> =
        streams.ids().into_iter().filter_map(|id| Some((id, streams.attach(id)?))).collect();
    while let &[what, id, a, b, ref rest @ ..] = data {
        let (id, number) = (i32::from(id), u16::from_le_bytes([a, b]));
        let size = usize::from(number);
        data = rest;
        let result = match what % 12 {
            0 => {
                ends.extend(streams.open());
                Ok(())
            }
            1 => {
                let (content, rest) = rest.split_at(size.min(rest.len()) / 8 * 8);
                data = rest;
                streams.handle(Packet::new(Domain::Flow, content.to_vec()))
            }
            2 => {
                let value = i32::from(number.cast_signed()) * i32::from(what);
                streams.handle(Packet::new(Domain::Flow, Flow { id, value }.encode().to_vec()))
            }
            3 => {
                let mut content = Data { id, note: 0, bytes: &[] }.encode_header().to_vec();
                content.resize(content.len() + size, b);
                streams.handle(Packet::new(Domain::Data, content))
            }
            4 | 5 => {
                if let Poll::Ready(packet) = streams.poll_packet(&mut cx) {
                    assert!(packet.content.len() <= 65528);
                }
                Ok(())
            }
            6 => {
                ends.remove(&id);
                Ok(())
            }
            7 => {
                streams = moved(&streams);
                ends = ends.keys().filter_map(|&id| Some((id, streams.attach(id)?))).collect();
                Ok(())
            }
            _ => {
                let Some(end) = ends.get_mut(&id) else { continue };
                match what % 12 {
                    8 => assert!(end.write_now(&vec![1; size]) <= size),
                    9 => {
                        let mut buf = vec![0; size];
                        drop(Pin::new(end).poll_read(&mut cx, &mut ReadBuf::new(&mut buf)));
                    }
                    10 => match a % 3 {
                        0 => end.end_output(),
                        1 => end.cut_output(),
                        _ => end.close_input(),
                    },
                    _ => {
                        if let Poll::Ready(chunk) = end.poll_chunk(&mut cx) {
                            assert!(chunk.len() <= BOUND);
                            end.consume(chunk.len().min(size));
                        }
                    }
                }
                Ok(())
            }
        };
        if result.is_err() {
            // The program is stopped for that.
            break;
        }
    }
    drop(moved(&streams));
    ends.clear();
    while streams.poll_packet(&mut cx).is_ready() {}
});
