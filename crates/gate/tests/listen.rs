//! Programs that others connect to.

mod command;

use command::server::{LISTEN, Server};
use command::{finish, gate, program, run};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

fn echoes(client: &mut TcpStream, text: &[u8]) {
    client.write_all(text).unwrap();
    let mut got = vec![0; text.len()];
    client.read_exact(&mut got).unwrap();
    assert_eq!(got, text);
}

#[test]
fn programs_accept_connections() {
    let server = Server::start(&mut run(&LISTEN, "serve.wat", &[]));
    for _ in 0..3 {
        echoes(&mut server.connect(), b"some bytes");
    }
    server.connect().write_all(b"quit").unwrap();
    server.ends(0, "");
    let ended = finish(&mut run(&["--tcplisten", "nowhere"], "serve.wat", &[]), b"");
    assert!(ended.code == Some(2) && ended.stderr.contains("\"nowhere\" is not an address"), "{ended:?}");
    // EBADF
    finish(&mut run(&[], "serve.wat", &[]), b"").quietly(8);
}

#[test]
fn listeners_are_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let snapshot = snapshot.to_str().unwrap();
    let suspending = |command: &str| {
        let mut command = gate(&[command]);
        command.args(LISTEN).args(["--snapshot", snapshot]);
        command
    };
    let server = Server::start(suspending("run").arg(program("serve.wat")));
    let mut client = server.connect();
    echoes(&mut client, b"before");
    // A connection that the program had still would be lost.
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    // It waits for the next connection now, or will soon.
    server.interrupt();
    server.ends(75, "suspended");

    let server = Server::start(suspending("resume").arg(snapshot));
    let mut client = server.connect();
    echoes(&mut client, b"after");
    server.interrupt();
    server.ends(75, "suspended");

    finish(&mut gate(&["resume", snapshot]), b"")
        .with_line(126, &["invalid snapshot", "needs 1 listener(s)"]);
    // Its connection is no more: ECONNRESET.
    Server::start(gate(&["resume"]).args(LISTEN).arg(snapshot)).ends(15, "");
    finish(&mut gate(&["resume", "--missing-files-fail", snapshot]), b"").quietly(15);
    // The copies share the listener.
    let mut fork = gate(&["fork", "-n", "2"]);
    Server::start(fork.args(LISTEN).arg(snapshot)).ends(15, "2 copies");
}
