//! Mappings.

use crate::Result;
use crate::arch::syscall;
use crate::number::nr;

/// Protections.
pub const PROT_NONE: usize = 0;
/// Readable.
pub const PROT_READ: usize = 1;
/// Writable.
pub const PROT_WRITE: usize = 2;
/// Executable.
pub const PROT_EXEC: usize = 4;

/// Changes go to the file.
pub const MAP_SHARED: usize = 0x01;
/// Changes stay in the process.
pub const MAP_PRIVATE: usize = 0x02;
/// Replaces what is at the address.
pub const MAP_FIXED: usize = 0x10;
/// Zeros instead of a file.
pub const MAP_ANONYMOUS: usize = 0x20;
/// Takes nothing from the memory that may be promised.
pub const MAP_NORESERVE: usize = 0x4000;
/// Makes all pages present.
pub const MAP_POPULATE: usize = 0x8000;
/// Fails if something is at the address.
pub const MAP_FIXED_NOREPLACE: usize = 0x10_0000;

/// Part of a file.
#[derive(Clone, Copy)]
pub struct FilePart {
    /// The file.
    pub fd: i32,
    /// Where the part begins.
    pub offset: u64,
}

/// Maps memory at `addr`, or anywhere if `addr` is zero.
///
/// # Safety
///
/// With [`MAP_FIXED`], no Rust code relies on what was at the address.
pub unsafe fn map(addr: u64, size: u64, prot: usize, flags: usize, file: Option<FilePart>) -> Result<u64> {
    let (fd, offset, flags) = match file {
        Some(part) => (part.fd as usize, part.offset as usize, flags),
        None => (usize::MAX, 0, flags | MAP_ANONYMOUS),
    };
    // SAFETY: the caller's promise.
    unsafe { syscall(nr::MMAP, [addr as usize, size as usize, prot, flags, fd, offset]) }
        .map(|addr| addr as u64)
}

/// Unmaps whatever is in a range.
///
/// # Safety
///
/// No code that runs after this relies on what was there.
#[inline(always)]
pub unsafe fn unmap(addr: u64, size: u64) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { syscall(nr::MUNMAP, [addr as usize, size as usize]) }.map(drop)
}

/// Changes the protection of a range.
///
/// # Safety
///
/// No Rust code relies on accesses that this forbids.
pub unsafe fn protect(addr: u64, size: u64, prot: usize) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { syscall(nr::MPROTECT, [addr as usize, size as usize, prot]) }.map(drop)
}
