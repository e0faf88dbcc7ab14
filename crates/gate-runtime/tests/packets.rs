//! The packet loop against a model: whatever the moments at which bytes come, services are ready, and the program is moved, packets arrive
//! whole, once, and in their order.

use gate_runtime::{
    CreateServerError, HostFunctions, InstanceServer, NoHostFunctions, Packet, PacketBytes, PacketHost,
    SavedService, ServiceConfig, ServiceError, ServiceRegistry, ServiceState, Start,
};
use gate_wire::packet::{
    CODE_SERVICES, Domain, HEADER_SIZE, Header, MAX_PACKET_SIZE, MAX_SERVICES, SERVICE_AVAILABLE,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// Services that note what they get, and send what they are told to. They do so wherever the program is.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    names: Vec<String>,
    /// So many more packets are taken from the program.
    ready: usize,
    handled: Vec<(usize, Packet)>,
    /// For the program.
    packets: VecDeque<(usize, Packet)>,
    /// Bytes of packets that have been taken, with padding.
    taken: usize,
}

impl World {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl ServiceRegistry for World {
    type Server = Self;

    fn create_server(&self, _: ServiceConfig, services: &[SavedService]) -> Result<Self, CreateServerError> {
        // Without any it is for a program that has not been restored yet.
        let names: Vec<_> = services.iter().map(|service| service.name.clone()).collect();
        assert!(names.is_empty() || names == self.lock().names);
        Ok(self.clone())
    }
}

impl InstanceServer for World {
    fn discover(&mut self, names: &[&str]) -> Result<(), ServiceError> {
        self.lock().names.extend(names.iter().map(|&name| name.to_owned()));
        Ok(())
    }

    fn services(&self) -> Vec<ServiceState> {
        self.lock().names.iter().map(|name| ServiceState { available: !name.starts_with('-') }).collect()
    }

    fn poll_ready(&mut self, _: usize, _: &mut Context<'_>) -> Poll<()> {
        if self.lock().ready > 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    fn handle(&mut self, service: usize, packet: Packet) -> Result<(), ServiceError> {
        let mut inner = self.lock();
        inner.ready -= 1;
        inner.handled.push((service, packet));
        Ok(())
    }

    fn poll_packet(&mut self, _: &mut Context<'_>) -> Poll<Result<(usize, Packet), ServiceError>> {
        let mut inner = self.lock();
        match inner.packets.pop_front() {
            Some((service, packet)) => {
                inner.taken += (HEADER_SIZE + packet.content.len()).next_multiple_of(8);
                Poll::Ready(Ok((service, packet)))
            }
            None => Poll::Pending,
        }
    }

    fn save(&self) -> Vec<SavedService> {
        self.lock().names.iter().map(|name| SavedService { name: name.clone(), state: Vec::new() }).collect()
    }
}

/// A program's side.
struct Program {
    world: World,
    host: PacketHost<World, NoHostFunctions>,
    bytes: Arc<dyn PacketBytes>,
    /// All that was received.
    received: Vec<u8>,
}

impl Program {
    fn new() -> Self {
        let world = World::default();
        let host = PacketHost::new(world.clone(), NoHostFunctions).unwrap();
        Self { world, bytes: host.bytes(), host, received: Vec::new() }
    }

    /// With so many services.
    fn with_services(count: usize) -> Self {
        let mut program = Self::new();
        let names: Vec<_> = (0..count).map(|number| format!("service {number}")).collect();
        let mut packet = discovery(&names);
        assert_eq!(program.write(&mut packet).unwrap(), 0);
        program.read(usize::MAX);
        program.received.clear();
        program
    }

    /// Sends as much as is taken. Returns how much is left.
    fn write(&mut self, data: &mut Vec<u8>) -> Result<usize, ServiceError> {
        let mut cx = Context::from_waker(Waker::noop());
        while !data.is_empty() {
            match self.bytes.poll_write(&mut cx, data)? {
                Poll::Ready(size) => drop(data.drain(..size)),
                Poll::Pending => break,
            }
        }
        Ok(data.len())
    }

