//! A host for tests, one per thread. It transfers a few bytes at a time, and fails the test if the program does something that Gate
//! would stop it for.

use crate::packet::{pair, Domain, Fields, Header, HEADER_SIZE};
use crate::sys::Transfer;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

/// More bytes than a program may have in its buffer for sending.
const MAX_SEND: usize = 2 * 65536 + 1024;

/// How much more the host wants on a stream at a time.
const WINDOW: usize = 1000;

#[derive(Default)]
pub(crate) struct Host {
    /// Bytes per transfer and direction, at most.
    pub(crate) step: usize,
    pub(crate) time: u64,
    /// At these transfers the program has been resumed.
    pub(crate) resumptions: Vec<usize>,
    /// Services that are there.
    pub(crate) available: Vec<String>,
    /// Most services that can be discovered.
    pub(crate) limit: usize,
    /// Calls of a service named `later` are answered when there are so many, the last one first.
    pub(crate) batch: usize,
    /// Calls of other services, in their order, and the replies.
    pub(crate) script: VecDeque<(Vec<u8>, Vec<u8>)>,
    pub(crate) transfers: usize,
    pub(crate) discovered: Vec<String>,
    calls: Vec<Vec<u8>>,
    pub(crate) streams: BTreeMap<i32, HostStream>,
    next_stream: i32,
    received: Vec<u8>,
    to_send: VecDeque<u8>,
}

/// Sends back what it receives.
#[derive(Debug, Default)]
pub(crate) struct HostStream {
    /// How much the program may still send.
    granted: usize,
    /// How much the program wants.
    wanted: usize,
    queue: VecDeque<u8>,
    /// The program has ended its direction.
    pub(crate) ended: bool,
    /// The program does not want anything any more.
    pub(crate) closed: bool,
    end_told: bool,
}

thread_local! {
    pub(crate) static HOST: RefCell<Host> = RefCell::default();
}

pub(crate) fn io(receive: &mut [u8], send: [&[u8]; 2], timeout: i64) -> Transfer {
    HOST.with(|host| host.borrow_mut().io(receive, send, timeout))
}

pub(crate) fn monotonic_time() -> u64 {
    HOST.with(|host| host.borrow().time)
}

impl Host {
    pub(crate) fn new(step: usize) -> Self {
        let available = ["echo", "later", "stream"].map(String::from).to_vec();
        Self { step, available, limit: 256, batch: 3, ..Self::default() }
    }

    fn io(&mut self, receive: &mut [u8], send: [&[u8]; 2], timeout: i64) -> Transfer {
        let send = send.concat();
        assert!(send.len() <= MAX_SEND, "{} bytes are kept for sending", send.len());
        assert!(!receive.is_empty());
        let sent = send.len().min(self.step);
        self.received.extend(&send[..sent]);
        self.handle_packets();
        if let Some(code) = self.discovered.iter().position(|name| name == "stream") {
            for (&id, stream) in &mut self.streams {
                stream.go_on(code as i16, id, &mut self.to_send);
            }
        }
        let received = receive.len().min(self.step).min(self.to_send.len());
        receive.iter_mut().zip(self.to_send.drain(..received)).for_each(|(to, from)| *to = from);
        if sent + received == 0 {
            assert!(timeout >= 0, "the program waits for nothing");
            self.time += timeout as u64;
        }
        self.transfers += 1;
        let started = self.transfers == 1 || self.resumptions.contains(&self.transfers);
        Transfer { received, sent, started }
    }

    fn handle_packets(&mut self) {
        while let Some(header) = Header::decode(&self.received) {
            if self.received.len() < header.padded_size() {
                return;
            }
            let packet: Vec<u8> = self.received.drain(..header.padded_size()).collect();
            assert!(packet[header.size..].iter().all(|&byte| byte == 0));
            self.handle(header, &packet[HEADER_SIZE..header.size]);
        }
    }

