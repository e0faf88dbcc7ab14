//! Whatever a program sends to the built-in services, in whatever pieces, and wherever it goes on meanwhile: it is answered, or stopped for
//! what it did, and no more is kept than there is room for.
#![no_main]

use gate_fuzz::services::{NAMES, Services, block_on};
use gate_runtime::{HostFunctions, NoHostFunctions, PacketBytes, PacketHost, ServiceError, Start};
use gate_service::Registry;
use gate_wire::packet::{HEADER_SIZE, Header, MAX_PACKET_SIZE};
use libfuzzer_sys::fuzz_target;
use std::task::{Context, Poll, Waker};

/// Packets that are kept for a program: four, and one more, of the largest size.
const MAX_KEPT: usize = 5 * MAX_PACKET_SIZE;

/// All services, in the order of [`NAMES`].
fn discovery() -> Vec<u8> {
    let mut content = (NAMES.len() as u16).to_le_bytes().to_vec();
    for name in NAMES {
        content.push(name.len() as u8);
        content.extend(name.as_bytes());
    }
    packet(-1, 0, &content)
}

fn packet(code: i16, domain: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADER_SIZE + content.len()) as u32).to_le_bytes().to_vec();
    bytes.extend(code.to_le_bytes());
    bytes.extend([domain, 0]);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

struct Program {
    services: Services,
    host: PacketHost<Registry, NoHostFunctions>,
    /// Sent, and not taken.
    rest: Vec<u8>,
    received: Vec<u8>,
}

impl Program {
    fn new() -> Self {
        let services = Services::new();
        let host = PacketHost::new(services.registry(), NoHostFunctions).expect("services");
        Self { services, host, rest: discovery(), received: Vec::new() }
    }

    fn bytes(&self) -> std::sync::Arc<dyn PacketBytes> {
        self.host.bytes()
    }

    /// Sends so much of what is to be sent. Gives false if that is the end of the program.
    fn send(&mut self, most: usize) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let most = most.min(self.rest.len());
        match self.bytes().poll_write(&mut cx, &self.rest[..most]) {
            Poll::Ready(Ok(size)) => drop(self.rest.drain(..size)),
            Poll::Ready(Err(ServiceError::Violation(why))) => {
                assert_eq!(self.host.violation(), Some(why));
                return false;
            }
            Poll::Ready(Err(ServiceError::Fault(fault))) => panic!("{fault}"),
            Poll::Pending => {}
        }
        true
    }

    fn receive(&mut self, most: usize) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut buf = vec![0; most];
        match self.bytes().poll_read(&mut cx, &mut buf) {
            Poll::Ready(Ok(size)) => self.received.extend(&buf[..size]),
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => {}
        }
        if let Poll::Ready(size) = self.bytes().poll_readable(&mut cx) {
            assert!(size.expect("as before") < MAX_KEPT);
        }
    }

    /// Goes on elsewhere.
    fn move_away(&mut self) {
        let saved = self.host.save();
        self.host = PacketHost::new(self.services.registry(), NoHostFunctions).expect("services");
        self.host.restore(&saved).expect("what was saved");
        self.host.begin(&Start { resumed: true, monotonic_time: 0 });
    }

    /// What it has received are packets.
    fn check(&self) {
        let mut rest = &self.received[..];
        while let Some(&header) = rest.first_chunk() {
            let header = Header::decode(header).expect("a header");
            assert!(header.code < NAMES.len() as i16);
            rest = rest.get(header.padded_size()..).unwrap_or_default();
        }
    }
}

fn run(mut data: &[u8]) {
    let mut program = Program::new();
    while let [what, a, b, rest @ ..] = data {
        let number = usize::from(u16::from_le_bytes([*a, *b]));
        data = rest;
        let mut take = |size: usize| {
            let (head, tail) = data.split_at(size.min(data.len()));
            data = tail;
            head
        };
        match what % 8 {
            // A packet, of which the header is right as far as that can be.
            0..=2 => {
                let content = take(number % 64).to_vec();
                let domain = [0, 0, 2, 3][usize::from(what / 8 % 4)];
                program.rest.extend(packet(i16::from(*b) % NAMES.len() as i16, domain, &content));
            }
            3 => {
                let bytes = take(number % 64).to_vec();
                program.rest.extend(bytes);
            }
            4 => {
                if !program.send(number) {
                    break;
                }
            }
            5 => program.receive(number),
            6 => {
                if !program.send(usize::MAX) {
                    break;
                }
            }
            _ => program.move_away(),
        }
    }
    program.check();
}

fuzz_target!(|data: &[u8]| block_on(async { run(data) }));
