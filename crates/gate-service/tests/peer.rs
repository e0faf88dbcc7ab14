//! `peer`, as the packet loops of several programs see it.

use gate_runtime::{InstanceServer, ServiceConfig, ServiceRegistry};
use gate_service::builtin::{Peer, PeerHub};
use gate_service::{Context, Domain, Packet, Registry, Server};
use gate_wire::packet::Flow;
use std::future::poll_fn;
use std::task::{self, Poll, Waker};
use std::time::Duration;

const ABSENT: i32 = 1;
const BUSY: i32 = 3;
const OUTSIDE: i32 = 4;

fn registry(hub: &PeerHub, group: &str, name: &str) -> Registry {
    let context = Context { group: Some(group.into()), name: Some(name.into()), ..Default::default() };
    let mut registry = Registry::new(context);
    registry.register(Peer::new(hub)).unwrap();
    registry
}

/// A program, which can be suspended.
struct Program {
    registry: Registry,
    server: Option<Server>,
}

impl Program {
    fn new(hub: &PeerHub, group: &str, name: &str) -> Self {
        let registry = registry(hub, group, name);
        let mut server = registry.create_server(ServiceConfig::default(), &[]).unwrap();
        server.discover(&["peer"]).unwrap();
        Self { registry, server: Some(server) }
    }

    fn server(&mut self) -> &mut Server {
        self.server.as_mut().unwrap()
    }

    /// Suspends it. It goes on when what this returns is called.
    fn suspend(&mut self) -> impl FnOnce(&mut Self) + use<> {
        let saved = self.server().save();
        assert_eq!(self.server().save(), saved);
        self.server = None;
        move |program| {
            program.server = Some(program.registry.create_server(ServiceConfig::default(), &saved).unwrap());
        }
    }

    fn send(&mut self, domain: Domain, content: &[u8]) {
        self.server().handle(0, Packet::new(domain, content.to_vec())).unwrap();
    }

    fn send_data(&mut self, id: i32, bytes: &[u8]) {
        self.send(Domain::Data, &[&id.to_le_bytes()[..], &[0; 4], bytes].concat());
    }

    fn want(&mut self, id: i32, value: i32) {
        self.send(Domain::Flow, &Flow { id, value }.encode());
    }

    fn poll(&mut self) -> Option<Packet> {
        match self.server().poll_packet(&mut task::Context::from_waker(Waker::noop())) {
            Poll::Ready(packet) => Some(packet.unwrap().1),
            Poll::Pending => None,
        }
    }

    /// Receives all there is now: how much it may send, above all.
    fn settle(&mut self) {
        while self.poll().is_some() {}
    }

    async fn receive(&mut self) -> Packet {
        let packet = poll_fn(|cx| self.server().poll_packet(cx));
        tokio::time::timeout(Duration::from_secs(20), packet).await.expect("a packet").unwrap().1
    }

    /// The next packet of a kind.
    async fn receive_in(&mut self, domain: Domain) -> Vec<u8> {
        loop {
            let packet = self.receive().await;
            if packet.domain == domain {
                return packet.content;
            }
        }
    }

    async fn call(&mut self, content: &[u8]) -> (i32, i32, Vec<u8>) {
        self.send(Domain::Call, content);
        decode(&self.receive_in(Domain::Call).await)
    }

    async fn connect(&mut self, name: &str) -> (i32, i32) {
        let (error, id, rest) = self.call(&[b"\x01", name.as_bytes()].concat()).await;
        assert_eq!(rest, b"");
        (error, id)
    }

    /// What comes on a stream, down to the end, and the note there.
    async fn drain(&mut self, id: i32) -> (Vec<u8>, i32) {
        let mut received = Vec::new();
        loop {
            let content = self.receive_in(Domain::Data).await;
            assert_eq!(content[..4], id.to_le_bytes());
            if content.len() == 8 {
                return (received, word(&content, 4));
            }
            received.extend(&content[8..]);
        }
    }
}

