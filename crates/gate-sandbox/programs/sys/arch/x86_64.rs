//! x86-64.

use crate::{Errno, Result};
use core::arch::asm;

/// Makes a system call.
///
/// # Safety
///
/// The call must be sound with these arguments: pointers are valid for what the kernel does with them and have
/// exposed their provenance (or the compiler may assume that nothing is written through them), and the kernel does
/// nothing to memory that Rust code relies on.
#[inline(always)]
pub unsafe fn syscall<const N: usize>(number: usize, args: [usize; N]) -> Result<usize> {
    let arg = |i: usize| if i < N { args[i] } else { 0 };
    let ret: isize;
    // SAFETY: the kernel clobbers rax, rcx and r11 only; the rest is the caller's promise.
    unsafe {
        match N {
            0 => {
                asm!("syscall", inlateout("rax") number => ret, out("rcx") _, out("r11") _, options(nostack))
            }
            1 => asm!("syscall", inlateout("rax") number => ret, in("rdi") arg(0),
                out("rcx") _, out("r11") _, options(nostack)),
            2 => asm!("syscall", inlateout("rax") number => ret, in("rdi") arg(0), in("rsi") arg(1),
                out("rcx") _, out("r11") _, options(nostack)),
            3 => asm!("syscall", inlateout("rax") number => ret, in("rdi") arg(0), in("rsi") arg(1),
                in("rdx") arg(2), out("rcx") _, out("r11") _, options(nostack)),
            4 => asm!("syscall", inlateout("rax") number => ret, in("rdi") arg(0), in("rsi") arg(1),
                in("rdx") arg(2), in("r10") arg(3), out("rcx") _, out("r11") _, options(nostack)),
            _ => asm!("syscall", inlateout("rax") number => ret, in("rdi") arg(0), in("rsi") arg(1),
                in("rdx") arg(2), in("r10") arg(3), in("r8") arg(4), in("r9") arg(5),
                out("rcx") _, out("r11") _, options(nostack)),
        }
    }
    if ret < 0 { Err(Errno(ret.unsigned_abs() as u32)) } else { Ok(ret as usize) }
}

/// Stops with an invalid instruction.
#[inline(always)]
pub fn abort() -> ! {
    // SAFETY: does not return.
    unsafe { asm!("ud2", options(noreturn, nostack)) }
}

/// # Safety
///
/// As C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(dst: *mut u8, src: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("rep movsb", inout("rcx") len => _, inout("rdi") dst => _, inout("rsi") src => _,
            options(nostack, preserves_flags));
    }
    dst
}

/// # Safety
///
/// As C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(dst: *mut u8, byte: i32, len: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("rep stosb", inout("rcx") len => _, inout("rdi") dst => _, in("al") byte as u8,
            options(nostack, preserves_flags));
    }
    dst
}

/// System call numbers.
pub mod nr {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const MPROTECT: usize = 10;
    pub const MUNMAP: usize = 11;
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const RT_SIGRETURN: usize = 15;
    pub const SETITIMER: usize = 38;
    pub const SENDTO: usize = 44;
    pub const RECVMSG: usize = 47;
    pub const CHDIR: usize = 80;
    pub const SETGROUPS: usize = 116;
    pub const SETRESUID: usize = 117;
    pub const GETRESUID: usize = 118;
    pub const SETRESGID: usize = 119;
    pub const CAPSET: usize = 126;
    pub const SIGALTSTACK: usize = 131;
    pub const PERSONALITY: usize = 135;
    pub const PIVOT_ROOT: usize = 155;
    pub const PRCTL: usize = 157;
    pub const MOUNT: usize = 165;
    pub const UMOUNT2: usize = 166;
    pub const SETHOSTNAME: usize = 170;
    pub const SETDOMAINNAME: usize = 171;
    pub const CLOCK_GETTIME: usize = 228;
    pub const EXIT_GROUP: usize = 231;
    pub const EPOLL_CTL: usize = 233;
    pub const WAITID: usize = 247;
    pub const OPENAT: usize = 257;
    pub const EPOLL_PWAIT: usize = 281;
    pub const EPOLL_CREATE1: usize = 291;
    pub const DUP3: usize = 292;
    pub const PRLIMIT64: usize = 302;
    pub const SECCOMP: usize = 317;
    pub const EXECVEAT: usize = 322;
    pub const PIDFD_SEND_SIGNAL: usize = 424;
    pub const CLONE3: usize = 435;
    pub const CLOSE_RANGE: usize = 436;
}
