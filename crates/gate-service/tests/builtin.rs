//! The built-in services, as a packet loop sees them.

use gate_runtime::{InstanceServer, ServiceConfig, ServiceRegistry};
use gate_service::builtin::{Connection, Origin, Random, Reattach};
use gate_service::{Context, Domain, Packet, Registry, Server};
use gate_wire::packet::Flow;
use std::future::poll_fn;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

const NAMES: [&str; 6] = ["catalog", "clock", "identity", "logger", "random", "scope"];

fn registry() -> Registry {
    let context = Context {
        principal: Some("alice".into()),
        instance: Some(*b"0123456789abcdef"),
        ..Default::default()
    };
    let mut registry = Registry::new(context);
    registry.register_common().unwrap();
    registry
}

fn server(registry: &Registry) -> Server {
    registry.create_server(ServiceConfig::default(), &[]).unwrap()
}

/// The server of the same program elsewhere.
fn moved(server: &Server, registry: &Registry) -> Server {
    let saved = server.save();
    let moved = registry.create_server(ServiceConfig::default(), &saved).unwrap();
    assert_eq!(moved.save().len(), saved.len());
    moved
}

fn send(server: &mut Server, service: usize, domain: Domain, content: &[u8]) {
    server.handle(service, Packet::new(domain, content.to_vec())).unwrap();
}

async fn receive(server: &mut Server) -> (usize, Packet) {
    let packet = poll_fn(|cx| server.poll_packet(cx));
    tokio::time::timeout(Duration::from_secs(60), packet).await.expect("a packet").unwrap()
}

async fn call(server: &mut Server, name: &str, content: &[u8]) -> Vec<u8> {
    let service = NAMES.iter().position(|&other| other == name).unwrap();
    send(server, service, Domain::Call, content);
    let (from, packet) = receive(server).await;
    assert_eq!((from, packet.domain, packet.index), (service, Domain::Call, 0));
    packet.content
}

