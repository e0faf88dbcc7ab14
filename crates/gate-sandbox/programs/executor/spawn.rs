//! Making a program process.

use crate::{LOADER_FD, arch};
use core::ffi::CStr;
use sys::arch::syscall;
use sys::number::{nr, signal};
use sys::process::{self, exit};
use sys::{Errno, Result, fd};

const CLONE_VM: u64 = 0x100;
const CLONE_FILES: u64 = 0x400;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Arguments of `clone3`, as the kernel takes them.
#[derive(Default)]
#[repr(C)]
pub(crate) struct CloneArgs {
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
/// rt's image. Gives its pidfd and its process id.
///
/// The new process borrows this one's memory and descriptor table, and this one stands still, until the loader is
/// executed. So neither is copied: with thousands of processes, the table is long.
pub(crate) fn spawn(cgroup: Option<i32>) -> Result<(i32, u32)> {
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
    // SAFETY: the new process has no stack of its own, but makes system calls only, and never leaves `child`, which
    // may write to the number.
    let pid = unsafe { arch::clone_and_run(&args, child, &raw mut exec_errno) }?;
    if exec_errno != 0 {
        // It has let go of this memory, but may not quite have ended.
        process::wait(pidfd);
        fd::close(pidfd);
        return Err(Errno(exec_errno));
    }
    Ok((pidfd, pid))
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
