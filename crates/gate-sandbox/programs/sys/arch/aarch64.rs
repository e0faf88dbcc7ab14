//! AArch64.

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
    // SAFETY: the kernel keeps all other registers; the rest is the caller's promise.
    unsafe {
        match N {
            0 => asm!("svc #0", in("x8") number, lateout("x0") ret, options(nostack)),
            1 => asm!("svc #0", in("x8") number, inlateout("x0") arg(0) => ret, options(nostack)),
            2 => asm!("svc #0", in("x8") number, inlateout("x0") arg(0) => ret, in("x1") arg(1),
                options(nostack)),
            3 => asm!("svc #0", in("x8") number, inlateout("x0") arg(0) => ret, in("x1") arg(1),
                in("x2") arg(2), options(nostack)),
            4 => asm!("svc #0", in("x8") number, inlateout("x0") arg(0) => ret, in("x1") arg(1),
                in("x2") arg(2), in("x3") arg(3), options(nostack)),
            _ => asm!("svc #0", in("x8") number, inlateout("x0") arg(0) => ret, in("x1") arg(1),
                in("x2") arg(2), in("x3") arg(3), in("x4") arg(4), in("x5") arg(5), options(nostack)),
        }
    }
    if ret < 0 { Err(Errno(ret.unsigned_abs() as u32)) } else { Ok(ret as usize) }
}

/// Stops with an invalid instruction.
#[inline(always)]
pub fn abort() -> ! {
    // SAFETY: does not return.
    unsafe { asm!("udf #0", options(noreturn, nostack)) }
}

/// # Safety
///
/// As C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(dst: *mut u8, src: *const u8, len: usize) -> *mut u8 {
    // In assembly: the compiler would make a call of this function of a loop.
    //
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "b 3f",
            "2:",
            "ldr {block:q}, [{src}], #16",
            "str {block:q}, [{dst}], #16",
            "3:",
            "subs {len}, {len}, #16",
            "b.hs 2b",
            "adds {len}, {len}, #16",
            "b.eq 5f",
            "4:",
            "ldrb {byte:w}, [{src}], #1",
            "strb {byte:w}, [{dst}], #1",
            "subs {len}, {len}, #1",
            "b.ne 4b",
            "5:",
            len = inout(reg) len => _,
            dst = inout(reg) dst => _,
            src = inout(reg) src => _,
            block = out(vreg) _,
            byte = out(reg) _,
            options(nostack),
        );
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
        asm!(
            "dup {block:v}.16b, {byte:w}",
            "b 3f",
            "2:",
            "str {block:q}, [{dst}], #16",
            "3:",
            "subs {len}, {len}, #16",
            "b.hs 2b",
            "adds {len}, {len}, #16",
            "b.eq 5f",
            "4:",
            "strb {byte:w}, [{dst}], #1",
            "subs {len}, {len}, #1",
            "b.ne 4b",
            "5:",
            len = inout(reg) len => _,
            dst = inout(reg) dst => _,
            byte = in(reg) byte,
            block = out(vreg) _,
            options(nostack),
        );
    }
    dst
}

/// System call numbers.
pub mod nr {
    pub const EPOLL_CREATE1: usize = 20;
    pub const EPOLL_CTL: usize = 21;
    pub const EPOLL_PWAIT: usize = 22;
    pub const DUP3: usize = 24;
    pub const UMOUNT2: usize = 39;
    pub const MOUNT: usize = 40;
    pub const PIVOT_ROOT: usize = 41;
    pub const CHDIR: usize = 49;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const CAPSET: usize = 91;
    pub const PERSONALITY: usize = 92;
    pub const EXIT_GROUP: usize = 94;
    pub const WAITID: usize = 95;
    pub const SETITIMER: usize = 103;
    pub const CLOCK_GETTIME: usize = 113;
    pub const SIGALTSTACK: usize = 132;
    pub const RT_SIGACTION: usize = 134;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGRETURN: usize = 139;
    pub const SETRESUID: usize = 147;
    pub const GETRESUID: usize = 148;
    pub const SETRESGID: usize = 149;
    pub const SETGROUPS: usize = 159;
    pub const SETHOSTNAME: usize = 161;
    pub const SETDOMAINNAME: usize = 162;
    pub const PRCTL: usize = 167;
    pub const SENDTO: usize = 206;
    pub const RECVMSG: usize = 212;
    pub const MUNMAP: usize = 215;
    pub const MMAP: usize = 222;
    pub const MPROTECT: usize = 226;
    pub const PRLIMIT64: usize = 261;
    pub const SECCOMP: usize = 277;
    pub const EXECVEAT: usize = 281;
    pub const PIDFD_SEND_SIGNAL: usize = 424;
    pub const CLONE3: usize = 435;
    pub const CLOSE_RANGE: usize = 436;
}
