//! Programs written with the crate `gate-guest`, with its C header, and with the crate `gain`, which was made for the original
//! system. `tools/build-programs` builds them.

mod command;

use command::chain::chain;
use command::{Ended, finish, gate};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

/// Where the programs are, once they are built.
static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut build = Command::new(root.join("tools/build-programs"));
    let output = build.args(["guest", "gain"]).output().expect("run tools/build-programs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("programs/wasm")
});

/// Those that send back what they receive.
const ECHOES: [&str; 3] = ["guest-echo", "guest-c-echo", "gain-echo"];

fn built(name: &str) -> PathBuf {
    PROGRAMS.join(format!("{name}.wasm"))
}

/// Runs a program with options, and arguments of its own.
fn run(options: &[&str], name: &str, args: &[&str], input: &[u8]) -> Ended {
    finish(gate(&["run"]).args(options).arg(built(name)).args(args), input)
}

fn data(size: u32) -> Vec<u8> {
    (0..size).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn they_echo() {
    let data = data(1_000_000);
    for name in ECHOES {
        for input in [&data[..], b"hello\n", b""] {
            let ended = run(&[], name, &[], input);
            assert!(ended.code == Some(0) && ended.stdout == input, "{name}: {}", ended.stderr);
        }
    }
}

#[test]
fn they_serve_many_at_once() {
    for name in ["guest-echo", "gain-echo"] {
        let mut child = gate(&["run", "--origin", "listen=127.0.0.1:0"])
            .arg(built(name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        errors.read_line(&mut line).unwrap();
        let addr = line.trim_end().strip_prefix("gate: origin listens on ").expect(&line);
        std::thread::scope(|scope| {
            for client in 0..6 {
                scope.spawn(move || {
                    let sent = data(100_000 + client);
                    let mut stream = TcpStream::connect(addr).unwrap();
                    let (mut writer, to_send) = (stream.try_clone().unwrap(), sent.clone());
                    scope.spawn(move || {
                        writer.write_all(&to_send).unwrap();
                        writer.shutdown(Shutdown::Write).unwrap();
                    });
                    let mut received = Vec::new();
                    stream.read_to_end(&mut received).unwrap();
                    assert!(received == sent, "{name}: {} of {} bytes", received.len(), sent.len());
                });
            }
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn suspension_amid_a_stream_makes_no_difference() {
    let data = data(1_500_000);
    for name in ECHOES {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = dir.path().join("state.wasm");
        // Every hop has the same pipe.
        let (reader, mut writer) = std::io::pipe().unwrap();
        let chain = std::thread::scope(|scope| {
            scope.spawn(|| {
                for piece in data.chunks(10_000) {
                    // Slowly enough for the program to be suspended amid it.
                    std::thread::sleep(Duration::from_millis(3));
                    writer.write_all(piece).unwrap();
                }
                drop(writer);
            });
            let mut first = gate(&["run", "--suspend-after", "100ms", "--snapshot"]);
            first.arg(&snapshot).arg(built(name));
            let options: &[&[&str]] = &[&["--suspend-after", "150ms"]];
            chain(first, &snapshot, options, || reader.try_clone().unwrap().into())
        });
        assert_eq!(chain.code, 0, "{name}");
        assert!(chain.stdout == data, "{name}: {} of {} bytes", chain.stdout.len(), data.len());
        assert!(chain.hops >= 1, "{name} was not suspended");
    }
}

#[test]
fn keys_and_values() {
    let dir = tempfile::tempdir().unwrap();
    let service = |name: &str| format!("kv={}", dir.path().join(name).display());
    for n in 1..=5 {
        let ended = run(&["--service", &service("rust.db")], "guest-counter", &[], b"").quietly(0);
        assert_eq!(ended.stdout(), format!("run {n}, {} marks\n", n.min(3)));
        let ended = run(&["--service", &service("c.db")], "guest-c-counter", &[], b"").quietly(0);
        assert_eq!(ended.stdout(), format!("run {n:04}\n"));
    }
    let ended = run(&[], "guest-counter", &[], b"");
    assert!(ended.code == Some(1) && ended.stderr.contains("Unavailable"), "{ended:?}");
    assert_eq!(run(&[], "guest-c-counter", &[], b"").quietly(0).stdout(), "run 0000\n");
}

/// Answers requests: with as many bytes as the path says, or else with what the request consists of.
fn serve(listener: &TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let size = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..size]);
            let end: &[u8] = if request.starts_with(b"POST") { b"\r\n0\r\n\r\n" } else { b"\r\n\r\n" };
            if size == 0 || request.ends_with(end) {
                break;
            }
        }
        let text = String::from_utf8(request).unwrap();
        let path = text.split(' ').nth(1).unwrap_or_default();
        if path == "/stop" {
            return;
        }
        let answer = match path[1..].parse() {
            Ok(size) => "x".repeat(size),
            Err(_) => text.clone(),
        };
        let head =
            format!("HTTP/1.1 203 Hm\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
        // The program need not want it.
        let _ = stream.write_all((head + &answer).as_bytes());
    }
}

#[test]
fn http() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let service = format!("localhost=web=http://{addr}");
    let fetch = |args: &[&str]| run(&["--service", &service], "guest-fetch", args, b"");
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener));
        let ended = fetch(&["web", "/hello"]).quietly(0);
        assert!(ended.stdout().starts_with("status 203\nGET /hello HTTP/1.1\r\n"), "{ended:?}");
        let ended = fetch(&["web", "/path", "what", "is", "sent"]).quietly(0);
        let lower = ended.stdout().to_lowercase();
        assert!(lower.starts_with("status 203\npost /path http/1.1\r\n"), "{ended:?}");
        assert!(
            lower.contains("content-type: text/plain\r\n") && lower.contains("what is sent"),
            "{ended:?}"
        );
        let ended = fetch(&["web", "/300000", "something"]).quietly(0);
        assert_eq!(ended.stdout.len(), "status 203\n".len() + 300_000);
        // Without a stream that does not fit.
        for (args, error) in [(["web", "/300000"], 5), (["other", "/"], 1), (["web", "no-slash"], 2)] {
            let ended = fetch(&args);
            assert_eq!((ended.code, ended.stdout()), (Some(1), ""), "{ended:?}");
            assert!(ended.stderr.contains(&format!("Service({error})")), "{ended:?}");
        }
        TcpStream::connect(addr).unwrap().write_all(b"GET /stop HTTP/1.1\r\n\r\n").unwrap();
    });
}

