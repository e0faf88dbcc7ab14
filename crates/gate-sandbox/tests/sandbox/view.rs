//! What the kernel tells about a program process, seen from the host: identity, rights, limits, mappings.

use crate::container::{CONTAINER_ID, Container, HOST_ID, is_root};
use crate::machine_code;
use crate::program::{INSTANCE_SIZE, MEMORY_MAX, MEMORY_SIZE, Program, RT_SPAN, STACK_SIZE, message};
use gate_sandbox::RT;
use gate_wire::control::Op;
use gate_wire::load::SETUP_RANGE;
use gate_wire::{MEMORY_RESERVATION, PAGE_SIZE};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;

machine_code! {
    // Tells that it runs, and goes on running.
    spin:
        "mov rsi, rdi",
        "mov eax, 1",
        "xor edi, edi",
        "mov edx, 8",
        "syscall",
        "2: pause",
        "jmp 2b";
    // Sends one byte from each of the addresses in the memory, up to a zero; keeps the results in their place.
    probe:
        "mov rbx, rdi",
        "2:",
        "mov rsi, [rbx]",
        "test rsi, rsi",
        "jz 3f",
        "mov eax, 1",
        "xor edi, edi",
        "mov edx, 1",
        "syscall",
        "mov [rbx], rax",
        "add rbx, 8",
        "jmp 2b",
        "3: ret";
}

/// A program that runs until its container goes.
struct Running {
    container: Container,
    program: Program,
    pid: i32,
    _socket: OwnedFd,
}

impl Running {
    fn new() -> Self {
        let mut container = Container::new();
        let program = Program::new(spin());
        let socket = program.start(&container, 0);
        message::<8>(&socket);
        container.settle();
        let pid = container.children()[0];
        Self { container, program, pid, _socket: socket }
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid)).unwrap()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) access: String,
    pub(crate) file: String,
}

/// The mappings of a process but for the kernel's own legacy page.
pub(crate) fn mappings(pid: i32) -> Vec<Mapping> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next().unwrap().split_once('-').unwrap();
        let hex = |s| u64::from_str_radix(s, 16).unwrap();
        let access = fields.next().unwrap().to_owned();
        let file = fields.nth(3).unwrap_or("").to_owned();
        Mapping { start: hex(start), end: hex(end), access, file }
    };
    maps.lines().map(parse).filter(|m| m.file != "[vsyscall]").collect()
}

fn status_fields(status: &str) -> BTreeMap<&str, Vec<&str>> {
    status
        .lines()
        .filter_map(|l| l.split_once(':'))
        .map(|(k, v)| (k, v.split_whitespace().collect()))
        .collect()
}

#[test]
fn identity_and_rights() {
    let running = Running::new();
    for pid in [running.pid, running.container.pid] {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let status = status_fields(&status);
        // SAFETY: always succeed.
        let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
        let (uid, gid) = if is_root() { (HOST_ID, HOST_ID) } else { (uid, gid) };
        assert_eq!(status["Uid"], [uid.to_string().as_str(); 4]);
        assert_eq!(status["Gid"], [gid.to_string().as_str(); 4]);
        if is_root() {
            assert!(status["Groups"].is_empty());
        }
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], ["0000000000000000"], "{set}");
        }
        assert_eq!(status["NoNewPrivs"], ["1"]);
        assert_eq!(status["Seccomp_filters"], ["1"]);
        assert_eq!(status["SigIgn"], ["0000000000000000"]);
        assert_eq!(status["Threads"], ["1"]);
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "1000");
        if let Ok(personality) = fs::read_to_string(format!("/proc/{pid}/personality")) {
            assert_eq!(personality.trim(), "00000000");
        } else {
            assert!(!is_root());
        }
    }
    let status = running.file("status");
    let status = status_fields(&status);
    assert_eq!(status["Name"], ["gate-program"]);
    assert_eq!(status["Seccomp"], ["2"]);
    assert_eq!(status["SigBlk"], ["0000000000000000"]);
    assert_eq!(status["SigPnd"], ["0000000000000000"]);
    // Nothing is left of a command line or an environment.
    assert_eq!(running.file("cmdline"), "");
    if is_root() {
        assert_eq!(running.file("environ"), "");
    } else {
        // Not even the host can look: the process is not dumpable.
        assert!(fs::File::open(format!("/proc/{}/environ", running.pid)).is_err());
    }
}

#[test]
fn namespaces_are_not_the_hosts() {
    let running = Running::new();
    for name in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        let theirs = fs::read_link(format!("/proc/{}/ns/{name}", running.pid)).unwrap();
        let ours = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(theirs, ours, "{name}");
    }
    let ids = running.file("uid_map");
    assert_eq!(ids.split_whitespace().next(), Some(CONTAINER_ID.to_string().as_str()));
    assert_eq!(ids.lines().count(), 1);
}

#[test]
fn the_only_mount_is_empty_and_read_only() {
    let running = Running::new();
    let mounts = running.file("mountinfo");
    let [mount] = mounts.lines().collect::<Vec<_>>()[..] else { panic!("{mounts}") };
    let fields: Vec<_> = mount.split_whitespace().collect();
    assert_eq!((fields[3], fields[4], fields[5]), ("/", "/", "ro,nosuid,nodev,noexec,relatime"));
    assert!(mount.contains(" - tmpfs "), "{mount}");
    let root = fs::read_dir(format!("/proc/{}/root/", running.pid));
    // Without privilege the host itself may not look.
    if let Ok(mut entries) = root {
        assert!(entries.next().is_none());
    } else {
        assert!(!is_root());
    }
    for pid in [running.pid, running.container.pid] {
        if let Ok(dir) = fs::read_link(format!("/proc/{pid}/cwd")) {
            assert_eq!(dir.to_str(), Some("/"));
        }
    }
}

