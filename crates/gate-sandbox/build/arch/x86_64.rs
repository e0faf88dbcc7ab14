//! x86-64.

use super::{Arch, Numbers};
use seccompiler::TargetArch;

pub(crate) static ARCH: Arch = Arch {
    elf_machine: 62,
    seccomp: TargetArch::x86_64,
    numbers: Numbers {
        read: 0,
        write: 1,
        mmap: 9,
        mprotect: 10,
        munmap: 11,
        rt_sigreturn: 15,
        clock_gettime: 228,
        exit_group: 231,
    },
};
