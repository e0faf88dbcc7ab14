//! Attributes, limits and signals of processes.

use crate::arch::{abort, syscall};
use crate::number::{errno, nr, signal};
use crate::{Errno, Result};
use core::ffi::CStr;

/// Ends the process.
#[inline(always)]
pub fn exit(status: i32) -> ! {
    // SAFETY: does not return.
    let _ = unsafe { syscall(nr::EXIT_GROUP, [status as usize]) };
    abort()
}

/// Operations of [`prctl`].
pub mod pr {
    pub const SET_PDEATHSIG: usize = 1;
    pub const SET_DUMPABLE: usize = 4;
    pub const CAPBSET_DROP: usize = 24;
    pub const SET_SECUREBITS: usize = 28;
    pub const SET_NO_NEW_PRIVS: usize = 38;
    pub const CAP_AMBIENT: usize = 47;
    pub const CAP_AMBIENT_CLEAR_ALL: usize = 4;
}

/// Sets an attribute which is a number.
pub fn prctl(op: usize, value: usize) -> Result<()> {
    // SAFETY: no operation of the above takes pointers.
    unsafe { syscall(nr::PRCTL, [op, value, 0, 0, 0, 0]) }.map(drop)
}

/// Takes back what makes the kernel treat the process and its descendants in unusual ways, such as addresses that are
/// not random, or executable data.
pub fn reset_personality() -> Result<()> {
    const PER_LINUX: usize = 0;
    // SAFETY: no pointers.
    unsafe { syscall(nr::PERSONALITY, [PER_LINUX]) }.map(drop)
}

/// Sets the process's name, of which 15 bytes count.
pub fn set_name(name: &CStr) -> Result<()> {
    const PR_SET_NAME: usize = 15;
    // SAFETY: the kernel reads a string.
    unsafe { syscall(nr::PRCTL, [PR_SET_NAME, name.as_ptr() as usize, 0, 0, 0, 0]) }.map(drop)
}

/// Sets both the soft and the hard limit of a resource.
pub fn set_limit(resource: usize, value: u64) -> Result<()> {
    let limit = [value; 2];
    // SAFETY: the kernel reads the two values.
    unsafe { syscall(nr::PRLIMIT64, [0, resource, (&raw const limit).expose_provenance(), 0]) }.map(drop)
}

/// Raises the soft limit of a resource to its hard limit.
pub fn raise_limit(resource: usize) -> Result<()> {
    let mut limit = [0u64; 2];
    // SAFETY: the kernel writes two values.
    unsafe { syscall(nr::PRLIMIT64, [0, resource, 0, (&raw mut limit).expose_provenance()]) }?;
    set_limit(resource, limit[1])
}

/// A signal's handling, as the kernel takes it.
#[repr(C)]
pub struct SigAction {
    /// Address of the handler; zero for the default.
    pub handler: usize,
    /// Set of `SA_` bits.
    pub flags: u64,
    /// Address of the code that returns from the handler.
    pub restorer: usize,
    /// Signals blocked meanwhile.
    pub mask: u64,
}

/// The handler gets details.
pub const SA_SIGINFO: u64 = 4;
/// [`SigAction::restorer`] is set.
pub const SA_RESTORER: u64 = 0x0400_0000;
/// The handler runs on the signal stack.
pub const SA_ONSTACK: u64 = 0x0800_0000;

/// Interrupted system calls are made again.
pub const SA_RESTART: u64 = 0x1000_0000;

/// Size of a signal mask.
pub const SIGSET_SIZE: usize = 8;

/// Replaces the signal mask.
pub const SIG_SETMASK: usize = 2;

/// Sets how a signal is handled.
///
/// # Safety
///
/// The handler and restorer must be fit for the purpose.
pub unsafe fn set_signal_action(signal: u32, action: &SigAction) -> Result<()> {
    // SAFETY: the kernel reads a structure; the rest is the caller's promise.
    unsafe {
        syscall(nr::RT_SIGACTION, [signal as usize, (&raw const *action).expose_provenance(), 0, SIGSET_SIZE])
    }
    .map(drop)
}