fn word(bytes: &[u8], at: usize) -> i32 {
    i32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn decode(reply: &[u8]) -> (i32, i32, Vec<u8>) {
    (word(reply, 0), word(reply, 4), reply[8..].to_vec())
}

/// Two programs with a stream between them, of which both want a lot.
async fn connected(hub: &PeerHub) -> (Program, Program) {
    let (mut a, mut b) = (Program::new(hub, "g", "a"), Program::new(hub, "g", "b"));
    b.send(Domain::Call, &[0]);
    assert_eq!(b.poll(), None);
    assert_eq!(a.connect("b").await, (0, 0));
    assert_eq!(decode(&b.receive_in(Domain::Call).await), (0, 0, b"a".to_vec()));
    for program in [&mut a, &mut b] {
        program.want(0, 1 << 24);
    }
    (a, b)
}

#[tokio::test]
async fn programs_of_a_group_find_each_other() {
    let hub = PeerHub::new();
    let (mut a, mut b) = connected(&hub).await;
    let mut other = Program::new(&hub, "h", "a");
    assert_eq!(a.call(b"\x02").await, (0, 0, b"\x01a\x01b".to_vec()));
    assert_eq!(a.call(b"\x02a").await, (0, 0, b"\x01b".to_vec()));
    assert_eq!(other.call(b"\x02").await, (0, 0, b"\x01a".to_vec()));
    assert_eq!(other.connect("b").await, (ABSENT, -1));
    assert_eq!(a.connect("").await, (ABSENT, -1));
    assert_eq!(a.call(b"\x01\xff").await, (ABSENT, -1, vec![]));
    a.settle();
    b.settle();
    a.send_data(0, b"ping");
    a.poll();
    assert_eq!(b.receive_in(Domain::Data).await, b"\0\0\0\0\0\0\0\0ping");
    b.send_data(0, b"pong");
    b.send_data(0, b"");
    b.poll();
    assert_eq!(a.drain(0).await, (b"pong".to_vec(), 0));
    a.send_data(0, b"still");
    a.send_data(0, b"");
    a.poll();
    assert_eq!(b.drain(0).await, (b"still".to_vec(), 0));
    // With oneself.
    assert_eq!(other.connect("a").await, (0, 0));
    assert_eq!(other.call(&[0]).await, (0, 1, b"a".to_vec()));
    // What is not known gets an empty answer.
    for content in [&b""[..], b"\x03", b"\x00x", b"\x02\xff"] {
        a.send(Domain::Call, content);
        assert_eq!(a.receive_in(Domain::Call).await, b"", "{content:?}");
    }
}

#[tokio::test]
async fn a_place_belongs_to_one_program() {
    let hub = PeerHub::new();
    let mut first = Program::new(&hub, "g", "a");
    let mut second = Program::new(&hub, "g", "a");
    assert_eq!(second.connect("a").await, (OUTSIDE, -1));
    assert_eq!(second.call(&[0]).await, (OUTSIDE, -1, vec![]));
    assert_eq!(second.call(&[2]).await, (OUTSIDE, -1, vec![]));
    drop(second);
    assert_eq!(first.call(&[2]).await, (0, 0, b"\x01a".to_vec()));
    drop(first);
    assert_eq!(Program::new(&hub, "g", "a").call(&[2]).await, (0, 0, b"\x01a".to_vec()));
    for (group, name) in [(None, Some("a")), (Some("g"), None), (Some("g"), Some(""))] {
        let context =
            Context { group: group.map(str::to_owned), name: name.map(str::to_owned), ..Default::default() };
        let mut registry = Registry::new(context);
        registry.register(Peer::new(&hub)).unwrap();
        assert_eq!(registry.catalog().count(), 0);
    }
}

#[tokio::test]
async fn nothing_is_lost_when_one_or_the_other_is_suspended() {
    let hub = PeerHub::new();
    let (mut a, mut b) = connected(&hub).await;
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let (mut rest, mut allowed, mut received) = (&data[..], 0, Vec::<u8>::new());
    let mut steps = 0;
    while received.len() < data.len() {
        let mut quiet = true;
        let size = rest.len().min(allowed).min(40_000);
        if size > 0 {
            a.send_data(0, &rest[..size]);
            (rest, allowed, quiet) = (&rest[size..], allowed - size, false);
        }
        if let Some(packet) = a.poll() {
            assert_eq!(packet.domain, Domain::Flow);
            allowed += word(&packet.content, 4) as usize;
            quiet = false;
        }
        if let Some(packet) = b.poll() {
            if packet.domain == Domain::Data {
                received.extend(&packet.content[8..]);
                b.want(0, packet.content.len() as i32 - 8);
            }
            quiet = false;
        }
        steps += 1;
        assert!(!quiet, "{} bytes after {steps} steps", received.len());
        match steps % 7 {
            3 => {
                let resume = a.suspend();
                b.poll().into_iter().filter(|p| p.domain == Domain::Data).for_each(|packet| {
                    received.extend(&packet.content[8..]);
                });
                resume(&mut a);
            }
            5 => {
                let resume = b.suspend();
                resume(&mut b);
            }
            6 => {
                // Both at once, and on in another order.
                let (first, second) = (a.suspend(), b.suspend());
                second(&mut b);
                first(&mut a);
            }
            _ => {}
        }
    }
    assert!(received == data);
}

#[tokio::test]
async fn who_sends_to_a_suspended_program_waits() {
    let hub = PeerHub::new();
    let (mut a, mut b) = connected(&hub).await;
    let resume = b.suspend();
    let (mut sent, mut allowed) = (0, 0);
    for _ in 0..1000 {
        while let Some(packet) = a.poll() {
            allowed += word(&packet.content, 4) as usize;
        }
        let size = allowed.min(10_000);
        if size == 0 {
            break;
        }
        a.send_data(0, &vec![7; size]);
        (sent, allowed) = (sent + size, allowed - size);
    }
    assert!((256 << 10..=512 << 10).contains(&sent) && allowed == 0, "{sent}");
    // Others can connect meanwhile, but not too many.
    let mut results = Vec::new();
    for _ in 0..65 {
        results.push(a.connect("b").await.0);
    }
    assert!(results[..64].iter().all(|&error| error == 0) && results[64] == BUSY, "{results:?}");
    a.send_data(0, b"");
    resume(&mut b);
    let mut received = 0;
    while received < sent {
        a.poll();
        if let Some(packet) = b.poll().filter(|packet| packet.domain == Domain::Data) {
            received += packet.content.len() - 8;
        }
    }
    a.poll();
    assert_eq!(b.drain(0).await, (vec![], 0));
    assert_eq!(b.call(&[0]).await, (0, 1, b"a".to_vec()));
}

#[tokio::test]
async fn an_end_is_told() {
    let hub = PeerHub::new();
    // One that is stopped.
    let (mut a, mut b) = connected(&hub).await;
    b.settle();
    b.send_data(0, b"last words");
    b.poll();
    drop(b);
    assert_eq!(a.drain(0).await, (b"last words".to_vec(), 1));
    drop(a);
    // One that ends while the other one is suspended, with more than is on its way at a time.
    let (mut a, mut b) = connected(&hub).await;
    b.settle();
    let resume = a.suspend();
    for _ in 0..5 {
        b.send_data(0, &[9; 50_000]);
    }
    b.send_data(0, b"");
    poll_fn(|cx| b.server().poll_finish(cx)).await;
    // Nobody waits for one that has ended.
    b.server().save();
    drop(b);
    resume(&mut a);
    let (received, note) = a.drain(0).await;
    assert!(received == [9; 250_000] && note == 0, "{} bytes, {note}", received.len());
    assert_eq!(a.connect("b").await, (ABSENT, -1));
    drop(a);
    // One that is suspended, and is not to come back.
    let (mut a, mut b) = connected(&hub).await;
    let resume = b.suspend();
    hub.forget("g", "a");
    assert_eq!(a.call(&[2]).await.2, b"\x01a\x01b");
    hub.forget("g", "b");
    assert_eq!(a.drain(0).await, (vec![], 1));
    assert_eq!(a.connect("b").await, (ABSENT, -1));
    // If it does, it has lost its streams.
    resume(&mut b);
    assert_eq!(b.drain(0).await, (vec![], 1));
    assert_eq!(a.connect("b").await.0, 0);
}

#[tokio::test]
async fn only_one_copy_has_the_streams() {
    let hub = PeerHub::new();
    let (mut a, mut b) = connected(&hub).await;
    let saved = b.server().save();
    b.server = None;
    let mut copy = Program {
        registry: b.registry.clone(),
        server: Some(b.registry.create_server(ServiceConfig::default(), &saved).unwrap()),
    };
    // Taken.
    b.server = Some(b.registry.create_server(ServiceConfig::default(), &saved).unwrap());
    assert_eq!(b.drain(0).await, (vec![], 1));
    assert_eq!(b.connect("a").await, (OUTSIDE, -1));
    a.settle();
    a.send_data(0, b"for one");
    a.poll();
    assert_eq!(copy.receive_in(Domain::Data).await, b"\0\0\0\0\0\0\0\0for one");
    // Elsewhere there is nobody.
    let registry = registry(&PeerHub::new(), "g", "b");
    let server = Some(registry.create_server(ServiceConfig::default(), &saved).unwrap());
    let mut moved = Program { registry, server };
    assert_eq!(moved.drain(0).await, (vec![], 1));
    assert_eq!(moved.connect("a").await, (ABSENT, -1));
}

#[tokio::test]
async fn who_starts_anew_does_not_get_what_a_suspended_one_had() {
    let hub = PeerHub::new();
    let (mut a, mut b) = connected(&hub).await;
    assert_eq!(a.connect("b").await, (0, 1));
    let _never = b.suspend();
    let mut anew = Program::new(&hub, "g", "b");
    let mut ends = [a.receive_in(Domain::Data).await, a.receive_in(Domain::Data).await];
    ends.sort();
    assert_eq!(ends, [*b"\0\0\0\0\x01\0\0\0", *b"\x01\0\0\0\x01\0\0\0"]);
    anew.send(Domain::Call, &[0]);
    assert_eq!(anew.poll(), None);
}

#[tokio::test]
async fn damaged_states_are_refused_or_harmless() {
    let hub = PeerHub::new();
    let (mut a, mut b) = connected(&hub).await;
    a.connect("b").await;
    b.send(Domain::Call, &[7]);
    b.send(Domain::Call, &[0]);
    let saved = b.server().save();
    b.server = None;
    let mut refused = 0;
    for position in 0..saved[0].state.len() {
        for change in [1, 0x80, 0xff] {
            let mut damaged = saved.clone();
            damaged[0].state[position] ^= change;
            match b.registry.create_server(ServiceConfig::default(), &damaged) {
                Ok(mut server) => {
                    let _ = server.poll_packet(&mut task::Context::from_waker(Waker::noop()));
                    server.save();
                }
                Err(error) => {
                    assert_eq!(error.name, "peer");
                    refused += 1;
                }
            }
        }
        let mut short = saved.clone();
        short[0].state.truncate(position);
        let refusal = b.registry.create_server(ServiceConfig::default(), &short).is_err();
        assert!(refusal || position == 0, "{position}");
    }
    assert!(refused > 50, "{refused}");
}
