//! The instance context: what compiled code, rt and the host share about a running program.
//!
//! Compiled code holds one pointer, the *context address*: the base of linear memory 0. The
//! [`Context`] ends there, so its fields are at negative offsets, which WebAssembly addresses (unsigned)
//! cannot reach. The *instance region* is the memory from the lowest table up to the context address:
//!
//! ```text
//!   state address                                                        context address
//!   |                                                                    |
//!   | stack (grows down) | tables | globals, descriptors, ... | Context || memory 0 | memory 1 ...
//!   |<-- stack size ---->|<----------- instance size ------------------>||<- MEMORY_RESERVATION each
//! ```
//!
//! The [`MemoryDesc`] of memory *i* is [`memory_desc_distance`]\(i) below the context address: directly below the
//! [`Context`], so that rt finds it, too. There is always one for memory 0, all zeros if the module has no
//! memory. Where tables, globals and other descriptors are is decided per module by the compiler and recorded
//! beside the text. Everything here is written by the untrusted program's process: the host copies what it reads
//! and then checks it.

/// Byte offset of a [`Context`] field from the context address. Negative.
#[macro_export]
macro_rules! context_offset {
    ($($field:tt)+) => {
        ::core::mem::offset_of!($crate::context::Context, $($field)+) as i32
            - ::core::mem::size_of::<$crate::context::Context>() as i32
    };
}

/// Fields at fixed offsets below linear memory 0.
///
/// Fields that hot code tests are at the end, within the reach of a one-byte displacement.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Context {
    /// Why the program stopped. Written by rt.
    pub exit: ExitRecord,
    /// The host call that is being made. Written by import thunks and rt.
    pub call: CallRecord,
    /// Addresses of rt's functions, indexed by [`RtFunction`]. Written by rt at each load.
    pub rt: [u64; RtFunction::COUNT],
    /// Program's monotonic clock when the host's monotonic clock was zero, in nanoseconds, wrapping.
    pub monotonic_origin: u64,
    /// Resolution of clocks, in nanoseconds. Not zero.
    pub time_resolution: u64,
    /// Where the stack pointer was when the program froze; zero when it is not frozen.
    pub frozen_sp: u64,
    /// Lowest address of the stack that wasm functions may use. Unlike [`Context::stack_limit`], not
    /// moved by a suspension request.
    pub stack_low: u64,
    /// Where the next frame is written while unwinding.
    pub dump_next: u64,
    /// Return address of the rt call that is being made.
    pub rt_pc: u64,
    /// Frame pointer of the function that made the rt call.
    pub rt_fp: u64,
    /// The next frame that resumed code reads. See [`frames`](crate::frames).
    pub resume_next: u64,
    /// Non-zero when the host has replaced chunks of copy-on-write memories, which rt has to map. Written by the host
    /// while the program waits for a reply. See [`cow`](crate::cow).
    pub chunks_replaced: u64,
    /// Non-zero when the host has sent the reply to the host call that is being made, so that receiving it takes no waiting.
    /// Written by the host, now and then too late, and by rt before it sends a request.
    pub reply_sent: u32,
    /// How many calls rt will wait for without looking at [`Context::reply_sent`] first. rt's own.
    pub blind_calls: u16,
    /// How often in a row it has looked there in vain. rt's own.
    pub vain_looks: u16,
    reserved: u64,

    // Here end the fields that only cold code uses.
    /// One of [`Unwinding`]: non-zero while frames are being left. Set and tested synchronously.
    pub unwinding: u32,
    /// [`RAISED`] when the program is asked to stop at its next check, else zero. Set by a signal handler.
    pub suspend_request: u32,
    /// A function whose frame would reach below this calls [`RtFunction::Safepoint`]. Equals
    /// [`Context::stack_low`], or `u64::MAX` while a suspension is requested.
    pub stack_limit: u64,
}

const _: () = assert!(size_of::<Context>() == 384);
const _: () = assert!(context_offset!(unwinding) == -16);

/// Value of [`Context::suspend_request`]. Greater than the low half of every context address, as these are aligned.
pub const RAISED: u32 = u32::MAX;

/// Values of [`Context::unwinding`]: why functions return zeros to their callers. All but zero are greater than the low half of every
/// context address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Unwinding {
    /// They don't.
    No = 0,
    /// The program is stopped: each function writes its frame down.
    Stop = RAISED,
    /// An exception looks for its handler. It is record 0 of those at [`ExceptionDesc::distance`]. No safepoint lies between the
    /// instruction that throws it and the handler.
    Exception = RAISED - 1,
}

/// Stack space that a wasm function's entry check leaves to functions without one, to rt and to
/// what the check itself does not count, in bytes. The part of the stack above [`Context::stack_low`]
/// ends this far from the stack's lowest address.
pub const STACK_RESERVE: u64 = 64 << 10;

/// A function with a larger frame adds its frame's size to its entry check; a function without loops
/// and calls needs an entry check only if its frame is larger.
pub const SMALL_FRAME: u32 = 4 << 10;

