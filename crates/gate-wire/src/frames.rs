//! The frames file: the frames of a stopped program, on their way out of or into its process.
//!
//! It begins with a [`FramesHeader`]; frames follow at [`FRAMES_START`].
//!
//! **Export.** Compiled code writes frames down from the innermost to the outermost: the function index and the code offset
//! (`u32` each), and then one slot for each live local, ascending, and for each operand, bottom first. Slots have 8
//! bytes, those of vectors 16. Nothing is aligned. rt fills in the header when the outermost function has
//! returned. All of it is written by an untrusted process.
//!
//! **Resume.** The host writes frames from the outermost to the innermost: a word (`u64`) that identifies the code which
//! goes on at the frame's safepoint (the compiler says which), and then the slots as above.
//! [`Context::resume_next`](crate::context::Context::resume_next) leads through them. Mapped read-only.

/// The beginning of a frames file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FramesHeader {
    /// [`FRAMES_COMPLETE`] when an export is complete; zero before.
    pub state: u64,
    /// Size of all frames, in bytes.
    pub size: u64,
}

/// Value of [`FramesHeader::state`].
pub const FRAMES_COMPLETE: u64 = u64::from_le_bytes(*b"gFrames1");

/// Offset of the first frame.
pub const FRAMES_START: u64 = 64;

/// Greatest size of a frame, in bytes: that of the inaccessible range behind a frames file that is written to. The
/// compiler refuses functions which could have larger ones.
pub const FRAMES_GUARD: u64 = 1 << 20;