/// Gives all signals their default handling.
pub fn reset_signal_actions() -> Result<()> {
    let default = SigAction { handler: 0, flags: 0, restorer: 0, mask: 0 };
    for signal in (1..=signal::COUNT).filter(|&s| s != signal::SIGKILL && s != signal::SIGSTOP) {
        // SAFETY: no handler.
        unsafe { set_signal_action(signal, &default) }?;
    }
    Ok(())
}

/// The signal mask bit of a signal.
pub const fn signal_bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

/// Blocks these signals and no others.
pub fn set_signal_mask(mask: u64) -> Result<()> {
    // SAFETY: the kernel reads the mask.
    unsafe {
        syscall(nr::RT_SIGPROCMASK, [SIG_SETMASK, (&raw const mask).expose_provenance(), 0, SIGSET_SIZE])
    }
    .map(drop)
}

/// Sends a signal to the process of a pidfd.
pub fn send_signal(pidfd: i32, signal: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(nr::PIDFD_SEND_SIGNAL, [pidfd as usize, signal as usize, 0, 0]) }.map(drop)
}

/// How a process ended.
pub struct Death {
    /// As `waitpid` stores it.
    pub status: u32,
    /// Processor time, in nanoseconds.
    pub cpu_time: u64,
}

/// Reaps the process of a pidfd. Gives `None` if it is alive.
pub fn reap(pidfd: i32) -> Result<Option<Death>> {
    const P_PIDFD: usize = 3;
    const WNOHANG: usize = 1;
    const WEXITED: usize = 4;
    const CLD_EXITED: u32 = 1;
    const CLD_DUMPED: u32 = 3;

    // Of a siginfo_t only these members matter here: si_code (2), si_pid (4), si_status (6).
    let mut info = [0u32; 32];
    // User and system time, each in seconds and microseconds, then what does not matter here.
    let mut usage = [0u64; 18];
    // SAFETY: the kernel writes to the two structures.
    unsafe {
        syscall(
            nr::WAITID,
            [
                P_PIDFD,
                pidfd as usize,
                (&raw mut info).expose_provenance(),
                WEXITED | WNOHANG,
                (&raw mut usage).expose_provenance(),
                0,
            ],
        )
    }?;
    let [_, _, code, _, pid, _, status, ..] = info;
    if pid == 0 {
        return Ok(None);
    }
    let status = match code {
        CLD_EXITED => (status & 0xff) << 8,
        CLD_DUMPED => status & 0x7f | 0x80,
        _ => status & 0x7f,
    };
    let [user_s, user_us, system_s, system_us, ..] = usage;
    let cpu_time = (user_s + system_s) * 1_000_000_000 + (user_us + system_us) * 1000;
    Ok(Some(Death { status, cpu_time }))
}

/// Processor time that a live process has used, in nanoseconds.
pub fn cpu_time(pid: u32) -> Result<u64> {
    /// The clock of a whole process counts what its scheduler counts.
    const CPUCLOCK_SCHED: u32 = 2;
    let clock = (!pid << 3 | CPUCLOCK_SCHED) as i32;
    let mut time = [0u64; 2];
    // SAFETY: the kernel writes two numbers.
    unsafe { syscall(nr::CLOCK_GETTIME, [clock as usize, (&raw mut time).expose_provenance()]) }?;
    Ok(time[0] * 1_000_000_000 + time[1])
}

/// Waits for the end of the process of a pidfd, and reaps it. For one that has nothing left to do but to end.
pub fn wait(pidfd: i32) {
    const P_PIDFD: usize = 3;
    const WEXITED: usize = 4;
    // SAFETY: no pointers.
    while let Err(Errno(errno::EINTR)) =
        unsafe { syscall(nr::WAITID, [P_PIDFD, pidfd as usize, 0, WEXITED, 0, 0]) }
    {}
}

/// Raises the error of a step if the condition does not hold.
pub fn ensure(condition: bool, errno: u32) -> Result<()> {
    if condition { Ok(()) } else { Err(Errno(errno)) }
}