/// How a program stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ExitRecord {
    /// One of [`ExitKind`].
    pub kind: u32,
    /// Exit code ([`ExitKind::Terminated`]), [`TrapId`](crate::trap::TrapId) number
    /// ([`ExitKind::Trapped`]) or signal number ([`ExitKind::Faulted`]).
    pub value: u32,
    /// Address of the instruction that trapped or faulted, or return address of the call that trapped.
    pub pc: u64,
    /// Frame pointer of the function that trapped. Each frame holds the caller's frame pointer at this
    /// address and the return address 8 bytes above.
    pub fp: u64,
    /// Data address of a fault.
    pub addr: u64,
    /// Stack pointer at a fault.
    pub sp: u64,
}

/// Values of [`ExitRecord::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ExitKind {
    /// Nothing was written: the program is running, or it was killed.
    None = 0,
    /// The entry function returned. Its results are in the entry area.
    Returned = 1,
    /// The program asked for its termination (`proc_exit`).
    Terminated = 2,
    /// rt raised a trap.
    Trapped = 3,
    /// The processor raised a trap; the text's trap table tells which.
    Faulted = 4,
    /// The program was frozen; [`Context::frozen_sp`] is set. The value is one of [`FrozenBy`].
    Frozen = 5,
}

impl ExitKind {
    /// The kind with the given number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Returned,
            2 => Self::Terminated,
            3 => Self::Trapped,
            4 => Self::Faulted,
            5 => Self::Frozen,
            _ => return None,
        })
    }
}

/// Values of [`ExitRecord::value`] for [`ExitKind::Frozen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FrozenBy {
    /// A suspension was requested.
    Suspension = 0,
    /// The program came to a breakpoint, [`RtFunction::Breakpoint`].
    Breakpoint = 1,
}

/// Greatest number of arguments of a host function.
pub const MAX_CALL_ARGS: usize = 12;

/// A host call between an import thunk and rt.
///
/// A request exists exactly once. The thunk writes `func` and `args` and sets [`CallState::Unsent`]; rt
/// sends, sets [`CallState::Sent`], receives, and sets [`CallState::Idle`] with `result` filled. When a
/// suspension interrupts it, [`RtFunction::HostCall`] returns with the state other than idle; the thunk
/// passes its safepoint and calls again.
///
/// The state of a stopped program is never [`CallState::Sent`] for long: the host, which has the request, writes either
/// [`CallState::Unsent`] there because nothing has been done about it, or the answer.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CallRecord {
    /// One of [`CallState`].
    pub state: u32,
    /// Number of the host function.
    pub func: u32,
    /// Result of the function, zero-extended. Zero if it has none.
    pub result: u64,
    /// Arguments; 32-bit ones are zero-extended.
    pub args: [u64; MAX_CALL_ARGS],
}

/// Values of [`CallRecord::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CallState {
    /// No call is being made.
    Idle = 0,
    /// The request is in [`CallRecord`] and nowhere else.
    Unsent = 1,
    /// The host has the request.
    Sent = 2,
    /// Written by the host while the program was stopped: the call has returned, with [`CallRecord::result`].
    Answered = 3,
    /// Written by the host while the program was stopped: the call ends in the trap whose number is in
    /// [`CallRecord::result`].
    Refused = 4,
}

/// Size and bound of a linear memory.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MemoryDesc {
    /// Current size in bytes.
    pub size: u64,
    /// Greatest size in bytes.
    pub max: u64,
}

/// Distance of a memory's [`MemoryDesc`] below the context address, in bytes.
pub const fn memory_desc_distance(memory: u32) -> u64 {
    size_of::<Context>() as u64 + size_of::<MemoryDesc>() as u64 * (memory as u64 + 1)
}

/// Place, size and bound of a table. Elements are 32-bit: zero is null, a function reference is the
/// function's index plus one.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TableDesc {
    /// Distance of the table's first element below the context address, in bytes.
    pub distance: u64,
    /// Current number of elements.
    pub size: u32,
    /// Greatest number of elements.
    pub max: u32,
}

/// Exceptions of a program whose module has tags: the records' place, and which of them are free.
///
/// A record is an [`ExceptionHead`] and the values that the exception carries, one slot each: 16 bytes for vectors, 8 for
/// others. Record 0 is the exception that is looking for its handler. The others are what references to exceptions refer to: such
/// a reference is [`EXCEPTION_REFERENCE`] plus the record's number, or zero for null.
///
/// Records are not freed one by one. When there are [`ExceptionDesc::threshold`] of them, rt looks for references in all that the
/// program can reach, and frees the records to which there is none. It takes for a reference whatever looks like one.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ExceptionDesc {
    /// Distance of record 0 below the context address, in bytes.
    pub distance: u64,
    /// Size of a record, in bytes.
    pub record_size: u32,
    /// Number of records that there is room for.
    pub capacity: u32,
    /// Number of records that are or have been in use, or zero for one. Those behind have never been written to.
    pub used: u32,
    /// The first record that is free among these. Zero for none. Each has the number of the next one in [`ExceptionHead::link`].
    pub free: u32,
    /// When [`ExceptionDesc::used`] gets here, unused ones are freed first. Zero means [`EXCEPTIONS_AT_FIRST`].
    pub threshold: u32,
    /// Number of tables. Their descriptors follow each other downwards.
    pub tables: u32,
    /// Distance of the first table's [`TableDesc`].
    pub table_descs: u64,
    /// Distance of the lowest global.
    pub globals: u64,
    /// Size of all globals, in bytes.
    pub globals_size: u64,
    /// Distance of the stack's end: the size of the instance region.
    pub stack_end: u64,
}