#[test]
fn descriptors() {
    let running = Running::new();
    let list = |pid| -> Option<BTreeSet<String>> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        Some(entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect())
    };
    if !is_root() {
        // The processes are not dumpable, so only root may look.
        assert!(list(running.pid).is_none() && list(running.container.pid).is_none());
        return;
    }
    assert_eq!(list(running.pid).unwrap(), BTreeSet::from(["0".to_owned()]));
    let socket = fs::read_link(format!("/proc/{}/fd/0", running.pid)).unwrap();
    assert!(socket.to_str().unwrap().starts_with("socket:"));
    // rt, loader, control socket, event queue, one process.
    let executor = list(running.container.pid).unwrap();
    assert_eq!(executor, ["1", "2", "3", "4", "5"].map(str::to_owned).into());
}

#[test]
fn limits() {
    // What the host's business is, or what Linux ignores, or what another limit makes moot, or what would make
    // another limit moot.
    const UNLIMITED: [&str; 4] =
        ["Max cpu time", "Max resident set", "Max realtime timeout", "Max address space"];
    let running = Running::new();
    let limits = running.file("limits");
    let mut count = 0;
    for line in limits.lines().skip(1) {
        let (name, values) = line.split_at(26);
        let values: Vec<_> = values.split_whitespace().take(2).collect();
        if !UNLIMITED.contains(&name.trim()) {
            assert_eq!(values, ["0", "0"], "{name}");
            count += 1;
        }
    }
    assert_eq!(count, 12);
}

#[test]
fn mappings_are_what_they_should_be() {
    let running = Running::new();
    let request = &running.program.request;
    let text = request.text_addr;
    let rt = request.rt_addr;
    let state = request.state_addr;
    let memory = request.context_addr();
    let mut expected = vec![
        (text, text + request.text_size, "r-xp", "/memfd:text"),
        (rt, rt + RT.len() as u64, "r-xp", "/memfd:rt"),
        (rt + RT.len() as u64, rt + RT_SPAN, "rw-p", ""),
        (state - PAGE_SIZE, state, "---p", ""),
        (state, state + STACK_SIZE + INSTANCE_SIZE + MEMORY_SIZE, "rw-s", "/memfd:state"),
        (memory + MEMORY_SIZE, memory + MEMORY_MAX, "---s", "/memfd:state"),
        (memory + MEMORY_MAX, memory + MEMORY_RESERVATION, "---p", ""),
    ];
    expected.sort();
    let is = mappings(running.pid);
    let is: Vec<_> = is.iter().map(|m| (m.start, m.end, m.access.as_str(), m.file.as_str())).collect();
    assert_eq!(is, expected);
}

/// Starts a process without a load request, and waits until it is the loader.
fn prepare(container: &Container, id: u32) -> (OwnedFd, i32) {
    let others = container.children();
    let (socket, peer) = crate::container::socket_pair();
    container.request(Op::Create, id, &[&peer]);
    loop {
        for pid in container.children().into_iter().filter(|pid| !others.contains(pid)) {
            if fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "gate-program")
            {
                return (socket, pid);
            }
        }
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_left_of_the_loader() {
    let mut container = Container::new();
    let (socket, pid) = prepare(&container, 0);
    let before = mappings(pid);
    assert!(before.iter().any(|m| m.file == "[stack]"));
    assert!(before.iter().any(|m| m.file == "[vdso]"));
    assert!(before.iter().any(|m| m.file.starts_with("/memfd:loader")));

    // From inside: no page of what was mapped can be read.
    let program = Program::new(probe());
    let pages = before.iter().flat_map(|m| (m.start..m.end).step_by(PAGE_SIZE as usize));
    let neighbours = [
        program.request.text_addr - PAGE_SIZE,
        program.request.text_addr + program.request.text_size,
        program.request.state_addr - 1,
        program.request.rt_addr - 1,
        program.request.rt_addr + RT_SPAN,
        program.request.context_addr() + MEMORY_SIZE,
        program.request.context_addr() + MEMORY_RESERVATION - 1,
        PAGE_SIZE,
        (1 << 47) - PAGE_SIZE - 1,
        0xffff_ffff_8100_0000,
        u64::MAX,
    ];
    let mut addrs: Vec<u64> = pages.chain(neighbours).collect();
    // To show that the probe tells readable from unreadable.
    addrs.push(program.request.text_addr);
    program.write_memory(0, addrs.iter().flat_map(|a| a.to_le_bytes()).collect::<Vec<_>>().as_slice());
    program.load(&socket);
    assert_eq!(container.death(0), 0);
    for (i, addr) in addrs.iter().enumerate() {
        let result = program.memory_u64(i as u64 * 8) as i64;
        let expected = if i + 1 == addrs.len() { 1 } else { -i64::from(libc::EFAULT) };
        assert_eq!(result, expected, "address {addr:#x}");
    }
}

#[test]
fn only_the_loaders_address_is_known_in_advance() {
    let container = Container::new();
    let mut addresses: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    const RUNS: usize = 4;
    let processes: Vec<_> = (0..RUNS as u32).map(|id| prepare(&container, id)).collect();
    for (_, pid) in &processes {
        for mapping in mappings(*pid) {
            addresses.entry(mapping.file).or_default().insert(mapping.start);
        }
    }
    for name in ["[stack]", "[vdso]"] {
        assert_eq!(addresses[name].len(), RUNS, "{name}");
    }
    let loader = addresses.iter().find(|(name, _)| name.starts_with("/memfd:loader")).unwrap();
    assert!(loader.1.iter().all(|addr| SETUP_RANGE.contains(addr)), "{loader:x?}");
}
