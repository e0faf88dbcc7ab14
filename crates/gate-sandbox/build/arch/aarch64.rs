//! AArch64.

use super::{Arch, Numbers};
use seccompiler::TargetArch;

pub(crate) static ARCH: Arch = Arch {
    elf_machine: 183,
    seccomp: TargetArch::aarch64,
    numbers: Numbers {
        read: 63,
        write: 64,
        mmap: 222,
        mprotect: 226,
        munmap: 215,
        rt_sigreturn: 139,
        clock_gettime: 113,
        exit_group: 94,
    },
};