/// What precedes the values in the record of an exception.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ExceptionHead {
    /// The exception's tag, plus one. Zero for a free record.
    pub tag: u32,
    /// Record 0: the exception's number if it has one already, else zero. Others: the next free record; rt's.
    pub link: u32,
}

/// What is added to the number of an exception to make a reference of it. Programs rarely have such numbers.
pub const EXCEPTION_REFERENCE: u32 = 0xe5c0_0000;

/// Greatest number of records of a program, record 0 included.
pub const MAX_EXCEPTIONS: u32 = 1 << 16;

/// Greatest size of all records of a program, in bytes, unless [`MIN_EXCEPTIONS`] take more.
pub const MAX_EXCEPTIONS_SIZE: u64 = 4 << 20;

/// Least number of records, record 0 included.
pub const MIN_EXCEPTIONS: u32 = 256;

/// How many records are in use before unused ones are freed for the first time.
pub const EXCEPTIONS_AT_FIRST: u32 = 256;

/// rt functions that compiled code calls through [`Context::rt`].
///
/// All follow the System V calling convention and take the context address as first argument, except [`RtFunction::Safepoint`] and
/// [`RtFunction::Breakpoint`], which take nothing and preserve every register: so nothing around their calls has to be in a certain one. `desc` is the address of a
/// [`MemoryDesc`] or [`TableDesc`]. A bulk operation does a bounded amount of work per call
/// and returns how many units (bytes or elements) are still to be done; compiled code passes a safepoint and
/// executes the instruction again with its operands moved on. What cannot be done traps before anything is
/// written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum RtFunction {
    /// `fn()`: the only place where a program stops. Called when the stack limit or the request
    /// flag says so. Preserves all registers. Returns with the limit and the flag restored; the caller tests
    /// [`Context::unwinding`]. Without a request, the stack is exhausted: a trap.
    Safepoint = 0,
    /// `fn(ctx)`: makes the host call in [`Context::call`].
    HostCall = 1,
    /// `fn(ctx, desc, memory index: u32, delta pages: u64) -> i64`: previous size in pages, or -1.
    MemoryGrow = 2,
    /// `fn(ctx, desc, base, dst: u64, byte: u32, len: u64) -> u64`. `base` is the memory's address.
    /// Works upwards.
    MemoryFill = 3,
    /// `fn(ctx, args: *const [u64; 7]) -> u64` with args = dst desc, dst base, src desc, src base, dst, src,
    /// len. Works upwards if `dst <= src`, else downwards (the low part remains).
    MemoryCopy = 4,
    /// `fn(ctx, args: *const [u64; 7]) -> u64` with args = dst desc, dst base, segment address, segment
    /// length, dst, src, len. Works upwards.
    MemoryInit = 5,
    /// `fn(ctx, desc, delta: u32, value: u32) -> i32`: previous size, or -1.
    TableGrow = 6,
    /// `fn(ctx, desc, dst: u32, value: u32, len: u32) -> u64`. Works upwards.
    TableFill = 7,
    /// `fn(ctx, args: *const [u64; 5]) -> u64` with args = dst desc, src desc, dst, src, len.
    /// Works upwards if `dst <= src`, else downwards.
    TableCopy = 8,
    /// `fn(ctx, args: *const [u64; 6]) -> u64` with args = dst desc, segment address, segment length, dst, src,
    /// len. Segment elements are 32-bit as in the table. Works upwards.
    TableInit = 9,
    /// `fn(ctx, trap: u32) -> !`: stops the program with a trap.
    Trap = 10,
    /// `fn()`: freezes the program, requested or not ([`FrozenBy::Breakpoint`]). Otherwise like
    /// [`RtFunction::Safepoint`].
    Breakpoint = 11,
    /// `fn(ctx, desc) -> u32`: a reference to the exception that is record 0 of an [`ExceptionDesc`].
    ExceptionNew = 12,
    /// `fn(ctx, desc, reference: u32)`: makes record 0 of the exception to which a reference refers. It is not null.
    ExceptionThrow = 13,
}

impl RtFunction {
    /// Number of slots in [`Context::rt`].
    pub const COUNT: usize = 16;
}
