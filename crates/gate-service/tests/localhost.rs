//! `localhost`, as a packet loop sees it, with an HTTP server that does what tests want.

use gate_runtime::{InstanceServer, ServiceConfig, ServiceRegistry};
use gate_service::builtin::{HttpLimits, HttpOriginError, Localhost};
use gate_service::{Context, Domain, Packet, Registry, Server};
use gate_wire::packet::Flow;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Waker};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const NO_ORIGIN: i32 = 1;
const INVALID: i32 = 2;
const FAILED: i32 = 3;
const TIMEOUT: i32 = 4;
const TOO_LARGE: i32 = 5;
const INTERRUPTED: i32 = 6;
const NO_STREAM: i32 = 7;
const CANCELLED: i32 = 8;

/// Answers by the path. Counts requests.
async fn serve() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&counter)));
        }
    });
    (address, count)
}

async fn answer(mut stream: TcpStream, count: Arc<AtomicUsize>) {
    let mut request = Vec::new();
    let end = loop {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(size) if size > 0 => request.extend(&piece[..size]),
            _ => return,
        }
        if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
    };
    count.fetch_add(1, Ordering::SeqCst);
    let head = String::from_utf8(request[..end].to_vec()).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let mut body = request.split_off(end);
    let ok = |body: &[u8]| {
        [format!("HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body]
            .concat()
    };
    let reply = match path.as_str() {
        "/head" => ok(head.to_ascii_lowercase().as_bytes()),
        "/teapot" => b"HTTP/1.1 418 no\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/large" => ok(&[b'x'; 300_000]),
        "/huge-head" => format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000)).into_bytes(),
        "/cut" => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".to_vec(),
        "/nonsense" => b"\x16\x03\x01 what?\r\n\r\n".to_vec(),
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(200)).await;
            ok(b"late")
        }
        "/never" => std::future::pending().await,
        "/echo" => {
            // In chunks, until the last one.
            while !body.ends_with(b"0\r\n\r\n") {
                let mut piece = [0; 65536];
                match stream.read(&mut piece).await {
                    Ok(size) if size > 0 => body.extend(&piece[..size]),
                    _ => return,
                }
            }
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &body[..]].concat()
        }
        _ => b"HTTP/1.1 404 not here\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    let _ = stream.write_all(&reply).await;
}

fn limits() -> HttpLimits {
    HttpLimits { timeout: Duration::from_millis(800), ..HttpLimits::default() }
}

fn registry(address: &str) -> Registry {
    let mut registry = Registry::new(Context::default());
    // Nobody listens there: a port that no program can have bound.
    let origins = [("api", address), ("gone", "http://127.0.0.1:1")];
    registry.register(Localhost::new(origins, limits()).unwrap()).unwrap();
    registry
}

fn server(registry: &Registry) -> Server {
    let mut server = registry.create_server(ServiceConfig::default(), &[]).unwrap();
    server.discover(&["localhost"]).unwrap();
    server
}

fn send(server: &mut Server, domain: Domain, content: &[u8]) {
    server.handle(0, Packet::new(domain, content.to_vec())).unwrap();
}

async fn receive(server: &mut Server) -> Packet {
    let packet = poll_fn(|cx| server.poll_packet(cx));
    tokio::time::timeout(Duration::from_secs(20), packet).await.expect("a packet").unwrap().1
}

fn poke(server: &mut Server) {
    let mut cx = task::Context::from_waker(Waker::noop());
    assert!(server.poll_packet(&mut cx).is_pending());
}

fn request(
    origin: &str,
    method: &str,
    path: &str,
    stream: i32,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut content = vec![0, origin.len() as u8, method.len() as u8, headers.len() as u8];
    content.extend(stream.to_le_bytes());
    content.extend((path.len() as u16).to_le_bytes());
    content.extend(format!("{origin}{method}{path}").as_bytes());
    for (name, value) in headers {
        content.push(name.len() as u8);
        content.extend((value.len() as u16).to_le_bytes());
        content.extend(format!("{name}{value}").as_bytes());
    }
    content.extend(body);
    content
}

fn get(path: &str) -> Vec<u8> {
    request("api", "GET", path, -1, &[], b"")
}