#[test]
fn timers() {
    // What it prints goes where messages go, because somebody reads there what it sends.
    let ended = run(&["--origin", "none"], "guest-timers", &[], b"").quietly(0);
    assert_eq!(ended.stdout(), "after 10 ms\nafter 20 ms\nafter 30 ms\n");
    let ended = run(&["--origin", "none"], "guest-c-ticks", &["10"], b"").quietly(0);
    assert_eq!(ended.stdout(), "tick 1\ntick 2\ntick 3\nresumed 0 times\n");
}

#[test]
fn a_resumption_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let options = ["--origin", "none", "--suspend-after", "200ms"];
    let mut first = gate(&["run", "--snapshot"]);
    first.arg(&snapshot).args(options).arg(built("guest-resumed"));
    // It goes on until it notices.
    let chain = chain(first, &snapshot, &[&options], Stdio::null);
    let line = "resumed 1 times\n";
    assert_eq!((chain.code, std::str::from_utf8(&chain.stdout)), (0, Ok(line)));
    assert!(chain.hops >= 1);
}

#[test]
fn what_a_program_finds_out() {
    let ended = run(&["--log", "warn"], "guest-about", &[], b"");
    assert!(ended.code == Some(0) && ended.stderr.contains("this is logged"), "{ended:?}");
    let lines = "principal: nobody\ninstance: 36 characters\nrandom: 8 and 1 bytes\n\
        kv: the service is not available\ncatalog: lost\n";
    assert_eq!(ended.stdout(), lines);
    let ended = run(&["--invoke", "greet"], "guest-plain", &[], b"");
    assert!(ended.code == Some(0) && ended.stdout().starts_with("hello from a function\n"), "{ended:?}");
}

#[test]
fn programs_for_the_original_system_find_its_services() {
    let stdout = |name: &str, input: &str| {
        let ended = run(&[], name, &[], input.as_bytes());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout().to_owned()
    };
    assert_eq!(stdout("gain-lines", "Alice\nBob\nx"), "hello, Alice\nhello, Bob\n");
    let catalog = stdout("gain-catalog", "");
    assert!(catalog.starts_with(r#"{"services":[{"name":"catalog","revision":"0"},"#), "{catalog}");
    let identity = stdout("gain-identity", "");
    assert!(identity.starts_with("principal None, instance Some(\"") && identity.len() == 70, "{identity}");
    assert_eq!(stdout("gain-random", ""), "4 and 2 bytes\n");
}