    fn handle(&mut self, header: Header, content: &[u8]) {
        let domain = header.domain.expect("a known domain");
        assert_eq!(header.index, 0);
        if header.code == -1 {
            assert_eq!((domain, &content[..2]), (Domain::Call, &[1, 0][..]));
            let name = String::from_utf8(content[3..].to_vec()).unwrap();
            assert!(!self.discovered.contains(&name), "{name} is discovered again");
            if self.discovered.len() < self.limit {
                self.discovered.push(name);
            }
            self.announce(Domain::Call);
            return;
        }
        let name = self.discovered[header.code as usize].clone();
        assert!(self.available.contains(&name), "{name} is addressed");
        match (domain, &*name) {
            (Domain::Call, "echo") => self.push(header.code, Domain::Call, 0, content),
            (Domain::Info, "echo") => self.push(header.code, Domain::Info, 0, content),
            (Domain::Call, "later") => {
                self.calls.push(content.to_vec());
                if self.calls.len() == self.batch {
                    while let Some(content) = self.calls.pop() {
                        self.push(header.code, Domain::Call, self.calls.len() as u8, &content);
                    }
                }
            }
            (Domain::Call, "stream") => {
                let id = self.next_stream;
                self.next_stream += 1;
                self.streams.insert(id, HostStream::default());
                self.push(header.code, Domain::Call, 0, &id.to_le_bytes());
            }
            (Domain::Flow, "stream") => {
                let mut fields = Fields(content);
                while let (Some(id), Some(value)) = (fields.i32(), fields.i32()) {
                    let stream = self.streams.get_mut(&id).expect("a stream");
                    assert!(value >= 0 && !stream.closed);
                    stream.wanted += value as usize;
                    assert!(stream.wanted <= 65536, "{} bytes are wanted", stream.wanted);
                    stream.closed = value == 0;
                }
            }
            (Domain::Data, "stream") => {
                let mut fields = Fields(content);
                let stream = self.streams.get_mut(&fields.i32().unwrap()).expect("a stream");
                assert!(fields.i32() == Some(0) && !stream.ended);
                stream.granted = stream.granted.checked_sub(fields.0.len()).expect("to be allowed to");
                stream.ended = fields.0.is_empty();
                stream.queue.extend(fields.0);
            }
            (Domain::Call, name) => {
                let (call, reply) = self.script.pop_front().expect(name);
                assert_eq!(content, call, "{name}");
                self.push(header.code, Domain::Call, 0, &reply);
            }
            // Streams are closed without having been used.
            (Domain::Flow | Domain::Data, _) if content[4..] == [0; 4] => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Tells which services there are.
    pub(crate) fn announce(&mut self, domain: Domain) {
        let mut content = (self.discovered.len() as u16).to_le_bytes().to_vec();
        content.extend(self.discovered.iter().map(|name| u8::from(self.available.contains(name))));
        self.push(-1, domain, 0, &content);
    }

    fn push(&mut self, code: i16, domain: Domain, index: u8, content: &[u8]) {
        push(&mut self.to_send, code, domain, index, content);
    }
}

impl HostStream {
    fn go_on(&mut self, code: i16, id: i32, to_send: &mut VecDeque<u8>) {
        let more = WINDOW.saturating_sub(self.granted + self.queue.len());
        if !self.ended && more > 0 {
            self.granted += more;
            push(to_send, code, Domain::Flow, 0, &pair(id, more as i32));
        }
        let size = self.queue.len().min(self.wanted);
        if size > 0 && !self.closed {
            self.wanted -= size;
            let bytes: Vec<u8> = self.queue.drain(..size).collect();
            push(to_send, code, Domain::Data, 0, &[&pair(id, 0)[..], &bytes].concat());
        }
        if (self.closed || self.ended && self.queue.is_empty())
            && !std::mem::replace(&mut self.end_told, true)
        {
            push(to_send, code, Domain::Data, 0, &pair(id, 7));
        }
    }
}

fn push(to_send: &mut VecDeque<u8>, code: i16, domain: Domain, index: u8, content: &[u8]) {
    let mut header = Header::encode(content.len(), code, domain);
    header[7] = index;
    to_send.extend(header.iter().chain(content));
    to_send.extend(std::iter::repeat(0).take(crate::packet::padding(HEADER_SIZE + content.len())));
}
