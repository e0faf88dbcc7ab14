//! The functions of rt, as small as they can be.
//!
//! Where a program stops is decided by counting: see [`COUNTER`].

use gate_wire::context::{CallState, Context, MemoryDesc, RAISED, RtFunction, TableDesc};
use gate_wire::{WASM_PAGE_SIZE, context_offset};
use std::arch::naked_asm;
use std::sync::atomic::{AtomicU32, Ordering};

/// Units of work that bulk operations do at a time.
pub(crate) const BULK_WORK: u64 = 3;

/// How many more calls of rt bulk operations and host calls go by before the program is asked to stop; zero for never.
pub(crate) static COUNTDOWN: AtomicU32 = AtomicU32::new(0);

/// Where the context holds the number of safepoint calls, from the next on, until the program stops: a field that is used by
/// nobody here. Each call that does not stop moves the stack limit up or down, so that entries are noticed sometimes.
pub(super) const COUNTER: i32 = context_offset!(exit.addr);

/// Where the context holds a digest of all host calls that have been made.
pub(super) const CALLS: i32 = context_offset!(exit.pc);

/// All functions, by number.
pub(super) fn functions() -> [(RtFunction, usize); 12] {
    [
        (RtFunction::Safepoint, safepoint as *const () as usize),
        (RtFunction::HostCall, host_call as *const () as usize),
        (RtFunction::MemoryGrow, memory_grow as *const () as usize),
        (RtFunction::MemoryFill, memory_fill as *const () as usize),
        (RtFunction::MemoryCopy, memory_copy as *const () as usize),
        (RtFunction::MemoryInit, memory_init as *const () as usize),
        (RtFunction::TableGrow, table_grow as *const () as usize),
        (RtFunction::TableFill, table_fill as *const () as usize),
        (RtFunction::TableCopy, table_copy as *const () as usize),
        (RtFunction::TableInit, table_init as *const () as usize),
        (RtFunction::Trap, trap as *const () as usize),
        (RtFunction::Breakpoint, breakpoint as *const () as usize),
    ]
}

/// Code that calls a function with the context address in rdi, as it is called without, and preserves all registers.
pub(super) fn with_context(context: u64, function: u64) -> [u8; 27] {
    let mut code = *b"\x57\x48\xbf........\xff\x15\x02\0\0\0\x5f\xc3........";
    code[3..11].copy_from_slice(&context.to_le_bytes());
    code[19..].copy_from_slice(&function.to_le_bytes());
    code
}

/// Takes the context address in rdi.
#[unsafe(naked)]
extern "sysv64" fn safepoint() {
    naked_asm!(
        "cmp rsp, [rdi + {low}]",
        "jb 9f",
        "push rax",
        "sub qword ptr [rdi + {counter}], 1",
        "jnz 2f",
        "mov dword ptr [rdi + {unwinding}], -1",
        "mov dword ptr [rdi + {request}], 0",
        "mov rax, [rdi + {low}]",
        "jmp 3f",
        "2: mov rax, -1",
        "cmp [rdi + {limit}], rax",
        "jne 3f",
        "mov rax, [rdi + {low}]",
        "3: mov [rdi + {limit}], rax",
        "pop rax",
        "ret",
        "9: ud2",
        counter = const COUNTER,
        unwinding = const context_offset!(unwinding),
        request = const context_offset!(suspend_request),
        limit = const context_offset!(stack_limit),
        low = const context_offset!(stack_low),
    )
}

/// Always unwinds. Takes the context address in rdi.
#[unsafe(naked)]
extern "sysv64" fn breakpoint() {
    naked_asm!(
        "mov dword ptr [rdi + {unwinding}], -1",
        "mov dword ptr [rdi + {request}], 0",
        "ret",
        unwinding = const context_offset!(unwinding),
        request = const context_offset!(suspend_request),
    )
}

#[unsafe(naked)]
extern "sysv64" fn trap() {
    naked_asm!("ud2")
}

/// Asks a running machine to stop.
#[derive(Clone, Copy)]
pub(crate) struct Stop {
    pub(super) context: usize,
}

impl Stop {
    pub(crate) fn request(self) {
        let field = |offset: i32| (self.context as *mut u8).wrapping_offset(offset as isize);
        // SAFETY: the machine outlives the test's threads. Compiled code reads the words without caring when.
        unsafe {
            field(context_offset!(suspend_request)).cast::<u32>().write_volatile(RAISED);
            field(context_offset!(stack_limit)).cast::<u64>().write_volatile(u64::MAX);
        }
    }
}

/// Counts down to a request to stop. Returns whether that is now.
fn count(context: *mut u8) -> bool {
    let last = COUNTDOWN.load(Ordering::Relaxed);
    COUNTDOWN.store(last.saturating_sub(1), Ordering::Relaxed);
    if last == 1 {
        Stop { context: context as usize }.request();
    }
    last == 1
}

/// Returns 7 from every host function. Does not if the next safepoint is where the program stops.
extern "sysv64" fn host_call(context: *mut u8) {
    // SAFETY: compiled code passes its context.
    let fields = unsafe { &mut *context.sub(size_of::<Context>()).cast::<Context>() };
    assert_eq!(fields.call.state, CallState::Unsent as u32);
    let interrupted = count(context) || (fields.suspend_request != 0 && fields.exit.addr == 1);
    if !interrupted {
        if fields.suspend_request != 0 {
            fields.exit.addr -= 1;
        }
        for word in fields.call.args.iter().chain([&u64::from(fields.call.func)]) {
            fields.exit.pc = fields.exit.pc.wrapping_mul(0x0100_0000_01b3).wrapping_add(*word);
        }
        fields.call.args = [0; _];
        fields.call.state = CallState::Idle as u32;
        fields.call.result = 7;
    }
}

