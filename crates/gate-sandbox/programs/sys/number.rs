//! Numbers and flags of the kernel's interface as in its public headers.

pub use crate::arch::nr;

/// Error numbers.
pub mod errno {
    pub const EPERM: u32 = 1;
    pub const ENOENT: u32 = 2;
    pub const EINTR: u32 = 4;
    pub const EAGAIN: u32 = 11;
    pub const ENOMEM: u32 = 12;
    pub const EEXIST: u32 = 17;
    pub const EINVAL: u32 = 22;
    pub const EBADMSG: u32 = 74;
    pub const ENOBUFS: u32 = 105;
}

/// Resource limits.
pub mod rlimit {
    pub const FSIZE: usize = 1;
    pub const DATA: usize = 2;
    pub const STACK: usize = 3;
    pub const CORE: usize = 4;
    pub const NPROC: usize = 6;
    pub const NOFILE: usize = 7;
    pub const MEMLOCK: usize = 8;
    pub const LOCKS: usize = 10;
    pub const SIGPENDING: usize = 11;
    pub const MSGQUEUE: usize = 12;
    pub const NICE: usize = 13;
    pub const RTPRIO: usize = 14;
}

/// Signals.
pub mod signal {
    pub const SIGILL: u32 = 4;
    pub const SIGTRAP: u32 = 5;
    pub const SIGBUS: u32 = 7;
    pub const SIGFPE: u32 = 8;
    pub const SIGKILL: u32 = 9;
    pub const SIGUSR1: u32 = 10;
    pub const SIGSEGV: u32 = 11;
    pub const SIGCHLD: u32 = 17;
    pub const SIGSTOP: u32 = 19;
    pub const SIGPROF: u32 = 27;
    pub const COUNT: u32 = 64;
}