#[tokio::test]
async fn simple_calls_are_answered() {
    let mut server = server(&registry());
    server.discover(&NAMES).unwrap();
    assert!(server.services().iter().all(|state| state.available));
    let listing = call(&mut server, "catalog", b"json").await;
    let listing: serde_json::Value = serde_json::from_slice(&listing).unwrap();
    let names: Vec<_> =
        listing["services"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, NAMES);
    assert_eq!(call(&mut server, "identity", &[1]).await, b"alice");
    assert_eq!(call(&mut server, "identity", &[2]).await, b"30313233-3435-3637-3839-616263646566");
    assert_eq!(call(&mut server, "logger", b"\x02hello \x1b[2J").await, [0; 8]);
    // What is not known gets an empty answer.
    for (name, content) in [
        ("catalog", &b"xml"[..]),
        ("identity", &[0]),
        ("logger", b"\x09x"),
        ("clock", &[7]),
        ("scope", &[]),
        ("random", &[]),
    ] {
        assert_eq!(call(&mut server, name, content).await, b"", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn timers_come_in_the_order_of_their_times_and_go_on_elsewhere() {
    let registry = registry();
    let mut server = server(&registry);
    server.discover(&["clock"]).unwrap();
    for seconds in [30u64, 10, 20] {
        let content = [&[1][..], &(seconds * 1_000_000_000).to_le_bytes()].concat();
        send(&mut server, 0, Domain::Call, &content);
    }
    send(&mut server, 0, Domain::Call, &[0]);
    let begin = Instant::now();
    let (_, now) = receive(&mut server).await;
    assert_eq!((now.index, now.content.len()), (3, 8));
    assert!(begin.elapsed() < Duration::from_secs(1));
    let (_, first) = receive(&mut server).await;
    assert_eq!((first.index, begin.elapsed().as_secs()), (1, 10));
    // What has passed counts, here and there.
    tokio::time::advance(Duration::from_secs(5)).await;
    let mut server = moved(&server, &registry);
    assert_eq!(receive(&mut server).await.1.index, 1);
    assert_eq!(begin.elapsed().as_secs(), 20);
    assert_eq!(receive(&mut server).await.1.index, 0);
    assert_eq!(begin.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn random_bytes_are_scarce() {
    let mut registry = Registry::new(Context::default());
    registry.register(Random::default()).unwrap();
    let mut server = server(&registry);
    server.discover(&["random"]).unwrap();
    let begin = Instant::now();
    send(&mut server, 0, Domain::Call, &[32]);
    let first = receive(&mut server).await.1.content;
    assert_eq!((first.len(), begin.elapsed().as_secs()), (32, 0));
    // The next one has to wait, also elsewhere; who asks meanwhile gets nothing.
    send(&mut server, 0, Domain::Call, &[32]);
    send(&mut server, 0, Domain::Call, &[1]);
    let mut server = moved(&server, &registry);
    let refused = receive(&mut server).await.1;
    assert_eq!((refused.index, refused.content.len()), (1, 0));
    let second = receive(&mut server).await.1;
    assert_eq!((second.index, second.content.len(), begin.elapsed().as_secs()), (0, 32, 2));
    assert_ne!(first, second.content);
}

#[tokio::test]
async fn a_restriction_is_for_ever() {
    let registry_of_instance = registry();
    let mut server = server(&registry_of_instance);
    server.discover(&["scope", "catalog"]).unwrap();
    let restrict = |names: &[&str]| {
        let mut content = vec![0, names.len() as u8];
        names.iter().for_each(|name| {
            content.push(name.len() as u8);
            content.extend(name.as_bytes());
        });
        content
    };
    for (content, answer) in [
        (vec![0], -1i16),
        (vec![0, 1, 9, b'x'], -1),
        (vec![0, 0, 0], -1),
        (restrict(&["identity", "clock"]), 0),
        // It cannot be taken back.
        (restrict(&["identity", "random"]), 0),
    ] {
        send(&mut server, 0, Domain::Call, &content);
        assert_eq!(receive(&mut server).await.1.content, answer.to_le_bytes(), "{content:?}");
    }
    // In another host process the registry is another one.
    let mut server = moved(&server, &registry());
    server.discover(&["identity", "random", "clock"]).unwrap();
    let available: Vec<_> = server.services().iter().map(|state| state.available).collect();
    assert_eq!(available, [true, true, true, false, false]);
    send(&mut server, 1, Domain::Call, b"json");
    assert_eq!(receive(&mut server).await.1.content, br#"{"services":[{"name":"identity","revision":"0"}]}"#);
}

fn with_origin(reattach: Reattach) -> (Registry, gate_service::builtin::Connector) {
    let mut registry = Registry::new(Context::default());
    let (origin, connector) = Origin::new(reattach);
    registry.register(origin).unwrap();
    (registry, connector)
}

#[tokio::test]
async fn streams_outlast_a_move() {
    let (registry, connector) = with_origin(Reattach::Next);
    let mut server = server(&registry);
    server.discover(&["origin"]).unwrap();
    let (client, host) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(host);
    connector.connect(Connection::new(reader, writer)).await.unwrap();
    send(&mut server, 0, Domain::Call, &[]);
    assert_eq!(receive(&mut server).await.1.content, [0; 8]);
    let (_, flow) = receive(&mut server).await;
    assert_eq!(flow.domain, Domain::Flow);
    let (mut from_program, mut to_program) = tokio::io::split(client);
    to_program.write_all(b"ping pong").await.unwrap();
    // Less is wanted than there is.
    send(&mut server, 0, Domain::Flow, &Flow { id: 0, value: 4 }.encode());
    assert_eq!(receive(&mut server).await.1.content, b"\0\0\0\0\0\0\0\0ping");
    send(&mut server, 0, Domain::Data, b"\0\0\0\0\0\0\0\0answer");

    let (other, connector) = with_origin(Reattach::Next);
    let mut elsewhere = moved(&server, &other);
    // Here nobody carries anything any more.
    drop(server);
    let (mut client, host) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(host);
    connector.connect(Connection::new(reader, writer)).await.unwrap();
    drop(connector);
    send(&mut elsewhere, 0, Domain::Flow, &Flow { id: 0, value: 100 }.encode());
    assert_eq!(receive(&mut elsewhere).await.1.content, b"\0\0\0\0\0\0\0\0 pong");
    poll_fn(|cx| elsewhere.poll_finish(cx)).await;
    let mut answer = [0; 6];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer");
    // The first host's connection got none of it.
    drop(to_program);
    let mut rest = Vec::new();
    from_program.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
    // Nobody can come any more.
    send(&mut elsewhere, 0, Domain::Call, &[]);
    assert_eq!(receive(&mut elsewhere).await.1.content, b"\xff\xff\xff\xff\x01\0\0\0");
}

#[tokio::test]
async fn an_end_comes_to_who_wants_more() {
    let (registry, connector) = with_origin(Reattach::End);
    let mut server = server(&registry);
    server.discover(&["origin"]).unwrap();
    let (mut client, host) = tokio::io::duplex(64);
    let (reader, writer) = tokio::io::split(host);
    connector.connect(Connection::new(reader, writer)).await.unwrap();
    client.write_all(b"all").await.unwrap();
    client.shutdown().await.unwrap();
    send(&mut server, 0, Domain::Call, &[]);
    assert_eq!(receive(&mut server).await.1.domain, Domain::Call);
    assert_eq!(receive(&mut server).await.1.domain, Domain::Flow);
    send(&mut server, 0, Domain::Flow, &Flow { id: 0, value: 3 }.encode());
    assert_eq!(receive(&mut server).await.1.content, b"\0\0\0\0\0\0\0\0all");
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(server.poll_packet(&mut cx).is_pending());
    send(&mut server, 0, Domain::Flow, &Flow { id: 0, value: 1 }.encode());
    assert_eq!(receive(&mut server).await.1, Packet::new(Domain::Data, vec![0; 8]));
}

#[tokio::test]
async fn the_programs_ends_are_answered() {
    let (registry, connector) = with_origin(Reattach::End);
    let mut server = server(&registry);
    server.discover(&["origin"]).unwrap();
    // In both orders.
    for id in 0..2u8 {
        let (client, host) = tokio::io::duplex(64);
        let (reader, writer) = tokio::io::split(host);
        connector.connect(Connection::new(reader, writer)).await.unwrap();
        send(&mut server, 0, Domain::Call, &[]);
        assert_eq!(receive(&mut server).await.1.content, [id, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(receive(&mut server).await.1.domain, Domain::Flow);
        let end = [id, 0, 0, 0, 0, 0, 0, 0];
        let mut pairs = [(Domain::Data, Domain::Flow), (Domain::Flow, Domain::Data)];
        if id == 1 {
            pairs.reverse();
        }
        for (sent, answer) in pairs {
            send(&mut server, 0, sent, &end);
            assert_eq!(receive(&mut server).await, (0, Packet::new(answer, end.to_vec())));
        }
        // Nothing is left of the stream, and what is late does not matter.
        assert_eq!(server.save()[0].state[8..], [0; 4]);
        send(&mut server, 0, Domain::Flow, &end);
        drop(client);
    }
}

#[tokio::test]
async fn streams_whose_other_end_is_elsewhere_end() {
    let (registry, connector) = with_origin(Reattach::End);
    let mut server = server(&registry);
    server.discover(&["origin"]).unwrap();
    let (_client, host) = tokio::io::duplex(64);
    let (reader, writer) = tokio::io::split(host);
    connector.connect(Connection::new(reader, writer)).await.unwrap();
    send(&mut server, 0, Domain::Call, &[]);
    assert_eq!(receive(&mut server).await.1.content, [0; 8]);
    let (other, _connector) = with_origin(Reattach::End);
    let mut elsewhere = moved(&server, &other);
    send(&mut elsewhere, 0, Domain::Flow, &Flow { id: 0, value: 4 }.encode());
    let mut got = [receive(&mut elsewhere).await.1, receive(&mut elsewhere).await.1];
    got.sort_by_key(|packet| packet.domain as u8);
    // Nothing more is wanted, and nothing more comes.
    assert_eq!((got[0].domain, &got[0].content[..]), (Domain::Flow, &[0; 8][..]));
    assert_eq!((got[1].domain, &got[1].content[..]), (Domain::Data, &[0; 8][..]));
}

#[tokio::test]
async fn damaged_states_are_refused_or_harmless() {
    let (mut registry, _connector) = with_origin(Reattach::End);
    registry.register_common().unwrap();
    let mut server = server(&registry);
    let names = [&NAMES[..], &["origin"]].concat();
    server.discover(&names).unwrap();
    send(&mut server, 1, Domain::Call, &[1, 0, 0, 0, 0, 1, 0, 0, 0]);
    send(&mut server, 4, Domain::Call, &[9]);
    send(&mut server, 6, Domain::Call, &[]);
    let saved = server.save();
    let mut refused = 0;
    for index in 0..saved.len() {
        for position in 0..saved[index].state.len() {
            for change in [1, 0x80, 0xff] {
                let mut damaged = saved.clone();
                damaged[index].state[position] ^= change;
                if let Ok(mut server) = registry.create_server(ServiceConfig::default(), &damaged) {
                    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                    let _ = server.poll_packet(&mut cx);
                    server.save();
                } else {
                    refused += 1;
                }
            }
            let mut short = saved.clone();
            short[index].state.truncate(position);
            refused += usize::from(registry.create_server(ServiceConfig::default(), &short).is_err());
        }
    }
    assert!(refused > 20, "{refused}");
}