extern "sysv64" fn memory_grow(context: *mut u8, desc: &mut MemoryDesc, _memory: u32, delta: u64) -> i64 {
    let size = desc.size;
    let Some(grown) = delta.checked_mul(WASM_PAGE_SIZE).and_then(|delta| delta.checked_add(size)) else {
        return -1;
    };
    if grown > desc.max {
        return -1;
    }
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: within the memory's reservation.
    assert_eq!(unsafe { libc::mprotect(context.cast(), grown as usize, access) }, 0);
    desc.size = grown;
    (size / WASM_PAGE_SIZE) as i64
}

extern "sysv64" fn memory_fill(
    context: *mut u8,
    desc: &MemoryDesc,
    base: *mut u8,
    dst: u64,
    byte: u32,
    len: u64,
) -> u64 {
    check(dst + len <= desc.size);
    let work = len.min(BULK_WORK);
    // SAFETY: within the memory.
    unsafe { base.add(dst as usize).write_bytes(byte as u8, work as usize) };
    count(context);
    len - work
}

extern "sysv64" fn memory_copy(_context: *mut u8, args: &[u64; 7]) -> u64 {
    let [dst_desc, dst_base, src_desc, src_base, dst, src, len] = *args;
    // SAFETY: compiled code passes descriptors.
    let [dst_size, src_size] =
        [dst_desc, src_desc].map(|desc| unsafe { (*(desc as *const MemoryDesc)).size });
    check(dst + len <= dst_size && src + len <= src_size);
    let work = len.min(BULK_WORK);
    let start = if dst <= src { 0 } else { len - work };
    let (to, from) = (dst_base + dst + start, src_base + src + start);
    // SAFETY: within the memories.
    unsafe { (to as *mut u8).copy_from(from as *const u8, work as usize) };
    len - work
}

extern "sysv64" fn memory_init(_context: *mut u8, args: &[u64; 7]) -> u64 {
    let [desc, base, segment, length, dst, src, len] = *args;
    // SAFETY: compiled code passes a descriptor.
    let size = unsafe { (*(desc as *const MemoryDesc)).size };
    check(dst + len <= size && src + len <= length);
    let work = len.min(BULK_WORK);
    // SAFETY: within the memory and the segment.
    unsafe { ((base + dst) as *mut u8).copy_from((segment + src) as *const u8, work as usize) };
    len - work
}

fn elements(context: *mut u8, desc: &TableDesc) -> *mut u32 {
    context.wrapping_sub(desc.distance as usize).cast()
}

extern "sysv64" fn table_grow(context: *mut u8, desc: &mut TableDesc, delta: u32, value: u32) -> i32 {
    let size = desc.size;
    let Some(grown) = size.checked_add(delta).filter(|&grown| grown <= desc.max) else { return -1 };
    for index in size..grown {
        // SAFETY: within the table.
        unsafe { elements(context, desc).add(index as usize).write(value) };
    }
    desc.size = grown;
    size as i32
}

extern "sysv64" fn table_fill(context: *mut u8, desc: &TableDesc, dst: u32, value: u32, len: u32) -> u64 {
    check(u64::from(dst) + u64::from(len) <= desc.size.into());
    let work = len.min(BULK_WORK as u32);
    for index in dst..dst + work {
        // SAFETY: within the table.
        unsafe { elements(context, desc).add(index as usize).write(value) };
    }
    u64::from(len - work)
}

extern "sysv64" fn table_copy(context: *mut u8, args: &[u64; 5]) -> u64 {
    let [dst_desc, src_desc, dst, src, len] = *args;
    // SAFETY: compiled code passes descriptors.
    let descs = unsafe { [&*(dst_desc as *const TableDesc), &*(src_desc as *const TableDesc)] };
    check(dst + len <= descs[0].size.into() && src + len <= descs[1].size.into());
    let [dst_base, src_base] = descs.map(|desc| elements(context, desc));
    let work = len.min(BULK_WORK);
    let start = if dst <= src { 0 } else { len - work };
    let (dst, src) = ((dst + start) as usize, (src + start) as usize);
    // SAFETY: within the tables.
    unsafe { dst_base.add(dst).copy_from(src_base.add(src), work as usize) };
    count(context);
    len - work
}

extern "sysv64" fn table_init(context: *mut u8, args: &[u64; 6]) -> u64 {
    let [desc, segment, length, dst, src, len] = *args;
    // SAFETY: compiled code passes a descriptor.
    let desc = unsafe { &*(desc as *const TableDesc) };
    check(dst + len <= desc.size.into() && src + len <= length);
    let work = len.min(BULK_WORK);
    // SAFETY: within the table and the segment.
    unsafe {
        elements(context, desc)
            .add(dst as usize)
            .copy_from((segment as *const u32).add(src as usize), work as usize);
    }
    len - work
}

/// Traps unless an access is within bounds.
fn check(within: bool) {
    if !within {
        // SAFETY: the handler leaves the machine; there is nothing to drop on the way.
        unsafe { std::arch::asm!("ud2") }
    }
}
