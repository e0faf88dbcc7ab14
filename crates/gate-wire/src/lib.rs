//! Layouts and numbers that several layers of Gate share.
//!
//! Everything here is fixed by agreement between programs that are built apart: the host, the static
//! programs inside the container, and compiled code. The crate has no dependencies, does no input or
//! output and needs no allocator, so that each of them can use it.
//!
//! | module | agreement between |
//! |---|---|
//! | [`context`] | compiled code, rt and the host: the instance context below linear memory |
//! | [`load`] | the host and the loader: which image to map where |
//! | [`control`] | the host and the executor: processes to make and to kill |
//! | [`fields`] | layers of the host: states of services, field by field |
//! | [`frames`] | compiled code, rt and the host: frames of a stopped program |
//! | [`samples`] | rt and the host: where a program is, for profiles |
//! | [`cow`] | the host and rt: memories that are copied on write |
//! | [`call`] | rt and the host: host calls and their replies |
//! | [`wasi`] | the compiler, rt and the host: the numbers of the WASI functions |
//! | [`wasi_unstable`] | the compiler and the host: the numbers of those of its older form that differ |
//! | [`gate`] | the compiler and the host: the numbers of the functions for packets |
//! | [`packet`] | programs and the host: packets |
//! | [`trap`] | everyone: why a program stopped |

#![no_std]
#![forbid(unsafe_code)]

pub mod call;
pub mod context;
pub mod control;
pub mod cow;
pub mod fields;
pub mod frames;
pub mod gate;
pub mod load;
pub mod packet;
pub mod record;
pub mod samples;
pub mod trap;
pub mod wasi;
pub mod wasi_unstable;

/// Size of a WebAssembly page, in bytes.
pub const WASM_PAGE_SIZE: u64 = 65536;

/// Granularity of every mapping, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// Address space reserved for each 32-bit linear memory, in bytes.
///
/// A 32-bit index plus a 32-bit static offset plus the widest access stays below this, so compiled
/// code needs no bounds check: what is not accessible memory is inaccessible address space.
pub const MEMORY_RESERVATION: u64 = (8 << 30) + WASM_PAGE_SIZE;

/// Largest number of processes per executor.
pub const MAX_PROCS: u32 = 16384;
