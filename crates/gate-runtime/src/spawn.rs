//! Starting the executor in namespaces of its own.
//!
//! The new process is a copy of one thread of the host process, which may have any number of threads. So until it executes
//! another program it makes system calls and nothing else: locks of the C library or of Rust's may be held by threads
//! which it does not have.

use gate_sandbox::SETUP_CAPABILITIES;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Id that the new process has in its user namespace, once the maps are written.
pub(crate) const SETUP_ID: u32 = 1;

const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// Not among libc's numbers for this structure.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A process which waits until it may execute its program.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) process: Child,
    sync: OwnedFd,
}

/// A child process. Killed and waited for when dropped, unless that has been done.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pidfd: OwnedFd,
    reaped: bool,
}

/// Something that the new process did did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) step: &'static str,
    pub(crate) errno: Errno,
}

/// What the process has of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    /// New namespaces. Without them its ids, too, are the host's.
    pub(crate) namespaces: bool,
    /// Where it is born. If this is not given, it is where the host process is, and that is all that it sees.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
}

/// Makes a process. Once it is let go, it executes `program` with the given descriptors as its first ones, and no
/// others.
pub(crate) fn spawn(
    program: BorrowedFd<'_>,
    fds: [BorrowedFd<'_>; 3],
    surroundings: Surroundings<'_>,
) -> io::Result<Waiting> {
    let (sync, child_sync) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let given = Given {
        fds: fds.map(|fd| fd.as_raw_fd()),
        program: program.as_raw_fd(),
        sync: child_sync.as_raw_fd(),
        namespaces: surroundings.namespaces,
    };
    let mut flags = libc::CLONE_PIDFD as u64;
    if surroundings.namespaces {
        flags |= NAMESPACES as u64;
    }
    flags |= match surroundings.cgroup {
        Some(_) => CLONE_INTO_CGROUP,
        // A cgroup namespace begins where the host is: what has a place elsewhere must not be tied to it, for where
        // namespaces delimit delegation, nothing could be born anywhere else.
        None if surroundings.namespaces => libc::CLONE_NEWCGROUP as u64,
        None => 0,
    };

    // A handler of the host's must not run in the new process; what it blocks the executor unblocks.
    let mask = SignalMask::block_all();
    let mut pidfd: RawFd = -1;
    let args = libc::clone_args {
        flags,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: surroundings.cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: without CLONE_VM the new process has a copy of the memory, this stack included. It never leaves
    // `child`, which keeps to what the start of this file says.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    if pid == 0 {
        child(&given);
    }
    let error = io::Error::last_os_error();
    drop(mask);
    if pid < 0 {
        return Err(error);
    }
    hasten(pid as i32);
    // SAFETY: the kernel has just made the descriptor, and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Waiting { process: Child { pid: pid as i32, pidfd, reaped: false }, sync })
}

impl Waiting {
    /// Lets the process go on, and waits until it has executed its program.
    pub(crate) fn release(self) -> Result<Child, Failure> {
        let lost = |errno| Failure { step: "start the executor", errno };
        send(&self.sync, &[1], SendFlags::NOSIGNAL).map_err(lost)?;
        let mut buf = [0; 8];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.sync, &mut buf)).map_err(lost)? {
            // Closed by the execution.
            0 if !self.process.is_dead().map_err(lost)? => Ok(self.process),
            8 => {
                let [a, b, c, d, e, f, g, h] = buf;
                let step = i32::from_ne_bytes([a, b, c, d]);
                Err(Failure {
                    step: STEPS.get(step as usize).copied().unwrap_or("start the executor"),
                    errno: Errno::from_raw_os_error(i32::from_ne_bytes([e, f, g, h])),
                })
            }
            _ => Err(lost(Errno::CHILD)),
        }
    }
}

impl Child {
    /// The descriptor that becomes readable when the process is dead.
    pub(crate) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Makes sure that it dies. Nothing happens if it has.
    pub(crate) fn kill(&self) {
        // It fails only if the process is dead.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
    }

