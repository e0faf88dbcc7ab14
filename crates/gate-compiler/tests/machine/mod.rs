//! Runs compiled code in the test's own process, with as little of rt as it takes.

use gate_compiler::{CompiledModule, ExportKind, Options, Safepoint, Value, WasiImports, compile};
use gate_wire::context::{CallState, Context, MemoryDesc, RtFunction, TableDesc};
use gate_wire::{MEMORY_RESERVATION, WASM_PAGE_SIZE, context_offset};
use std::arch::naked_asm;
use std::sync::atomic::{AtomicU32, Ordering};

/// An instance of a module.
pub(crate) struct Machine {
    pub(crate) module: CompiledModule,
    text: *const u8,
    context: *mut u8,
    dump: Vec<u64>,
}

/// A frame that was written down.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) safepoint: Safepoint,
    pub(crate) locals: Vec<Value>,
    pub(crate) operands: Vec<Value>,
}

/// Asks a running machine to stop.
#[derive(Clone, Copy)]
pub(crate) struct Stop {
    context: usize,
}

/// Units of work that bulk operations do at a time.
pub(crate) const BULK_WORK: u64 = 3;

/// How many more calls of rt bulk operations and host calls go by before the program is asked to stop; zero for never.
pub(crate) static COUNTDOWN: AtomicU32 = AtomicU32::new(0);

/// Most machines leave a dump of less.
const DUMP_SIZE: usize = 64 << 20;

impl Machine {
    pub(crate) fn new(wat: &str) -> Self {
        let wasm = wat::parse_str(wat).unwrap();
        let module = compile(&wasm, &Options::default(), &WasiImports).unwrap();
        assert!(module.info.initial.trap.is_none());
        let text = map(module.text.len(), libc::PROT_READ | libc::PROT_WRITE);
        let instance = module.info.layout.instance_size as usize;
        let region = map(instance + MEMORY_RESERVATION as usize, libc::PROT_NONE);
        let context = region.wrapping_add(instance);
        let memory = module.info.memories.first();
        let memory_size = memory.map_or(0, |memory| memory.min_pages * WASM_PAGE_SIZE);
        // SAFETY: both mappings are as large as what is put into them, and nobody else has them.
        unsafe {
            text.copy_from_nonoverlapping(module.text.as_ptr(), module.text.len());
            assert_eq!(libc::mprotect(text.cast(), module.text.len(), libc::PROT_READ | libc::PROT_EXEC), 0);
            let accessible = instance + memory_size as usize;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(region.cast(), accessible, access), 0);
            for part in &module.info.initial.instance {
                context.sub(part.distance as usize).copy_from(part.bytes.as_ptr(), part.bytes.len());
            }
            for part in &module.info.initial.memory {
                context.add(part.offset as usize).copy_from(part.bytes.as_ptr(), part.bytes.len());
            }
            if let Some(memory) = memory {
                let desc = MemoryDesc { size: memory_size, max: memory_size };
                context.sub(memory.desc_distance as usize).cast::<MemoryDesc>().write(desc);
            }
        }
        let mut machine = Self { module, text, context, dump: vec![0; DUMP_SIZE / 8] };
        let functions: [(RtFunction, usize); 4] = [
            (RtFunction::Safepoint, safepoint as *const () as usize),
            (RtFunction::HostCall, host_call as *const () as usize),
            (RtFunction::MemoryFill, memory_fill as *const () as usize),
            (RtFunction::TableCopy, table_copy as *const () as usize),
        ];
        for (function, address) in functions {
            machine.write(context_offset!(rt) + 8 * function as i32, address as u64);
        }
        machine
    }

    /// Calls an exported function. When it stopped, what it returned is zeros.
    pub(crate) fn call(&mut self, name: &str, args: &[Value]) -> Vec<Value> {
        let mut exports = self.module.info.exports.iter();
        let export =
            exports.find(|export| export.kind == ExportKind::Function && export.name == name).unwrap();
        let ty = self.module.info.functions[export.index as usize].clone();
        assert!(args.iter().map(|arg| arg.ty()).eq(ty.params.iter().copied()));
        let trampolines = &self.module.info.trampolines;
        let trampoline = trampolines.iter().find(|trampoline| trampoline.function == export.index).unwrap();
        let offset = trampoline.text_offset as usize;

        let dump = self.dump.as_mut_ptr() as u64;
        self.write(context_offset!(dump_next), dump);
        self.write(context_offset!(unwinding), 0_u32);
        let entry = -(self.module.info.layout.entry_distance as i32);
        let mut place = entry;
        for arg in args {
            self.write(place, arg.to_slot() as u64);
            if arg.ty().slot_size() == 16 {
                self.write(place + 8, (arg.to_slot() >> 64) as u64);
            }
            place += arg.ty().slot_size() as i32;
        }
        // SAFETY: the compiler says that there is a function of this type.
        let function: extern "sysv64" fn(*mut u8) = unsafe { std::mem::transmute(self.text.add(offset)) };
        function(self.context);
        let mut place = entry;
        let mut results = Vec::new();
        for &ty in &ty.results {
            let high = if ty.slot_size() == 16 { self.read::<u64>(place + 8) } else { 0 };
            let slot = u128::from(self.read::<u64>(place)) | u128::from(high) << 64;
            results.push(Value::from_slot(ty, slot));
            place += ty.slot_size() as i32;
        }
        results
    }

    /// Calls a function that does not end unless it is stopped.
    pub(crate) fn call_until(&mut self, name: &str, args: &[Value], after: std::time::Duration) {
        let stop = self.stop();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(after);
            stop.request();
        });
        self.call(name, args);
        thread.join().unwrap();
    }

    pub(crate) fn stop(&self) -> Stop {
        Stop { context: self.context as usize }
    }

    pub(crate) fn memory(&self, offset: usize, len: usize) -> Vec<u8> {
        // SAFETY: tests look only at what exists.
        unsafe { std::slice::from_raw_parts(self.context.add(offset), len).to_vec() }
    }

    /// The frames that were written down, innermost first. Panics if they are not exactly what the maps say.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        let end = self.read::<u64>(context_offset!(dump_next)) as usize;
        let size = (end - self.dump.as_ptr() as usize) / 8;
        let mut words = self.dump[..size].iter().copied();
        let mut frames = Vec::new();
        while let Some(head) = words.next() {
            let (function, code_offset) = (head as u32, (head >> 32) as u32);
            let mut safepoints = self.module.maps.safepoints.iter();
            let safepoint = safepoints
                .find(|safepoint| safepoint.function == function && safepoint.code_offset == code_offset)
                .unwrap_or_else(|| panic!("no safepoint at {code_offset:#x} of function {function}"));
            let mut value = |ty: gate_compiler::ValType| {
                let low = words.next().expect("a slot");
                let high = if ty.slot_size() == 16 { words.next().expect("a slot") } else { 0 };
                Value::from_slot(ty, u128::from(low) | u128::from(high) << 64)
            };
            frames.push(Frame {
                locals: safepoint.locals.iter().map(|&(_, ty)| value(ty)).collect(),
                operands: safepoint.operands.iter().map(|&ty| value(ty)).collect(),
                safepoint: safepoint.clone(),
            });
        }
        frames
    }

    fn write<T>(&mut self, offset: i32, value: T) {
        // SAFETY: all offsets are those of the layout.
        unsafe { self.context.offset(offset as isize).cast::<T>().write_unaligned(value) }
    }

    fn read<T>(&self, offset: i32) -> T {
        // SAFETY: all offsets are those of the layout.
        unsafe { self.context.offset(offset as isize).cast::<T>().read_unaligned() }
    }
}

