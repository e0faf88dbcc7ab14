//! The load request: which image a program process maps where, and where it starts.
//!
//! The host sends it as the first message on the process's call socket, with the descriptors of the text and
//! the state attached, then that of the additional text if [`LoadRequest::extension_size`] is not zero, then that of the
//! frames file if [`LoadRequest::frames_size`] is not zero, then that of the base file if [`FLAG_COPY_ON_WRITE`] is set. A process without one waits for it: that is what a process prepared
//! in advance is. The host chooses all addresses, at random, within [`ADDRESS_RANGE`]: nothing else of the
//! process is ever there.

use crate::record::{Reader, Writer};
use core::ops::Range;

/// Where the host places a program's mappings.
pub const ADDRESS_RANGE: Range<u64> = 0x1000_0000_0000..0x5000_0000_0000;

/// Where the executor, or the loader, is in its process. Code there may make any system call; nothing is there when a
/// program runs, and nothing executable can come there.
pub const SETUP_RANGE: Range<u64> = 0x1000_0000..0x1002_0000;

/// Number of the call socket among a program process's descriptors.
pub const CALL_FD: i32 = 0;

/// Number of the descriptor from which the loader maps rt. Closed after that.
pub const RT_FD: i32 = 1;

/// Bytes behind rt's image that the loader maps for rt's own data and its signal stack.
pub const RT_DATA_SIZE: u64 = 16 << 10;

/// Greatest number of linear memories.
pub const MAX_MEMORIES: usize = 100;

/// Set in [`LoadRequest::flags`] when the state is frozen: the program goes on where it stopped.
pub const FLAG_THAW: u32 = 1;

/// Set together with [`FLAG_THAW`]: the program only unwinds, writing down its frames in the frames file. Stack and
/// instance region are mapped private and memories are not mapped, so that the state file stays as it is.
pub const FLAG_EXPORT: u32 = 2;

/// The memories are copy-on-write: the last descriptor is that of the base file. See [`cow`](crate::cow).
pub const FLAG_COPY_ON_WRITE: u32 = 4;

/// Where in a state file linear memory 0 begins, in bytes. Directly before it are the stack and the instance region,
/// in the order in which they are mapped; memory *i* begins at (*i* + 1) times this. So memories have the same place
/// whatever the size of the stack and the layout of the instance region.
pub const STATE_FILE_STRIDE: u64 = 8 << 30;

/// "None" for [`LoadRequest::start`] and [`LoadRequest::entry`].
pub const NO_ENTRY: u64 = u64::MAX;

const MAGIC: u32 = u32::from_le_bytes(*b"gLd1");

/// What to map and where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LoadRequest {
    /// Set of `FLAG_` bits.
    pub flags: u32,
    /// Where rt goes: its image, and [`RT_DATA_SIZE`] bytes behind it.
    pub rt_addr: u64,
    /// Where text goes: all of the text descriptor's first bytes and then all of the additional text's, readable and
    /// executable.
    pub text_addr: u64,
    /// Size of all text, a multiple of the page size.
    pub text_size: u64,
    /// Size of the additional text, a multiple of the page size and less than `text_size`. Zero if there is none.
    pub extension_size: u64,
    /// Where the state goes: stack, instance region and memories, contiguous. The page below is
    /// inaccessible.
    pub state_addr: u64,
    /// Multiple of the page size.
    pub stack_size: u64,
    /// Multiple of the page size.
    pub instance_size: u64,
    /// Text offset of the start function's trampoline, or [`NO_ENTRY`].
    pub start: u64,
    /// Text offset of the entry function's trampoline, or [`NO_ENTRY`].
    pub entry: u64,
    /// See [`Context::monotonic_origin`](crate::context::Context::monotonic_origin).
    pub monotonic_origin: u64,
    /// See [`Context::time_resolution`](crate::context::Context::time_resolution).
    pub time_resolution: u64,
    /// Where in the state file the stack begins: the instance region and memory 0 follow it.
    pub state_offset: u64,
    /// Where the frames file goes: all of its first `frames_size` bytes, read-only unless [`FLAG_EXPORT`] is set. With
    /// [`FLAG_EXPORT`], [`FRAMES_GUARD`](crate::frames::FRAMES_GUARD) inaccessible bytes follow.
    pub frames_addr: u64,
    /// Multiple of the page size. Zero if there is no frames file.
    pub frames_size: u64,
    /// Where the table of chunks goes, if [`FLAG_COPY_ON_WRITE`] is set.
    pub chunks_addr: u64,
    /// Where the base file's memories go for rt to copy from, if [`FLAG_COPY_ON_WRITE`] is set: memory *i* at a
    /// distance of *i* times [`MEMORY_RESERVATION`](crate::MEMORY_RESERVATION), read-only.
    pub base_addr: u64,
    /// Where [samples](crate::samples) are written, if the interval is not zero.
    pub samples_addr: u64,
    /// A sample is taken after each so much processor time, in nanoseconds. Zero for none.
    pub sample_interval: u64,
}