    /// Waits for the end of the process, and takes it off the kernel's list.
    pub(crate) fn reap(&mut self) {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        if !self.reaped {
            // The host process may have asked the kernel to do this by itself: then there is no child.
            let wait = || waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&self.pidfd)), WaitIdOptions::EXITED);
            let _ = rustix::io::retry_on_intr(wait);
            self.reaped = true;
        }
    }

    fn is_dead(&self) -> Result<bool, Errno> {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        Ok(poll(&mut fds, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            self.reap();
        }
    }
}

/// What the new process works with.
struct Given {
    fds: [RawFd; 3],
    program: RawFd,
    sync: RawFd,
    namespaces: bool,
}

/// What the new process does, for error messages.
const STEPS: [&str; 6] = [
    "arrange descriptors",
    "wait for the id maps",
    "leave the session",
    "change user and group ids",
    "keep capabilities",
    "execute the executor",
];

/// Everything that the new process does. System calls only, and no library functions.
fn child(given: &Given) -> ! {
    let (step, errno) = match child_steps(given) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let mut message = [0; 8];
    message[..4].copy_from_slice(&step.to_ne_bytes());
    message[4..].copy_from_slice(&errno.to_ne_bytes());
    // Where the descriptor is by now depends on the step; the other number is free or something harmless.
    let sync = if step == 0 { given.sync } else { SYNC_FD };
    // SAFETY: the kernel reads the message, and ends the process.
    unsafe {
        libc::syscall(libc::SYS_write, sync, message.as_ptr(), message.len());
        libc::syscall(libc::SYS_exit_group, 1);
    }
    loop {
        std::hint::spin_loop();
    }
}

const PROGRAM_FD: RawFd = 3;
const SYNC_FD: RawFd = 4;
/// Above all the numbers that have a meaning.
const ASIDE_FD: RawFd = 16;

enum Never {}

fn child_steps(given: &Given) -> Result<Never, (i32, i32)> {
    let at = |step: i32| move |errno: i32| (step, errno);

    // First of all, lest anybody seems to be alive because this process holds a descriptor of theirs: the host, and
    // through it other executors that are being made at this moment.
    arrange_descriptors(given).map_err(at(0))?;
    let mut byte = 0u8;
    match sys(libc::SYS_read, [SYNC_FD as usize, (&raw mut byte).expose_provenance(), 1, 0, 0])
        .map_err(at(1))?
    {
        1 => {}
        // The host has given up.
        _ => return Err((1, libc::EPIPE)),
    }
    // Signals of the host's terminal are not for programs.
    sys(libc::SYS_setsid, [0; 5]).map_err(at(2))?;
    if given.namespaces {
        let id = SETUP_ID as usize;
        sys(libc::SYS_setresgid, [id, id, id, 0, 0]).map_err(at(3))?;
        sys(libc::SYS_setresuid, [id, id, id, 0, 0]).map_err(at(3))?;
        keep_capabilities().map_err(at(4))?;
    }

    let name = c"gate-executor";
    let argv = [name.as_ptr(), std::ptr::null()];
    let envp: [*const libc::c_char; 1] = [std::ptr::null()];
    let path = c"";
    sys(
        libc::SYS_execveat,
        [
            PROGRAM_FD as usize,
            path.as_ptr().expose_provenance(),
            argv.as_ptr().expose_provenance(),
            envp.as_ptr().expose_provenance(),
            libc::AT_EMPTY_PATH as usize,
        ],
    )
    .map_err(at(5))?;
    Err((5, libc::ENOEXEC))
}