    /// Receives at most so much, and checks that it is told before.
    fn read(&mut self, most: usize) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(readable) = self.bytes.poll_readable(&mut cx) else { return 0 };
        let readable = readable.unwrap();
        let mut buf = vec![0; most.min(readable + 8)];
        if buf.is_empty() {
            return 0;
        }
        let Poll::Ready(size) = self.bytes.poll_read(&mut cx, &mut buf) else { panic!("nothing to read") };
        let size = size.unwrap();
        assert!(size > 0 && size == buf.len().min(readable));
        self.received.extend(&buf[..size]);
        size
    }

    /// Goes on elsewhere.
    fn move_away(&mut self) {
        let saved = self.host.save();
        self.host = PacketHost::new(self.world.clone(), NoHostFunctions).unwrap();
        self.host.restore(&saved).unwrap();
        assert_eq!(self.host.save(), saved);
        self.bytes = self.host.bytes();
    }

    /// The packets that were received, and how many bytes of one more.
    fn packets(&self) -> (Vec<(i16, Packet)>, usize) {
        let (mut packets, mut rest) = (Vec::new(), &self.received[..]);
        while let Some(&header) = rest.first_chunk() {
            let header = Header::decode(header).expect("a header");
            let Some((packet, others)) = rest.split_at_checked(header.padded_size()) else { break };
            let (content, padding) = packet[HEADER_SIZE..].split_at(header.content_size());
            assert!(padding.iter().all(|&byte| byte == 0));
            let packet = Packet { domain: header.domain, index: header.index, content: content.to_vec() };
            packets.push((header.code, packet));
            rest = others;
        }
        (packets, rest.len())
    }
}

/// The bytes of a packet. What it is padded with means nothing.
fn encode(code: i16, packet: &Packet) -> Vec<u8> {
    let size = HEADER_SIZE + packet.content.len();
    let header = Header { size: size as u32, code, domain: packet.domain, index: packet.index };
    let mut bytes = [&header.encode()[..], &packet.content].concat();
    bytes.resize(header.padded_size(), 0xee);
    bytes
}

fn discovery(names: &[impl AsRef<str>]) -> Vec<u8> {
    let mut content = (names.len() as u16).to_le_bytes().to_vec();
    for name in names {
        content.push(name.as_ref().len() as u8);
        content.extend(name.as_ref().as_bytes());
    }
    encode(CODE_SERVICES, &Packet::new(Domain::Call, content))
}

const SERVICES: usize = 3;

/// A packet that is all right, and its service.
fn packet() -> impl Strategy<Value = (usize, Packet)> {
    let size = prop_oneof![8 => 0..40usize, 1 => 0..=MAX_PACKET_SIZE - HEADER_SIZE];
    (0..SERVICES, 0..4, any::<u8>(), size, any::<u8>()).prop_map(|(service, domain, index, size, seed)| {
        let (domain, size) = match domain {
            0 => (Domain::Call, size),
            1 => (Domain::Info, size),
            2 => (Domain::Flow, size / 8 * 8),
            _ => (Domain::Data, size.max(8)),
        };
        let content = (0..size).map(|at| (at as u8).wrapping_mul(7).wrapping_add(seed)).collect();
        (service, Packet { domain, index, content })
    })
}

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// The program sends so much.
    Write(Index),
    /// The program receives so much at most.
    Read(usize),
    /// Services take so many packets more.
    Ready(usize),
    /// A service has something to say.
    Say(usize, Packet),
    Move,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => any::<Index>().prop_map(Event::Write),
        4 => prop_oneof![1..32usize, 1..200_000usize].prop_map(Event::Read),
        2 => (0..4usize).prop_map(Event::Ready),
        3 => packet().prop_map(|(service, packet)| Event::Say(service, packet)),
        2 => Just(Event::Move),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn packets_arrive_once_and_in_their_order(
        sent in vec(packet(), 0..20),
        events in vec(event(), 0..80),
    ) {
        let mut program = Program::with_services(SERVICES);
        let taken_before = program.world.lock().taken;
        let mut to_send: Vec<u8> = sent.iter().flat_map(|(service, packet)| encode(*service as i16, packet)).collect();
        let mut said = Vec::new();
        for event in events {
            match event {
                Event::Write(index) => {
                    let rest = to_send.split_off(index.index(to_send.len() + 1));
                    program.write(&mut to_send).unwrap();
                    to_send.extend(rest);
                }
                Event::Read(most) => drop(program.read(most)),
                Event::Ready(more) => program.world.lock().ready += more,
                Event::Say(service, packet) => {
                    said.push((service as i16, packet.clone()));
                    program.world.lock().packets.push_back((service, packet));
                }
                Event::Move => program.move_away(),
            }
            // No more is taken from services than there is room for.
            let inner = program.world.lock();
            prop_assert!(inner.taken - taken_before - program.received.len() < 5 * MAX_PACKET_SIZE);
            prop_assert!(inner.handled[..] == sent[..inner.handled.len()]);
        }
        // In the end there is time for everything.
        program.world.lock().ready = usize::MAX;
        prop_assert_eq!(program.write(&mut to_send).unwrap(), 0);
        while program.read(100_000) > 0 {}
        prop_assert!(program.world.lock().handled == sent);
        let (received, more) = program.packets();
        prop_assert_eq!(more, 0);
        prop_assert!(received == said);
    }