impl Stop {
    pub(crate) fn request(self) {
        let field = |offset: i32| (self.context as *mut u8).wrapping_offset(offset as isize);
        // SAFETY: the machine outlives the test's threads. Compiled code reads the words without caring when.
        unsafe {
            field(context_offset!(suspend_request)).cast::<u32>().write_volatile(1);
            field(context_offset!(stack_limit)).cast::<u64>().write_volatile(u64::MAX);
        }
    }
}

fn map(size: usize, access: i32) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), size, access, flags, -1, 0) };
    assert_ne!(address, libc::MAP_FAILED);
    address.cast()
}

/// Always unwinds.
#[unsafe(naked)]
extern "sysv64" fn safepoint() {
    naked_asm!(
        "mov dword ptr [rdi + {unwinding}], 1",
        "mov dword ptr [rdi + {request}], 0",
        "mov qword ptr [rdi + {limit}], 0",
        "ret",
        unwinding = const context_offset!(unwinding),
        request = const context_offset!(suspend_request),
        limit = const context_offset!(stack_limit),
    )
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

/// Returns 7 from every host function.
extern "sysv64" fn host_call(context: *mut u8) {
    // SAFETY: compiled code passes its context.
    let context_fields = unsafe { &mut *context.sub(size_of::<Context>()).cast::<Context>() };
    assert_eq!(context_fields.call.state, CallState::Unsent as u32);
    if !count(context) {
        context_fields.call.state = CallState::Idle as u32;
        context_fields.call.result = 7;
    }
}

extern "sysv64" fn memory_fill(
    context: *mut u8,
    desc: &MemoryDesc,
    base: *mut u8,
    dst: u64,
    byte: u32,
    len: u64,
) -> u64 {
    assert!(dst + len <= desc.size);
    let work = len.min(BULK_WORK);
    // SAFETY: within the memory.
    unsafe { base.add(dst as usize).write_bytes(byte as u8, work as usize) };
    count(context);
    len - work
}

extern "sysv64" fn table_copy(context: *mut u8, args: &[u64; 5]) -> u64 {
    let [dst_desc, src_desc, dst, src, len] = *args;
    // SAFETY: compiled code passes descriptors.
    let descs = unsafe { [&*(dst_desc as *const TableDesc), &*(src_desc as *const TableDesc)] };
    assert!(dst + len <= descs[0].size.into() && src + len <= descs[1].size.into());
    let [dst_base, src_base] = descs.map(|desc| context.wrapping_sub(desc.distance as usize).cast::<u32>());
    let work = len.min(BULK_WORK);
    let start = if dst <= src { 0 } else { len - work };
    let (dst, src) = ((dst + start) as usize, (src + start) as usize);
    // SAFETY: within the tables.
    unsafe { dst_base.add(dst).copy_from(src_base.add(src), work as usize) };
    count(context);
    len - work
}
