//! What depends on the processor, and what the compiler expects of its surroundings.

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

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    abort()
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