    #[test]
    fn a_violation_stops_what_follows_it_and_nothing_else(
        sent in vec(packet(), 0..5),
        fault in 0..8usize,
        number in any::<u16>(),
        later in vec(packet(), 1..3),
        piece in 1..50usize,
    ) {
        let bytes = |packets: &[(usize, Packet)]| -> Vec<u8> {
            packets.iter().flat_map(|(service, packet)| encode(*service as i16, packet)).collect()
        };
        let number = usize::from(number);
        let header = |size: u32, code: i16, domain: u8| {
            let [s0, s1, s2, s3] = size.to_le_bytes();
            let [c0, c1] = code.to_le_bytes();
            vec![s0, s1, s2, s3, c0, c1, domain, 0]
        };
        let (wrong, told) = match fault {
            0 => (header((number % 8) as u32, 0, 0), "packet size"),
            1 => (header((MAX_PACKET_SIZE + 1 + number) as u32, 0, 0), "packet size"),
            2 => (header(8, -2 - (number / 2) as i16, 0), "packet code"),
            3 => (header(8, 0, 4 + (number % 12) as u8), "packet domain"),
            4 => (header(8, (SERVICES + number % 1000) as i16, 0), "services discovered"),
            5 => (header(8, CODE_SERVICES, 1 + (number % 2) as u8), "service discovery"),
            6 => ([header(16, 0, 2), vec![0; 8], header(12, 0, 2), vec![0; 8]].concat(), "flow packet"),
            _ => ([header(8 + (number % 8) as u32, 1, 3), vec![0; 8]].concat(), "data packet"),
        };
        let entry = usize::from(fault == 6);
        let mut program = Program::with_services(SERVICES);
        program.world.lock().ready = usize::MAX;
        let stream = [bytes(&sent), wrong, bytes(&later)].concat();
        let error = stream.chunks(piece).find_map(|piece| program.write(&mut piece.to_vec()).err());
        let message = match error {
            Some(ServiceError::Violation(message)) => message,
            other => panic!("{other:?}"),
        };
        prop_assert!(message.contains(told), "{}", message);
        prop_assert_eq!(program.host.violation(), Some(message));
        let handled = &program.world.lock().handled;
        prop_assert!(handled.len() == sent.len() + entry && handled[..sent.len()] == sent);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(data in vec(prop_oneof![0..9u8, any::<u8>()], 0..600), piece in 1..64usize) {
        let mut program = Program::new();
        program.world.lock().ready = 5;
        for piece in data.chunks(piece) {
            if program.write(&mut piece.to_vec()).is_err() {
                prop_assert!(program.host.violation().is_some());
                break;
            }
            program.move_away();
            program.read(7);
        }
    }

    #[test]
    fn arbitrary_states_are_refused_or_kept(
        state in vec(any::<u8>(), 0..80),
        edits in vec((any::<Index>(), any::<u8>()), 0..4),
        sent in vec(packet(), 0..3),
        cut in any::<Index>(),
    ) {
        let mut program = Program::with_services(SERVICES);
        let mut bytes: Vec<u8> =
            sent.iter().flat_map(|(service, packet)| encode(*service as i16, packet)).collect();
        bytes.truncate(cut.index(bytes.len() + 1));
        program.write(&mut bytes).unwrap();
        let mut saved = program.host.save();
        for (at, byte) in edits {
            let at = at.index(saved[0].state.len());
            saved[0].state[at] = byte;
        }
        for state in [saved[0].state.clone(), state] {
            let world = AnyWorld;
            let mut host = PacketHost::new(world, NoHostFunctions).unwrap();
            let saved = [SavedService { state, ..saved[0].clone() }];
            if host.restore(&saved).is_ok() {
                prop_assert_eq!(host.save(), saved);
                let mut cx = Context::from_waker(Waker::noop());
                let bytes = host.bytes();
                let _ = bytes.poll_write(&mut cx, &[0; 100]);
                let _ = bytes.poll_read(&mut cx, &mut [0; 100]);
            }
        }
    }
}

/// Has whatever services it is said to have.
struct AnyWorld;

impl ServiceRegistry for AnyWorld {
    type Server = World;

