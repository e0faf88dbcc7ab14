//! `gate runtime`, as an administrator and a service manager use it.

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

const GATE: &str = env!("CARGO_BIN_EXE_gate");

struct Daemon(Child);

impl Daemon {
    /// Asks it to stop, and waits.
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn status(socket: &Path) -> Output {
    Command::new(GATE).args(["runtime", "--status", "--socket"]).arg(socket).output().unwrap()
}

/// Waits until the daemon answers.
fn ready_status(socket: &Path) -> String {
    for _ in 0..500 {
        let output = status(socket);
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap();
        }
        sleep(Duration::from_millis(10));
    }
    panic!("{:?}", status(socket));
}

#[test]
fn a_daemon_tells_how_it_is_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let daemon = Command::new(GATE)
        .args(["runtime", "--max-containers", "7", "--allow-user", "root", "--socket"])
        .arg(&socket)
        .spawn()
        .unwrap();
    let daemon = Daemon(daemon);
    let text = ready_status(&socket);
    assert!(text.contains(&format!("process     {}\n", daemon.0.id())), "{text}");
    assert!(text.contains("containers  0 (of at most 7)\n"), "{text}");
    daemon.stop();
    assert!(!socket.exists());
    let output = status(&socket);
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("connect to the daemon at"));
}

#[test]
fn a_service_manager_can_hand_over_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let start = |kind| {
        let listener = socket(AddressFamily::UNIX, kind, None).unwrap();
        let _ = std::fs::remove_file(&path);
        bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&listener, 10).unwrap();
        let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" runtime --socket /nonexistent/socket 3<&0 </dev/null";
        Command::new("sh")
            .args(["-c", script, GATE])
            .stdin(Stdio::from(listener))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let daemon = Daemon(start(SocketType::SEQPACKET));
    assert!(ready_status(&path).contains("containers  0"));
    daemon.stop();
    // It is the service manager's.
    assert!(path.exists());

    let output = start(SocketType::STREAM).wait_with_output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("ListenSequentialPacket="), "{text}");
}

#[test]
fn the_sandboxs_programs_can_be_installed() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(GATE).args(["runtime", "--install-binaries"]).arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for name in ["gate-executor", "gate-loader", "gate-rt"] {
        assert!(dir.path().join(name).metadata().unwrap().len() > 1000, "{name}");
    }
}
