//! Samples of where a program is: what a profile is made of.
//!
//! The process's timer interrupts the program after each so much processor time. rt writes down where it was into a part of the
//! state file, around and around, and the host reads there while the program runs. What is there was written by the
//! untrusted process.
//!
//! The part begins with the number of words (`u64`) that have been written so far. Word *n* is at [`WORDS_OFFSET`] + 8 (*n* modulo
//! [`WORDS`]). A sample is the number of its addresses, at most [`MAX_ADDRESSES`]; the monotonic clock of
//! the kernel in nanoseconds; and the addresses, in text: that of the instruction which was interrupted, or the return address of the call
//! of rt that was, and the return addresses of its callers outwards.

/// Where in the state file the samples are.
pub const SAMPLES_OFFSET: u64 = 1 << 30;

/// Where in the part the first word is.
pub const WORDS_OFFSET: u64 = crate::PAGE_SIZE;

/// Number of words, a power of two.
pub const WORDS: u64 = 1 << 19;

/// Size of the part, in bytes.
pub const SAMPLES_SIZE: u64 = WORDS_OFFSET + 8 * WORDS;

/// Greatest number of addresses in a sample: what is further out is left out.
pub const MAX_ADDRESSES: u64 = 256;

const _: () = assert!(SAMPLES_OFFSET + SAMPLES_SIZE <= crate::cow::CHUNKS_OFFSET);