/// What is accessible and what is mapped of one linear memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MemoryMap {
    /// Accessible bytes, a multiple of the page size.
    pub size: u64,
    /// Bytes which the program may make accessible, a multiple of the page size, `size` included.
    pub max: u64,
    /// Where the memory is in the state file.
    pub offset: u64,
    /// So many bytes from its start are copied from the base file when they are written to. A multiple of
    /// [`CHUNK_SIZE`](crate::cow::CHUNK_SIZE), at most `size`; zero without [`FLAG_COPY_ON_WRITE`].
    pub base_size: u64,
    /// Where the memory is in the base file. A multiple of the page size.
    pub base_offset: u64,
}

macro_rules! load_failures {
    ($($variant:ident = $status:literal, $text:literal;)*) => {
        /// Exit status of a program process that could not start or go on, through no fault of the program.
        ///
        /// A program's own ends are in its [`ExitRecord`](crate::context::ExitRecord), and its process's status
        /// is zero.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(i32)]
        pub enum LoadFailure {
            $(#[doc = $text] $variant = $status,)*
        }

        impl LoadFailure {
            /// The failure with the given exit status.
            pub const fn from_status(status: i32) -> Option<Self> {
                match status {
                    $($status => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// What was being done, for an error message.
            pub const fn describe(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

load_failures! {
    HostGone = 100, "talk to the host, which has closed the call socket";
    SetAttributes = 101, "set the program process's attributes";
    SetLimits = 102, "set the program process's resource limits";
    ReceiveRequest = 103, "receive the load request";
    InvalidRequest = 104, "understand the load request";
    MissingDescriptors = 105, "receive the text and state descriptors";
    Reserve = 106, "reserve address space for the program's state";
    MapState = 107, "map the program's stack and instance region";
    MapMemory = 108, "map a linear memory";
    MapText = 109, "map the program's text";
    MapRt = 110, "map the runtime support code";
    MapRtData = 111, "map the runtime support code's data";
    CloseDescriptors = 112, "close the program process's descriptors";
    Unmap = 113, "unmap the loader";
    SetSignalStack = 114, "set the signal stack";
    SetSignalHandler = 115, "set a signal handler";
    InvalidReply = 117, "understand the host's reply to a call";
    MapFrames = 118, "map the program's frames";
    MapBase = 119, "map the memories that are copied on write";
    MapChunk = 120, "map a part of a memory that is written to";
    Export = 121, "make the program write down its frames";
    FramesFull = 122, "write down all of the program's frames in the space for them";
    MapSamples = 123, "map the space for samples";
    SetTimer = 124, "set the timer for samples";
}

impl LoadRequest {
    /// Encoded size without memories, in bytes.
    pub const HEADER_SIZE: usize = 8 + 8 * 18 + 8;

    /// Encoded size of one [`MemoryMap`], in bytes.
    pub const MEMORY_SIZE: usize = 40;

    /// Encoded size with the greatest number of memories, in bytes.
    pub const MAX_SIZE: usize = Self::HEADER_SIZE + Self::MEMORY_SIZE * MAX_MEMORIES;

    /// Address of linear memory 0.
    pub fn context_addr(&self) -> u64 {
        self.state_addr + self.stack_size + self.instance_size
    }

    /// Encodes into the start of `buf`, and returns the encoded size.
    ///
    /// Returns `None` if there are more than [`MAX_MEMORIES`] memories.
    pub fn encode(&self, memories: &[MemoryMap], buf: &mut [u8; Self::MAX_SIZE]) -> Option<usize> {
        if memories.len() > MAX_MEMORIES {
            return None;
        }
        let mut w = Writer::new(buf);
        w.u32(MAGIC).u32(self.flags);
        for field in self.fields() {
            w.u64(field);
        }
        w.u64(memories.len() as u64);
        for memory in memories {
            w.u64(memory.size).u64(memory.max).u64(memory.offset);
            w.u64(memory.base_size).u64(memory.base_offset);
        }
        Some(Self::HEADER_SIZE + memories.len() * Self::MEMORY_SIZE)
    }

    /// Decodes a whole message. Returns the number of memories, and stores them in `memories`.
    ///
    /// Returns `None` if `buf` is not an encoded request.
    pub fn decode(buf: &[u8], memories: &mut [MemoryMap; MAX_MEMORIES]) -> Option<(Self, usize)> {
        let mut r = Reader::new(buf);
        if r.u32()? != MAGIC {
            return None;
        }
        let request = Self {
            flags: r.u32()?,
            rt_addr: r.u64()?,
            text_addr: r.u64()?,
            text_size: r.u64()?,
            extension_size: r.u64()?,
            state_addr: r.u64()?,
            stack_size: r.u64()?,
            instance_size: r.u64()?,
            start: r.u64()?,
            entry: r.u64()?,
            monotonic_origin: r.u64()?,
            time_resolution: r.u64()?,
            state_offset: r.u64()?,
            frames_addr: r.u64()?,
            frames_size: r.u64()?,
            chunks_addr: r.u64()?,
            base_addr: r.u64()?,
            samples_addr: r.u64()?,
            sample_interval: r.u64()?,
        };
        let count = r.u64()? as usize;
        for memory in memories.get_mut(..count)? {
            *memory = MemoryMap {
                size: r.u64()?,
                max: r.u64()?,
                offset: r.u64()?,
                base_size: r.u64()?,
                base_offset: r.u64()?,
            };
        }
        r.is_empty().then_some((request, count))
    }

    fn fields(&self) -> [u64; 18] {
        [
            self.rt_addr,
            self.text_addr,
            self.text_size,
            self.extension_size,
            self.state_addr,
            self.stack_size,
            self.instance_size,
            self.start,
            self.entry,
            self.monotonic_origin,
            self.time_resolution,
            self.state_offset,
            self.frames_addr,
            self.frames_size,
            self.chunks_addr,
            self.base_addr,
            self.samples_addr,
            self.sample_interval,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_round_trips() {
        let request = LoadRequest {
            flags: FLAG_THAW,
            text_addr: 1,
            entry: NO_ENTRY,
            time_resolution: 7,
            base_addr: 8,
            ..Default::default()
        };
        let maps = [
            MemoryMap { size: 1, max: 2, offset: 3, base_size: 0, base_offset: 0 },
            MemoryMap { size: 4, max: 5, offset: 6, base_size: 7, base_offset: 8 },
        ];
        let mut buf = [0; LoadRequest::MAX_SIZE];
        let size = request.encode(&maps, &mut buf).unwrap();
        let mut decoded = [MemoryMap::default(); MAX_MEMORIES];
        assert_eq!(LoadRequest::decode(&buf[..size], &mut decoded), Some((request, 2)));
        assert_eq!(decoded[..2], maps);
        for short in 0..size {
            assert_eq!(LoadRequest::decode(&buf[..short], &mut decoded), None);
        }
        assert_eq!(LoadRequest::decode(&buf[..size + 1], &mut decoded), None);
    }
}
