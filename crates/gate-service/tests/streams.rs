//! Streams against a model: bytes arrive once and in their order, nobody gets more than was asked for, and moves change nothing.

use gate_service::{Domain, MAX_STREAMS, Packet, ServiceError, StreamEnd, Streams};
use gate_wire::fields::Fields;
use gate_wire::packet::{Data, Flow};
use proptest::prelude::*;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, ReadBuf};

/// More than what is kept in each direction of a stream.
const BOUND: usize = 256 << 10;

/// Bytes of which each tells its place.
#[derive(Clone, Debug, Default)]
struct Sequence(usize);

impl Sequence {
    fn byte(at: usize) -> u8 {
        (at ^ at >> 8 ^ at >> 16) as u8
    }

    fn next(&mut self, size: usize) -> Vec<u8> {
        let bytes = (self.0..self.0 + size).map(Self::byte).collect();
        self.0 += size;
        bytes
    }

    fn check(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            assert_eq!(byte, Self::byte(self.0), "at {}", self.0);
            self.0 += 1;
        }
    }
}

/// A stream, seen from both sides.
struct Model {
    streams: Streams,
    id: i32,
    end: Option<StreamEnd>,
    /// How much the program may send.
    granted: usize,
    /// How much the program has asked for and not received.
    wanted: usize,
    sent: Sequence,
    read: Sequence,
    written: Sequence,
    received: Sequence,
    input_closed_told: bool,
    output_ended: bool,
    end_received: bool,
    program_ended: bool,
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Model {
    fn new(streams: Streams) -> Self {
        let (id, end) = streams.open().unwrap();
        Self {
            streams,
            id,
            end: Some(end),
            granted: 0,
            wanted: 0,
            sent: Sequence::default(),
            read: Sequence::default(),
            written: Sequence::default(),
            received: Sequence::default(),
            input_closed_told: false,
            output_ended: false,
            end_received: false,
            program_ended: false,
        }
    }

    fn flow(&self, value: i32) -> Result<(), ServiceError> {
        let content = Flow { id: self.id, value }.encode().to_vec();
        self.streams.handle(Packet::new(Domain::Flow, content))
    }

    fn data(&self, bytes: &[u8]) -> Result<(), ServiceError> {
        let mut content = Data { id: self.id, note: 0, bytes }.encode_header().to_vec();
        content.extend(bytes);
        self.streams.handle(Packet::new(Domain::Data, content))
    }

    /// The program takes packets.
    fn receive(&mut self, most: usize) {
        for _ in 0..most {
            let Poll::Ready(packet) = self.streams.poll_packet(&mut cx()) else { return };
            match packet.domain {
                Domain::Flow => {
                    for Flow { id, value } in Flow::decode_all(&packet.content).unwrap() {
                        assert_eq!(id, self.id);
                        assert!(!self.input_closed_told && value >= 0);
                        self.input_closed_told = value == 0;
                        self.granted += value as usize;
                    }
                }
                Domain::Data => {
                    let data = Data::decode(&packet.content).unwrap();
                    assert!(data.id == self.id && !self.end_received);
                    assert!(data.bytes.len() <= self.wanted, "more than is wanted");
                    self.wanted -= data.bytes.len();
                    self.received.check(data.bytes);
                    self.end_received = data.bytes.is_empty();
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// The host reads.
    fn read(&mut self, most: usize) {
        let Some(end) = &mut self.end else { return };
        let mut buf = vec![0; most];
        let mut buf = ReadBuf::new(&mut buf);
        match Pin::new(end).poll_read(&mut cx(), &mut buf) {
            Poll::Ready(result) => result.unwrap(),
            Poll::Pending => assert!(buf.filled().is_empty()),
        }
        self.read.check(buf.filled());
    }

    fn write(&mut self, size: usize) {
        let Some(end) = self.end.as_ref().filter(|_| !self.output_ended) else { return };
        let bytes = self.written.clone().next(size);
        let taken = end.write_now(&bytes);
        self.written.next(taken);
        assert!(self.written.0 - self.received.0 <= BOUND);
    }

    fn move_away(&mut self) {
        let mut state = Vec::new();
        self.streams.save(&mut state);
        let mut fields = Fields::new(&state);
        self.streams = Streams::restore(&mut fields).unwrap();
        fields.end().unwrap();
        let mut again = Vec::new();
        self.streams.save(&mut again);
        assert!(state == again);
        // The old one's end belongs to nobody any more.
        if self.end.is_some() {
            self.end = self.streams.attach(self.id);
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Want(usize),
    Send(usize),
    Receive(usize),
    Read(usize),
    Write(usize),
    EndOutput,
    CloseInput,
    EndInput,
    Move,
}

fn event() -> impl Strategy<Value = Event> {
    let size = || prop_oneof![4 => 0..100usize, 1 => 0..300_000usize];
    prop_oneof![
        30 => size().prop_map(|size| Event::Want(size + 1)),
        30 => size().prop_map(Event::Send),
        30 => (1..5usize).prop_map(Event::Receive),
        30 => size().prop_map(Event::Read),
        30 => size().prop_map(Event::Write),
        15 => Just(Event::Move),
        1 => Just(Event::EndOutput),
        1 => Just(Event::CloseInput),
        1 => Just(Event::EndInput),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn bytes_arrive_once_and_in_their_order(events in proptest::collection::vec(event(), 0..200)) {
        let mut model = Model::new(Streams::new());
        let mut closed = false;
        for event in events {
            match event {
                Event::Want(size) => {
                    model.flow(size as i32).unwrap();
                    model.wanted += size;
                }
                Event::Send(size) => {
                    let size = size.min(model.granted);
                    if size > 0 && !model.program_ended {
                        model.granted -= size;
                        let bytes = model.sent.next(size);
                        model.data(&bytes).unwrap();
                    }
                }
                Event::Receive(most) => model.receive(most),
                Event::Read(most) => if !closed { model.read(most) },
                Event::Write(size) => model.write(size),
                Event::EndOutput => {
                    model.end.iter().for_each(StreamEnd::end_output);
                    model.output_ended = true;
                }
                Event::CloseInput => {
                    model.end.iter().for_each(StreamEnd::close_input);
                    closed = true;
                }
                Event::EndInput => if !model.program_ended {
                    model.data(&[]).unwrap();
                    model.program_ended = true;
                },
                Event::Move => model.move_away(),
            }
            // What was sent and not read, and what may be sent still, is bounded.
            prop_assert!(closed || model.sent.0 - model.read.0 + model.granted <= BOUND);
        }
        // In the end there is time for everything.
        let rest = model.written.0 - model.received.0;
        model.flow(rest as i32 + 1).unwrap();
        model.wanted += rest + 1;
        model.receive(usize::MAX);
        prop_assert_eq!(model.received.0, model.written.0);
        if !closed {
            model.read(usize::MAX >> 40);
            model.read(usize::MAX >> 40);
            prop_assert_eq!(model.read.0, model.sent.0);
        }
        // Nothing is left of a stream that has ended.
        model.end = None;
        model.receive(usize::MAX);
        prop_assert!(model.end_received);
        prop_assert!(model.input_closed_told);
        prop_assert_eq!(model.streams.ids(), Vec::<i32>::new());
    }

    #[test]
    fn nobody_sends_more_than_is_wanted(before in 1..5000usize, more in 1..5000usize) {
        let mut model = Model::new(Streams::new());
        model.receive(usize::MAX);
        // No bytes at all would be the end of the stream.
        let bytes = vec![1; model.granted];
        model.data(&bytes[..before]).unwrap();
        let error = model.data(&vec![1; model.granted - before + more]).unwrap_err();
        prop_assert!(error.to_string().contains("more data on stream 0 than was wanted"), "{}", error);
    }

    #[test]
    fn nobody_wants_more_than_can_be_counted(first in 1..=i32::MAX, second in 1..=i32::MAX) {
        let model = Model::new(Streams::new());
        model.flow(first).unwrap();
        // A note changes nothing.
        model.flow(-second).unwrap();
        let result = model.flow(second);
        prop_assert_eq!(result.is_err(), first.checked_add(second).is_none());
    }

    #[test]
    fn packets_of_unknown_streams_are_violations(id in prop_oneof![any::<i32>(), -2..5], opened in 0..3i32) {
        let streams = Streams::new();
        let ends: Vec<_> = (0..opened).map(|_| streams.open().unwrap()).collect();
        let flow = Flow { id, value: 1 }.encode().to_vec();
        let known = (0..opened).contains(&id);
        prop_assert_eq!(streams.handle(Packet::new(Domain::Flow, flow)).is_ok(), known);
        let data = Data { id, note: 0, bytes: &[] }.encode_header().to_vec();
        prop_assert_eq!(streams.handle(Packet::new(Domain::Data, data)).is_ok(), known);
        drop(ends);
    }

    #[test]
    fn arbitrary_states_are_refused_or_kept(
        state in proptest::collection::vec(prop_oneof![0..3u8, any::<u8>()], 0..80),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut model = Model::new(Streams::new());
        model.flow(10).unwrap();
        model.wanted += 10;
        model.write(20);
        model.receive(3);
        model.data(&[1, 2, 3]).unwrap();
        let mut edited = Vec::new();
        model.streams.save(&mut edited);
        for (at, byte) in edits {
            let at = at.index(edited.len());
            edited[at] = byte;
        }
        for state in [edited, state] {
            let mut fields = Fields::new(&state);
            let Ok(streams) = Streams::restore(&mut fields) else { continue };
            if fields.end().is_err() {
                continue;
            }
            let mut again = Vec::new();
            streams.save(&mut again);
            prop_assert_eq!(again, state);
            let ends: Vec<_> = streams.ids().into_iter().filter_map(|id| streams.attach(id)).collect();
            while streams.poll_packet(&mut cx()).is_ready() {}
            drop(ends);
            while streams.poll_packet(&mut cx()).is_ready() {}
        }
    }
}

#[test]
fn streams_take_turns_and_there_are_not_too_many() {
    let streams = Streams::new();
    let ends: Vec<_> = (0..MAX_STREAMS).map(|_| streams.open().unwrap()).collect();
    assert!(streams.open().is_none());
    // Each one has something to say, and nobody waits for another one's second word.
    for (id, end) in &ends {
        end.write_now(&[0; 1000]);
        let flow = Flow { id: *id, value: 2000 }.encode().to_vec();
        streams.handle(Packet::new(Domain::Flow, flow)).unwrap();
    }
    let mut said = vec![0; MAX_STREAMS];
    for _ in 0..MAX_STREAMS {
        let Poll::Ready(packet) = streams.poll_packet(&mut cx()) else { panic!("nothing to say") };
        let id = i32::from_le_bytes(*packet.content.first_chunk().unwrap());
        said[id as usize] += 1;
    }
    assert!(said.iter().all(|&count| count == 1));
}
