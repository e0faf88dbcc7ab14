//! What the loader leaves to rt, besides what both find in the context.
//!
//! It is at the end of rt's data, above the signal stack, and stays there for rt's signal handlers. The program can
//! write there, as anywhere in its process: it gains nothing by it.

#![no_std]

use gate_wire::load::{MAX_MEMORIES, RT_DATA_SIZE};

/// Where in rt's data it is.
pub const OFFSET: u64 = RT_DATA_SIZE - SPACE;

/// The signal stack above which it is remains aligned.
const SPACE: u64 = 2048;

const _: () = assert!(size_of::<Handover>() as u64 <= SPACE);

/// What rt needs to know about the process.
#[repr(C)]
pub struct Handover {
    /// The context address.
    pub context_addr: u64,
    /// Address of a system call instruction of the loader's, and a return, for what the program is not to do.
    pub syscall_addr: u64,
    /// Of the load request.
    pub flags: u32,
    /// Number of [`Handover::bases`]. Zero if memories are not copied on write.
    pub base_count: u32,
    /// Address of the frames file.
    pub frames_addr: u64,
    /// Size of the frames file; zero if there is none.
    pub frames_size: u64,
    /// Where samples are written.
    pub samples_addr: u64,
    /// How often samples are taken, in nanoseconds. Zero for never.
    pub sample_interval: u64,
    /// Where the stack begins and ends.
    pub stack: [u64; 2],
    /// Where text begins and ends.
    pub text: [u64; 2],
    /// Address of the table of chunks.
    pub chunks_addr: u64,
    /// Address of the base file's memories.
    pub base_addr: u64,
    /// Number of places where neighbouring chunks are mapped from different files.
    pub borders: u64,
    /// The memories' parts that are copied on write.
    pub bases: [Base; MAX_MEMORIES],
}

/// The part of a memory that is copied on write.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Base {
    /// Size in bytes, a multiple of the chunk size.
    pub size: u64,
    /// Where the memory is in the state file.
    pub offset: u64,
}