/// Makes the capabilities that the executor needs outlast the execution, though the process is not its user
/// namespace's user zero, and gives up the others.
fn keep_capabilities() -> Result<(), i32> {
    const VERSION_3: u32 = 0x2008_0522;
    const BITS: u64 = {
        let [a, b, c, d] = SETUP_CAPABILITIES;
        1 << a | 1 << b | 1 << c | 1 << d
    };
    const LOW: u32 = BITS as u32;
    const HIGH: u32 = (BITS >> 32) as u32;
    let header = [VERSION_3, 0];
    // Effective, permitted and inheritable ones, of each the lower half first.
    let sets = [LOW, LOW, LOW, HIGH, HIGH, HIGH];
    let (header, sets) = ((&raw const header).expose_provenance(), (&raw const sets).expose_provenance());
    sys(libc::SYS_capset, [header, sets, 0, 0, 0])?;
    let (ambient, raise) = (libc::PR_CAP_AMBIENT as usize, libc::PR_CAP_AMBIENT_RAISE as usize);
    for capability in SETUP_CAPABILITIES {
        sys(libc::SYS_prctl, [ambient, raise, capability as usize, 0, 0])?;
    }
    Ok(())
}

fn arrange_descriptors(given: &Given) -> Result<(), i32> {
    let aside = |fd: RawFd| {
        sys(libc::SYS_fcntl, [fd as usize, libc::F_DUPFD_CLOEXEC as usize, ASIDE_FD as usize, 0, 0])
    };
    let [a, b, c] = given.fds;
    let fds = [aside(a)?, aside(b)?, aside(c)?];
    let (program, sync) = (aside(given.program)?, aside(given.sync)?);
    for (number, fd) in fds.into_iter().enumerate() {
        sys(libc::SYS_dup3, [fd, number, 0, 0, 0])?;
    }
    let cloexec = libc::O_CLOEXEC as usize;
    sys(libc::SYS_dup3, [program, PROGRAM_FD as usize, cloexec, 0, 0])?;
    sys(libc::SYS_dup3, [sync, SYNC_FD as usize, cloexec, 0, 0])?;
    sys(libc::SYS_close_range, [SYNC_FD as usize + 1, u32::MAX as usize, 0, 0, 0])?;
    Ok(())
}

/// A system call that takes numbers, or addresses of what outlives it.
fn sys(number: c_long, args: [usize; 5]) -> Result<usize, i32> {
    let [a, b, c, d, e] = args;
    // SAFETY: the callers, all in this file and all in the new process, give addresses of memory that the kernel may
    // read or write as the call says.
    let ret = unsafe { libc::syscall(number, a, b, c, d, e) };
    if ret >= 0 {
        return Ok(ret as usize);
    }
    // SAFETY: the address is that of this thread's variable.
    Err(unsafe { *libc::__errno_location() })
}

/// Blocks all signals of this thread for as long as it exists.
struct SignalMask {
    previous: libc::sigset_t,
}

impl SignalMask {
    fn block_all() -> Self {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut previous = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the first call initializes `all`; the second initializes `previous`, as it cannot fail with a
        // valid operation.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), previous.as_mut_ptr());
            Self { previous: previous.assume_init() }
        }
    }
}

impl Drop for SignalMask {
    fn drop(&mut self) {
        // SAFETY: the mask is what the kernel said it was.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.previous, std::ptr::null_mut()) };
    }
}

/// Asks the scheduler to let a process run soon when it wakes up, for which it gets little time at once: programs that
/// use all processors must not keep the executor waiting. What it starts is not concerned.
///
/// Kernels before Linux 6.12 ignore the wish.
fn hasten(pid: i32) {
    const SLICE: u64 = 100_000;
    // SAFETY: numbers without invariants.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: the kernel writes at most `size` bytes to the first call's structure, and reads those of the second's.
    unsafe {
        if libc::syscall(libc::SYS_sched_getattr, pid, &raw mut attr, size, 0) == 0 {
            attr.size = size;
            attr.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
            attr.sched_runtime = SLICE;
            libc::syscall(libc::SYS_sched_setattr, pid, &raw const attr, 0);
        }
    }
}