    fn create_server(&self, _: ServiceConfig, services: &[SavedService]) -> Result<World, CreateServerError> {
        let world = World::default();
        world.lock().names = services.iter().map(|service| service.name.clone()).collect();
        world.lock().ready = 1;
        Ok(world)
    }
}

#[test]
fn services_that_are_too_many_are_not_discovered() {
    let mut program = Program::new();
    let names = |range: std::ops::Range<usize>| range.map(|number| format!("-{number}")).collect::<Vec<_>>();
    for range in [0..200, 200..300, 300..310] {
        assert_eq!(program.write(&mut discovery(&names(range))).unwrap(), 0);
    }
    while program.read(1000) > 0 {}
    let counts: Vec<_> = program
        .packets()
        .0
        .iter()
        .map(|(code, reply)| {
            assert_eq!((*code, reply.domain), (CODE_SERVICES, Domain::Call));
            let (&count, flags) = reply.content.split_first_chunk().unwrap();
            assert_eq!(usize::from(u16::from_le_bytes(count)), flags.len());
            assert!(flags.iter().all(|flags| flags & SERVICE_AVAILABLE == 0));
            flags.len()
        })
        .collect();
    assert_eq!(counts, [200, MAX_SERVICES, MAX_SERVICES]);
}

#[test]
fn a_packet_that_waits_for_its_service_needs_no_other_one_behind_it() {
    let mut program = Program::with_services(1);
    let packet = Packet::new(Domain::Call, vec![7]);
    let mut bytes = encode(0, &packet);
    assert_eq!(program.write(&mut bytes).unwrap(), 0);
    assert_eq!(program.read(100), 0);
    assert!(program.world.lock().handled.is_empty());
    // The program does nothing but receive, or something else.
    for background in [false, true] {
        program.world.lock().ready = 1;
        let mut cx = Context::from_waker(Waker::noop());
        match background {
            false => assert_eq!(program.read(100), 0),
            true => program.host.poll_background(&mut cx),
        }
        assert_eq!(program.world.lock().handled.pop(), Some((0, packet.clone())));
        assert_eq!(program.write(&mut encode(0, &packet)).unwrap(), 0);
    }
}

#[test]
fn who_goes_on_learns_which_services_there_are() {
    let mut program = Program::with_services(2);
    program.move_away();
    program.host.begin(&Start { resumed: true, monotonic_time: 0 });
    while program.read(1000) > 0 {}
    let (packets, _) = program.packets();
    let told = Packet::new(Domain::Info, vec![2, 0, SERVICE_AVAILABLE, SERVICE_AVAILABLE]);
    assert_eq!(packets, [(CODE_SERVICES, told)]);
}