struct Reply {
    error: i32,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn decode(content: &[u8]) -> Reply {
    let error = i32::from_le_bytes(content[..4].try_into().unwrap());
    let number = |at: usize| u16::from_le_bytes(content[at..at + 2].try_into().unwrap());
    let (status, count) = (number(4), number(6));
    let (mut at, mut headers) = (8, Vec::new());
    for _ in 0..count {
        let (name, value) = (content[at].into(), usize::from(number(at + 1)));
        let text = |from: usize, size: usize| String::from_utf8(content[from..from + size].to_vec()).unwrap();
        headers.push((text(at + 3, name), text(at + 3 + name, value)));
        at += 3 + name + value;
    }
    Reply { error, status, headers, body: content[at..].to_vec() }
}

async fn call(server: &mut Server, content: &[u8]) -> Reply {
    send(server, Domain::Call, content);
    let mut packet = receive(server).await;
    // The end of the request's body is answered before that, or after.
    while packet.domain == Domain::Flow {
        packet = receive(server).await;
    }
    assert_eq!((packet.domain, packet.index), (Domain::Call, 0));
    decode(&packet.content)
}

#[tokio::test]
async fn requests_are_answered() {
    let (address, _) = serve().await;
    let mut server = server(&registry(&address));
    let content = request("api", "PUT", "/head", -1, &[("Accept", "text/*"), ("x-y", "z")], b"body");
    let reply = call(&mut server, &content).await;
    assert_eq!((reply.error, reply.status), (0, 200));
    assert!(reply.headers.contains(&("x-a".into(), "b".into())), "{:?}", reply.headers);
    let head = String::from_utf8(reply.body).unwrap();
    let host = address.strip_prefix("http://").unwrap();
    for line in
        ["put /head http/1.1\r\n", "\r\naccept: text/*\r\n", "\r\nx-y: z\r\n", "\r\ncontent-length: 4\r\n"]
    {
        assert!(head.contains(line), "{line:?} is not in {head}");
    }
    assert!(head.contains(&format!("\r\nhost: {host}\r\n")), "{head}");
    assert_eq!(call(&mut server, &get("/teapot")).await.status, 418);
    assert_eq!(call(&mut server, &request("api", "HEAD", "/teapot", -1, &[], b"")).await.status, 418);
}

#[tokio::test]
async fn what_goes_wrong_is_told() {
    let (address, count) = serve().await;
    let mut server = server(&registry(&address));
    for (content, error, requests) in [
        (request("other", "GET", "/", -1, &[], b""), NO_ORIGIN, 0),
        (request("api", "GET", "//x y", -1, &[], b""), INVALID, 0),
        (request("api", "GET", "elsewhere", -1, &[], b""), INVALID, 0),
        (request("api", "CONNECT", "/", -1, &[], b""), INVALID, 0),
        (request("api", "GET", "/", -1, &[("host", "other")], b""), INVALID, 0),
        (request("api", "GET", "/", 5, &[], b""), NO_STREAM, 0),
        (request("gone", "GET", "/", -1, &[], b""), FAILED, 0),
        (get("/large"), TOO_LARGE, 1),
        (get("/huge-head"), TOO_LARGE, 1),
        (get("/cut"), FAILED, 1),
        (get("/nonsense"), FAILED, 1),
        (get("/never"), TIMEOUT, 1),
    ] {
        count.store(0, Ordering::SeqCst);
        let reply = call(&mut server, &content).await;
        let text = String::from_utf8_lossy(&content);
        assert_eq!((reply.error, reply.status, reply.body.len()), (error, 0, 0), "{text}");
        assert_eq!(count.load(Ordering::SeqCst), requests, "{text}");
    }
    for content in [&b""[..], b"\x02", b"\x01x", b"\x00\x01\x01\x00", &get("/x")[..9]] {
        send(&mut server, Domain::Call, content);
        assert_eq!(receive(&mut server).await.content, b"", "{content:?}");
    }
    // It goes on.
    assert_eq!(call(&mut server, &get("/teapot")).await.status, 418);
}

#[tokio::test]
async fn answers_come_as_soon_as_they_are_there() {
    let (address, _) = serve().await;
    let mut server = server(&registry(&address));
    for path in ["/never", "/slow", "/teapot"] {
        send(&mut server, Domain::Call, &get(path));
    }
    for (index, error, status) in [(2, 0, 418), (1, 0, 200), (0, TIMEOUT, 0)] {
        let packet = receive(&mut server).await;
        let reply = decode(&packet.content);
        assert_eq!((packet.index, reply.error, reply.status), (index, error, status));
    }
    // No more calls are taken than can be told apart, nor more streams opened than are allowed.
    for _ in 0..16 {
        send(&mut server, Domain::Call, &get("/never"));
    }
    let mut cx = task::Context::from_waker(Waker::noop());
    assert!(server.poll_ready(0, &mut cx).is_pending());
    for _ in 0..16 {
        receive(&mut server).await;
    }
    let mut opened = 0;
    loop {
        send(&mut server, Domain::Call, &[1]);
        let reply = receive(&mut server).await;
        match reply.domain {
            Domain::Call if reply.content[..4] == [0; 4] => opened += 1,
            Domain::Call => break,
            _ => panic!("replies come first"),
        }
    }
    assert_eq!(opened, 64);
}

/// Opens a stream, and receives how much may be sent on it.
async fn open(server: &mut Server) -> i32 {
    send(server, Domain::Call, &[1]);
    let reply = receive(server).await.content;
    assert_eq!(reply[..4], [0; 4]);
    assert_eq!(receive(server).await.domain, Domain::Flow);
    i32::from_le_bytes(reply[4..].try_into().unwrap())
}

fn data(id: i32, bytes: &[u8]) -> Vec<u8> {
    [&id.to_le_bytes()[..], &[0; 4], bytes].concat()
}

/// Receives what comes on a stream, and the note at its end.
async fn drain(server: &mut Server, id: i32) -> (Vec<u8>, i32) {
    let mut received = Vec::new();
    loop {
        let Packet { domain, content, .. } = receive(server).await;
        if domain != Domain::Data {
            continue;
        }
        assert_eq!(content[..4], id.to_le_bytes());
        if content.len() == 8 {
            return (received, i32::from_le_bytes(content[4..].try_into().unwrap()));
        }
        received.extend(&content[8..]);
        let more = Flow { id, value: (content.len() - 8) as i32 };
        send(server, Domain::Flow, &more.encode());
    }
}

#[tokio::test]
async fn large_bodies_go_on_streams() {
    let (address, _) = serve().await;
    let mut server = server(&registry(&address));
    let id = open(&mut server).await;
    send(&mut server, Domain::Data, &data(id, &[]));
    send(&mut server, Domain::Flow, &Flow { id, value: 10_000 }.encode());
    let reply = call(&mut server, &request("api", "GET", "/large", id, &[], b"")).await;
    assert_eq!((reply.error, reply.status, reply.body.len()), (0, 200, 0));
    let (body, note) = drain(&mut server, id).await;
    assert!(body == [b'x'; 300_000] && note == 0, "{} bytes", body.len());

    // In both directions, each request with a stream of its own.
    let id = open(&mut server).await;
    send(&mut server, Domain::Flow, &Flow { id, value: 100_000 }.encode());
    let content = request("api", "POST", "/echo", id, &[], b"");
    send(&mut server, Domain::Call, &content);
    let sent: Vec<u8> = (0..120_000u32).map(|i| (i % 251) as u8).collect();
    for piece in sent.chunks(50_000) {
        send(&mut server, Domain::Data, &data(id, piece));
    }
    send(&mut server, Domain::Data, &data(id, &[]));
    let (body, note) = {
        let mut reply = receive(&mut server).await;
        while reply.domain == Domain::Flow {
            reply = receive(&mut server).await;
        }
        assert_eq!((reply.domain, decode(&reply.content).status), (Domain::Call, 200));
        drain(&mut server, id).await
    };
    assert!(body == sent && note == 0, "{} bytes", body.len());
    assert_eq!(call(&mut server, &content).await.error, NO_STREAM);

    // What is missing is noted.
    let id = open(&mut server).await;
    send(&mut server, Domain::Data, &data(id, &[]));
    send(&mut server, Domain::Flow, &Flow { id, value: 10_000 }.encode());
    assert_eq!(call(&mut server, &request("api", "GET", "/cut", id, &[], b"")).await.error, 0);
    assert_eq!(drain(&mut server, id).await, (b"only this".to_vec(), 1));
}

#[tokio::test]
async fn requests_can_be_cancelled() {
    let (address, _) = serve().await;
    let mut server = server(&registry(&address));
    let id = open(&mut server).await;
    send(&mut server, Domain::Call, &request("api", "POST", "/never", id, &[], b""));
    poke(&mut server);
    send(&mut server, Domain::Flow, &Flow { id, value: 0 }.encode());
    let reply = loop {
        let packet = receive(&mut server).await;
        if packet.domain == Domain::Call {
            break decode(&packet.content);
        }
    };
    assert_eq!(reply.error, CANCELLED);
}

#[tokio::test]
async fn suspended_requests_are_made_again_or_answered_by_an_error() {
    let (address, count) = serve().await;
    let here = registry(&address);
    let mut server = server(&here);
    let id = open(&mut server).await;
    send(&mut server, Domain::Flow, &Flow { id, value: 1000 }.encode());
    send(&mut server, Domain::Call, &get("/slow"));
    send(&mut server, Domain::Call, &request("api", "POST", "/slow", -1, &[], b"x"));
    send(&mut server, Domain::Call, &request("api", "GET", "/slow", id, &[], b""));
    poke(&mut server);
    tokio::time::timeout(Duration::from_millis(80), poll_fn(|cx| server.poll_packet(cx))).await.unwrap_err();
    assert_eq!(count.load(Ordering::SeqCst), 3);
    let saved = server.save();
    drop(server);
    let elsewhere = registry(&address);
    let mut server = elsewhere.create_server(ServiceConfig::default(), &saved).unwrap();
    assert_eq!(server.save()[0].state.len(), saved[0].state.len());
    let (mut replies, mut end) = (Vec::new(), None);
    while replies.len() < 3 || end.is_none() {
        let Packet { domain, index, content } = receive(&mut server).await;
        match domain {
            Domain::Call => replies.push((index, decode(&content))),
            Domain::Data => end = Some(content),
            _ => {}
        }
    }
    let told: Vec<_> = replies.iter().map(|(index, reply)| (*index, reply.error, &reply.body[..])).collect();
    assert_eq!(told, [(1, INTERRUPTED, &b""[..]), (1, INTERRUPTED, b""), (0, 0, b"late")]);
    // The stream is at its end, and something is missing.
    assert_eq!(end, Some([id.to_le_bytes(), [1, 0, 0, 0]].concat()));
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn damaged_states_are_refused_or_harmless() {
    let (address, _) = serve().await;
    let registry = registry(&address);
    let mut server = server(&registry);
    let id = open(&mut server).await;
    send(&mut server, Domain::Call, &get("/never"));
    send(&mut server, Domain::Call, &request("api", "POST", "/never", id, &[], b""));
    let saved = server.save();
    let mut refused = 0;
    for position in 0..saved[0].state.len() {
        for change in [1, 0x80, 0xff] {
            let mut damaged = saved.clone();
            damaged[0].state[position] ^= change;
            match registry.create_server(ServiceConfig::default(), &damaged) {
                Ok(mut server) => {
                    let _ = server.poll_packet(&mut task::Context::from_waker(Waker::noop()));
                    server.save();
                }
                Err(error) => {
                    assert_eq!(error.name, "localhost");
                    refused += 1;
                }
            }
        }
        let mut short = saved.clone();
        short[0].state.truncate(position);
        let refusal = registry.create_server(ServiceConfig::default(), &short).is_err();
        assert!(refusal || position == 0, "{position}");
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn origins_are_addresses() {
    let new = |name: &str, address: &str| Localhost::new([(name, address), ("b", "http://[::1]")], limits());
    assert!(new("a", "http://localhost:8000/").is_ok());
    assert_eq!(new("b", "http://x").unwrap_err(), HttpOriginError::Duplicate("b".into()));
    assert!(matches!(new(&"n".repeat(256), "http://x"), Err(HttpOriginError::Name(_))));
    for address in
        ["", "x", "localhost:80", "https://x", "http://", "http://x/path", "http://a:b@x", "http://x:y"]
    {
        assert_eq!(new("a", address).unwrap_err(), HttpOriginError::Address(address.into()), "{address}");
    }
}
