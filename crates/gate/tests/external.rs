//! Services in other processes: the example, which is in Python, used by programs that are suspended, moved and copied while
//! the server comes and goes.

mod command;

use command::chain::chain;
use command::fetched::fetch;
use command::{finish, gate, wait_within};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

const NOTES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/notes.wat");

const BRIDGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packets/bridge.wat");

/// The example server.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(address: &str) -> Self {
        let mut child = Command::new(fetch(&["venv"]).join("venv/bin/python"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/service.py"))
            .arg(address)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, format!("serving {address}\n"));
        Self { child, address: address.to_owned() }
    }

    fn in_dir(dir: &Path) -> Self {
        Self::start(&format!("unix:{}", dir.join("socket").display()))
    }

    /// As it is given on the command line.
    fn option(&self) -> String {
        option(&self.address)
    }

    fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Lets it end in order.
    fn end(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(wait_within(&mut self.child, LIMIT), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn option(address: &str) -> String {
    let scheme = if address.starts_with("unix:") { "" } else { "http://" };
    format!("notes=grpc:{scheme}{address}")
}

fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn run_notes(option: &str) -> Command {
    gate(&["run", "--service", option, NOTES])
}

#[test]
fn a_program_calls_over_unix_sockets_and_tcp() {
    let dir = tempfile::tempdir().unwrap();
    for server in [Server::in_dir(dir.path()), Server::start(&free_port())] {
        finish(&mut run_notes(&server.option()), b"").quietly(100);
        let ended = finish(&mut gate(&["services", "--service", &server.option()]), b"").quietly(0);
        assert!(ended.stdout().contains("\nnotes     1\n"), "{ended:?}");
        server.end();
    }
}

#[test]
fn the_state_goes_along_and_into_copies() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::in_dir(dir.path());
    let snapshot = dir.path().join("state.wasm");
    let option = server.option();
    let mut first = gate(&["run", "--suspend-after", "80ms", "--snapshot"]);
    first.arg(&snapshot).args(["--service", &option, NOTES]);
    let hop = ["--suspend-after", "150ms", "--service", &option];
    let chain = chain(first, &snapshot, &[&hop], Stdio::null);
    assert!(chain.code == 100 && chain.hops >= 2, "{} after {} hops", chain.code, chain.hops);

    // Each copy is another instance, and goes on from the same state.
    let mut first = gate(&["run", "--suspend-after", "300ms", "--snapshot"]);
    first.arg(&snapshot).args(["--service", &option, NOTES]);
    assert_eq!(finish(&mut first, b"").code, Some(75));
    let ended = finish(gate(&["fork", "-n", "3", "--service", &option]).arg(&snapshot), b"");
    ended.with_line(100, &["3 copies: 3 exited with 100"]);
}

#[test]
fn a_server_that_ends_in_order_hands_its_instances_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::in_dir(dir.path());
    let mut child = run_notes(&server.option()).stdin(Stdio::null()).spawn().unwrap();
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(300));
        server.end();
        server = Server::in_dir(dir.path());
    }
    assert_eq!(wait_within(&mut child, LIMIT), Some(100));
}

#[test]
fn a_server_that_dies_is_missed_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::in_dir(dir.path());
    let option = server.option();
    let mut command = run_notes(&option);
    let mut child = command.args(["--log", "error"]).stdin(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.signal(Signal::KILL);
    drop(server);
    let ended = finish(&mut gate(&["services", "--service", &option]), b"");
    assert!(ended.stdout().contains("not available"), "{ended:?}");
    let _server = Server::in_dir(dir.path());
    let code = wait_within(&mut child, LIMIT).unwrap();
    // What the other one knew is lost.
    assert!((128..228).contains(&code), "{code}");
}

#[test]
fn a_server_can_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", dir.path().join("socket").display());
    let mut child =
        run_notes(&option(&address)).args(["--log", "error"]).stdin(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let _server = Server::in_dir(dir.path());
    assert_eq!(wait_within(&mut child, LIMIT), Some(100));
}

