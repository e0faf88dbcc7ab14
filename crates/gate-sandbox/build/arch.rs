//! What depends on the processor for which the programs are built, which need not be the one that compiles.

mod aarch64;
mod x86_64;

use seccompiler::TargetArch;

/// What the build script has to know about an architecture.
pub(crate) struct Arch {
    /// Number in the header of an executable.
    pub(crate) elf_machine: u16,
    pub(crate) seccomp: TargetArch,
    pub(crate) numbers: Numbers,
}

/// Numbers of the system calls that a running program has.
pub(crate) struct Numbers {
    pub(crate) read: i64,
    pub(crate) write: i64,
    pub(crate) mmap: i64,
    pub(crate) mprotect: i64,
    pub(crate) munmap: i64,
    pub(crate) rt_sigreturn: i64,
    pub(crate) clock_gettime: i64,
    pub(crate) exit_group: i64,
}

impl Arch {
    /// The architecture of a target for which the programs can be built.
    pub(crate) fn of_target(target: &str) -> Option<&'static Self> {
        match target {
            "aarch64-unknown-linux-gnu" => Some(&aarch64::ARCH),
            "x86_64-unknown-linux-gnu" => Some(&x86_64::ARCH),
            _ => None,
        }
    }
}
