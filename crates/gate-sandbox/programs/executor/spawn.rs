//! Making a program process.

use crate::LOADER_FD;
use core::arch::asm;
use core::ffi::CStr;
use sys::number::{nr, signal};
use sys::process::{self, exit};
use sys::raw::syscall;
use sys::{Errno, Result, fd};

const CLONE_VM: u64 = 0x100;
const CLONE_FILES: u64 = 0x400;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

#[derive(Default)]
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Starts the loader in a new process, whose descriptors are the call socket (which is number 0 here, too) and
/// rt's image. Gives its pidfd.
///
/// The new process borrows this one's memory and descriptor table, and this one stands still, until the loader is
/// executed. So neither is copied: with thousands of processes, the table is long.
pub(crate) fn spawn(cgroup: Option<i32>) -> Result<i32> {
    let mut pidfd: i32 = -1;
    let mut flags = CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_PIDFD;
    if cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    let args = CloneArgs {
        flags,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        exit_signal: u64::from(signal::SIGCHLD),
        cgroup: cgroup.unwrap_or(0) as u64,
        ..CloneArgs::default()
    };
    let mut exec_errno: u32 = 0;
    let ret: isize;
    // SAFETY: the new process runs on this stack, but only below the current stack pointer, where nothing is
    // kept as the compiler knows of the call; and it never leaves `child`. Whatever it writes to memory
    // is declared by the absence of `nomem`.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r12",
            "call {child}",
            "ud2",
            "2:",
            child = sym child,
            inlateout("rax") nr::CLONE3 => ret,
            in("rdi") &raw const args,
            in("rsi") size_of::<CloneArgs>(),
            // One that the system call keeps: it overwrites some of those that are merely declared as clobbered, and an
            // input without a name may be in any of them.
            in("r12") &raw mut exec_errno,
            clobber_abi("C"),
        );
    }
    if ret < 0 {
        return Err(Errno(ret.unsigned_abs() as u32));
    }
    if exec_errno != 0 {
        // It has let go of this memory, but may not quite have ended.
        process::wait(pidfd);
        fd::close(pidfd);
        return Err(Errno(exec_errno));
    }
    Ok(pidfd)
}

/// What the new process does. Leaves the error number where the parent finds it.
///
/// # Safety
///
/// `errno` must be valid for a write.
unsafe extern "C" fn child(errno: *mut u32) -> ! {
    const AT_EMPTY_PATH: usize = 0x1000;
    const FIRST_CLOSED: u32 = 3;

    let name: &CStr = c"gate-program";
    let argv = [name.as_ptr() as usize, 0];
    let envp = [0usize];
    let path: &CStr = c"";
    let result = fd::unshare_below(FIRST_CLOSED).and_then(|()| {
        // SAFETY: the kernel reads the strings and lists.
        unsafe {
            syscall(
                nr::EXECVEAT,
                [
                    LOADER_FD as usize,
                    path.as_ptr() as usize,
                    argv.as_ptr().expose_provenance(),
                    envp.as_ptr().expose_provenance(),
                    AT_EMPTY_PATH,
                    0,
                ],
            )
        }
    });
    if let Err(Errno(number)) = result {
        // SAFETY: the caller's promise.
        unsafe { errno.write_volatile(number) };
    }
    exit(1)
}