fn data(size: u32) -> Vec<u8> {
    (0..size).map(|i| b'a' + (i.wrapping_mul(2_654_435_761) >> 13) as u8 % 26).collect()
}

#[test]
fn streams_carry_everything_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::in_dir(dir.path());
    let data = data(3_000_000);
    let mut command = gate(&["run", "--service", &server.option(), BRIDGE]);
    let ended = finish(&mut command, &data).quietly(0);
    assert!(ended.stdout.len() == data.len() && ended.stdout == data.to_ascii_uppercase());
    assert!(finish(&mut command, b"").quietly(0).stdout.is_empty());
}

/// The program is suspended and goes on, and the server is replaced, in turns.
#[test]
fn nothing_on_streams_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::in_dir(dir.path());
    let state: PathBuf = dir.path().join("state.wasm");
    let data = data(4_000_000);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (mut output, stdout) = std::io::pipe().unwrap();
    let received = std::thread::scope(|scope| {
        scope.spawn(|| {
            for piece in data.chunks(20_000) {
                // Slowly enough for the program to be suspended amid it.
                std::thread::sleep(Duration::from_millis(2));
                writer.write_all(piece).unwrap();
            }
            drop(writer);
        });
        let all = scope.spawn(move || {
            let mut received = Vec::new();
            output.read_to_end(&mut received).unwrap();
            received
        });
        let mut command = gate(&["run", "--suspend-after", "150ms", "--snapshot"]);
        command.arg(&state).args(["--service", &server.option(), BRIDGE]);
        let mut stops = 0;
        loop {
            command
                .stdin(reader.try_clone().unwrap())
                .stdout(stdout.try_clone().unwrap())
                .stderr(Stdio::null());
            match command.status().unwrap().code() {
                Some(75) => stops += 1,
                code => {
                    assert_eq!(code, Some(0));
                    break;
                }
            }
            if stops == 1 {
                server.end();
                server = Server::in_dir(dir.path());
            }
            command = gate(&["resume", "--suspend-after", "250ms", "--snapshot"]);
            command.arg(&state).args(["--service", &server.option()]).arg(&state);
        }
        assert!(stops >= 2, "suspended {stops} times");
        drop((command, stdout, reader));
        all.join().unwrap()
    });
    assert!(received == data.to_ascii_uppercase(), "{} of {} bytes", received.len(), data.len());
}

#[test]
fn streams_of_a_server_that_dies_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::in_dir(dir.path());
    let mut command = gate(&["run", "--log", "error", "--service", &server.option(), BRIDGE]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"hello").unwrap();
    let mut received = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut received).unwrap();
    assert_eq!(&received, b"HELLO");
    server.signal(Signal::KILL);
    // The note that says that there would have been more.
    assert_eq!(wait_within(&mut child, LIMIT), Some(1));
}

#[test]
fn wrong_options_are_told() {
    for (service, code, what) in [
        ("notes=grpc:ftp://a:1", 2, "neither http://HOST:PORT nor unix:PATH"),
        ("notes=grpc:", 2, "neither"),
        ("clock=grpc:unix:/nowhere", 2, "service \"clock\" is registered twice"),
        ("=grpc:unix:/nowhere", 2, "service name \"\""),
        ("peer=workers", 2, "gate fork"),
        ("peer=", 2, "peer=GROUP"),
    ] {
        let ended = finish(&mut gate(&["run", "--service", service, NOTES]), b"");
        assert!(ended.code == Some(code) && ended.stderr.contains(what), "{ended:?}");
    }
    // Without one, the program is told what it does wrong.
    let ended = finish(&mut gate(&["services", "--service", "x=grpc:unix:/nowhere/socket"]), b"");
    assert!(ended.code == Some(0) && ended.stdout().contains("not available: "), "{ended:?}");
}
