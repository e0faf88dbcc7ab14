//! Nothing survives the host.

use crate::container::{Container, is_root, socket_pair};
use crate::machine_code;
use crate::program::{Program, message};
use gate_wire::control::Op;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

machine_code! {
    spin: "mov eax, 1", "mov rsi, rdi", "xor edi, edi", "mov edx, 8", "syscall", "2: pause", "jmp 2b";
}

#[test]
fn closing_the_control_socket_ends_everything() {
    let mut container = Container::new();
    let program = Program::new(spin());
    let socket = program.start(&container, 0);
    message::<8>(&socket);
    let children = container.children();
    assert_eq!(children.len(), 1);
    container.control = socket_pair().0;
    assert!(container.ends());
    assert!(children.into_iter().all(is_gone));
}

/// The host in the test below: prints which processes it has, and waits.
#[test]
#[ignore = "is run by another test"]
fn host_to_be_killed() {
    let container = Container::new();
    let program = Program::new(spin());
    let socket = program.start(&container, 0);
    message::<8>(&socket);
    let (_prepared, peer) = socket_pair();
    container.request(Op::Create, 1, &[&peer]);
    while container.children().len() < 2 {
        std::thread::yield_now();
    }
    let children = container.children();
    println!("\npids {} {} {}", container.pid, children[0], children[1]);
    std::io::stdout().flush().unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn killing_the_host_ends_everything() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut host = Command::new(env::current_exe().unwrap())
        .args(["--exact", "death::host_to_be_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(host.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|l| l.starts_with("pids ")).unwrap();
    let pids: Vec<i32> = line.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    assert!(!pids.iter().any(|&pid| is_dead(pid)));

    host.kill().unwrap();
    host.wait().unwrap();
    assert!(pids.into_iter().all(is_gone));
    assert_eq!(fs::read_to_string("/proc/self/mounts").unwrap(), mounts);
}

/// Whether there is no such process, or nothing is left of it but its status.
fn is_dead(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
}

/// Waits for a process's end, for a while.
fn is_gone(pid: i32) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if is_dead(pid) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// All of these tests once more, without privilege.
#[test]
fn everything_holds_for_an_ordinary_user() {
    const USER: u32 = 65534;
    if !is_root() {
        return;
    }
    // The original may be where that user cannot go.
    let copy = env::temp_dir().join(format!("gate-sandbox-test-{}", std::process::id()));
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&copy).uid(USER).gid(USER).current_dir("/").stdin(Stdio::null()).output();
    fs::remove_file(&copy).unwrap();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("test result: ok."), "{text}");
}
