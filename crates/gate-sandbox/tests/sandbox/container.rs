//! The host's side of the control socket, as the crate's documentation describes it.

use gate_sandbox::{EXECUTOR, LOADER, RT};
use gate_wire::control::{Op, Report, Request, Setup, SetupStep};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::fs;
use std::io::{self, Write};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Id, inside the container, of the executor and the programs.
pub(crate) const CONTAINER_ID: u32 = 2;

/// Id outside, if there is a choice.
pub(crate) const HOST_ID: u32 = 54321;

/// A running executor. It is killed when dropped.
pub(crate) struct Container {
    pub(crate) control: OwnedFd,
    pub(crate) pid: i32,
    pidfd: OwnedFd,
    reports: VecDeque<Report>,
}

impl Container {
    /// Starts an executor and waits until it is ready.
    pub(crate) fn new() -> Self {
        Self::with_loader(LOADER)
    }

    /// Starts an executor with another loader, and waits until it is ready.
    pub(crate) fn with_loader(loader: &[u8]) -> Self {
        let mut container = Self::start_with_loader(loader);
        container.configure(Setup { uid: CONTAINER_ID, gid: CONTAINER_ID, flags: 0 });
        match container.report() {
            Report::Ready => container,
            Report::Failed { step, errno } => {
                panic!("{}: {}", SetupStep::describe(step), io::Error::from_raw_os_error(errno as i32))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Starts an executor, which then waits for its configuration.
    pub(crate) fn start() -> Self {
        Self::start_with_loader(LOADER)
    }

    fn start_with_loader(loader: &[u8]) -> Self {
        let (control, peer) = socket_pair();
        let executor = memfd(c"executor", EXECUTOR);
        let loader = memfd(c"loader", loader);
        let rt = memfd(c"rt", RT);
        let (pid, pidfd) = clone_executor([&peer, &loader, &rt], &executor);
        Self { control, pid, pidfd, reports: VecDeque::new() }
    }

    /// Writes the id maps and sends the set-up message.
    pub(crate) fn configure(&self, setup: Setup) {
        let dir = format!("/proc/{}", self.pid);
        let (uid, gid) = if is_root() {
            (HOST_ID, HOST_ID)
        } else {
            fs::write(format!("{dir}/setgroups"), "deny").unwrap();
            // SAFETY: always succeed.
            unsafe { (libc::getuid(), libc::getgid()) }
        };
        fs::write(format!("{dir}/uid_map"), format!("{CONTAINER_ID} {uid} 1\n")).unwrap();
        fs::write(format!("{dir}/gid_map"), format!("{CONTAINER_ID} {gid} 1\n")).unwrap();
        self.send(&setup.encode(), &[]);
    }

    pub(crate) fn request(&self, op: Op, id: u32, fds: &[&OwnedFd]) {
        self.send(&Request { op, id }.encode(), fds);
    }

    pub(crate) fn send(&self, message: &[u8], fds: &[&OwnedFd]) {
        send(&self.control, message, fds).unwrap();
    }

    /// The next report. There is none for far too long: the test fails.
    pub(crate) fn report(&mut self) -> Report {
        if self.reports.is_empty() {
            assert!(readable(&self.control, Duration::from_secs(20)), "no report from the executor");
            let mut buf = [0; 65536];
            let size = receive(&self.control, &mut buf).unwrap();
            assert!(size > 0, "the executor has closed the control socket");
            assert_eq!(size % Report::SIZE, 0);
            for chunk in buf[..size].as_chunks::<{ Report::SIZE }>().0 {
                self.reports.push_back(Report::decode(chunk).expect("a report"));
            }
        }
        self.reports.pop_front().unwrap()
    }

    /// Waits until all requests so far have been handled: the refusal of a bad one tells.
    pub(crate) fn settle(&mut self) {
        self.request(Op::Kill, u32::MAX, &[]);
        assert_eq!(self.report(), Report::Refused { id: u32::MAX, errno: libc::EINVAL as u32 });
    }

    /// Waits for the report of a process's death. Gives its status.
    pub(crate) fn death(&mut self, expected_id: u32) -> u32 {
        match self.report() {
            Report::Died { id, status, .. } => {
                assert_eq!(id, expected_id);
                status
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whether the executor ends within some time.
    pub(crate) fn ends(&self) -> bool {
        readable(&self.pidfd, Duration::from_secs(10))
    }

    /// Process ids, as the host sees them, of the executor's children.
    pub(crate) fn children(&self) -> Vec<i32> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        fs::read_to_string(path).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // SAFETY: no pointers that matter; the process is this one's child and has not been waited for.
        unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd(), libc::SIGKILL, 0, 0);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

pub(crate) fn is_root() -> bool {
    // SAFETY: always succeeds.
    unsafe { libc::geteuid() == 0 }
}

pub(crate) fn socket_pair() -> (OwnedFd, OwnedFd) {
    let mut fds = [0; 2];
    // SAFETY: two descriptors are written, and are nobody else's.
    unsafe {
        let flags = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        assert_eq!(libc::socketpair(libc::AF_UNIX, flags, 0, fds.as_mut_ptr()), 0);
        (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    }
}

pub(crate) fn memfd(name: &CStr, content: &[u8]) -> OwnedFd {
    // SAFETY: the name is a string, and the descriptor nobody else's.
    let fd = unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    };
    let mut file = fs::File::from(fd);
    file.write_all(content).unwrap();
    OwnedFd::from(file)
}

pub(crate) fn send(socket: &OwnedFd, message: &[u8], fds: &[&OwnedFd]) -> io::Result<()> {
    #[repr(C, align(8))]
    struct Control([u8; 64]);

    let mut control = Control([0; 64]);
    let mut iov = libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
    // SAFETY: the structures are filled as the kernel wants them, and large enough for a few descriptors.
    let sent = unsafe {
        let mut msg: libc::msghdr = zeroed();
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        if !fds.is_empty() {
            let size = (size_of::<i32>() * fds.len()) as u32;
            msg.msg_control = control.0.as_mut_ptr().cast();
            msg.msg_controllen = libc::CMSG_SPACE(size) as usize;
            assert!(msg.msg_controllen <= control.0.len());
            let header = libc::CMSG_FIRSTHDR(&raw const msg);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
            for (i, fd) in fds.iter().enumerate() {
                libc::CMSG_DATA(header).cast::<i32>().add(i).write_unaligned(fd.as_raw_fd());
            }
        }
        libc::sendmsg(socket.as_raw_fd(), &raw const msg, libc::MSG_NOSIGNAL)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub(crate) fn receive(socket: &OwnedFd, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes to the slice.
    let size = unsafe { libc::recv(socket.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), 0) };
    usize::try_from(size).map_err(|_| io::Error::last_os_error())
}

pub(crate) fn readable(fd: &OwnedFd, timeout: Duration) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure.
    let count = unsafe { libc::poll(&raw mut poll, 1, timeout.as_millis() as i32) };
    count == 1
}

/// Makes process 1 of a new container, with the three descriptors as numbers 0 to 2.
fn clone_executor(fds: [&OwnedFd; 3], executable: &OwnedFd) -> (i32, OwnedFd) {
    let namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let fds = fds.map(|fd| fd.as_raw_fd());
    let executable = executable.as_raw_fd();
    let mut pidfd = -1;
    // SAFETY: the new process makes system calls only, until it executes another program or exits.
    unsafe {
        let mut args: libc::clone_args = zeroed();
        args.flags = (namespaces | libc::CLONE_PIDFD) as u64;
        args.pidfd = (&raw mut pidfd).addr() as u64;
        args.exit_signal = libc::SIGCHLD as u64;
        let pid = libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>());
        assert!(pid >= 0, "{}", io::Error::last_os_error());
        if pid == 0 {
            exec_executor(fds, executable);
        }
        (pid as i32, OwnedFd::from_raw_fd(pidfd))
    }
}

/// # Safety
///
/// Must be called in a process of its own.
unsafe fn exec_executor(fds: [i32; 3], executable: i32) -> ! {
    const NEEDED: [u32; 4] = gate_sandbox::SETUP_CAPABILITIES;
    const PR_CAP_AMBIENT: i32 = 47;
    const PR_CAP_AMBIENT_RAISE: u64 = 2;
    const HIGH: i32 = 100;

    // SAFETY: all pointers are to live values.
    unsafe {
        // What a host might have, and no program should: all tests are run with it.
        let personality = libc::ADDR_NO_RANDOMIZE | libc::ADDR_COMPAT_LAYOUT | libc::READ_IMPLIES_EXEC;
        libc::personality(personality as libc::c_ulong);
        let set: u32 = NEEDED.iter().map(|cap| 1 << cap).sum();
        let header = [0x2008_0522u32, 0];
        let caps = [set, set, set, 0, 0, 0];
        libc::syscall(libc::SYS_capset, header.as_ptr(), caps.as_ptr());
        for cap in NEEDED {
            libc::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, u64::from(cap), 0, 0);
        }
        for (number, fd) in (HIGH..).zip(fds) {
            libc::dup3(fd, number, libc::O_CLOEXEC);
        }
        libc::dup3(executable, HIGH + 3, libc::O_CLOEXEC);
        for number in 0..3 {
            libc::dup2(HIGH + number, number);
        }
        let argv = [c"gate-executor".as_ptr(), std::ptr::null()];
        let envp = [std::ptr::null::<i8>()];
        libc::syscall(
            libc::SYS_execveat,
            HIGH + 3,
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
        libc::_exit(127)
    }
}
