//! Runs compiled code in the test's own process, with as little of rt as it takes.

mod code;
mod rt;
mod run;
mod trap;

pub(crate) use code::*;
pub(crate) use rt::{BULK_WORK, COUNTDOWN, Stop};
pub(crate) use run::*;

use gate_compiler::{ExportKind, Options, Safepoint, ValType, Value, WasiImports};
use gate_wire::context::{MemoryDesc, RtFunction};
use gate_wire::{MEMORY_RESERVATION, WASM_PAGE_SIZE, context_offset};
use rt::{CALLS, COUNTER};
use std::rc::Rc;

/// An instance of a module.
pub(crate) struct Machine {
    pub(crate) code: Rc<Code>,
    context: *mut u8,
    instance_size: usize,
    dump: Vec<u64>,
    /// Frames with which the program goes on.
    resume: Vec<u8>,
    /// How much of the test's stack compiled code may use, except for what is reserved.
    pub(crate) stack_size: u64,
    /// Code through which functions of rt that need the context address are called.
    stubs: *mut u8,
    /// Address of the instruction that trapped.
    trapped: u64,
}

/// A frame that was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) safepoint: Safepoint,
    pub(crate) locals: Vec<Value>,
    pub(crate) operands: Vec<Value>,
}

/// Most machines leave a dump of less.
const DUMP_SIZE: usize = 64 << 20;

const STUBS_SIZE: usize = 4096;

/// What memories without a maximum get.
const MAX_PAGES: u64 = 100;

impl Machine {
    pub(crate) fn new(wat: &str) -> Self {
        let wasm = wat::parse_str(wat).unwrap();
        Self::with_code(Code::new(&wasm, &Options::default(), &WasiImports))
    }

    pub(crate) fn with_code(code: impl Into<Rc<Code>>) -> Self {
        let code = code.into();
        let info = &code.module.info;
        assert!(info.initial.trap.is_none());
        let instance_size = info.layout.instance_size as usize;
        let region = map(instance_size + MEMORY_RESERVATION as usize, libc::PROT_NONE);
        let context = region.wrapping_add(instance_size);
        let memory = info.memories.first();
        let memory_size = memory.map_or(0, |memory| memory.min_pages * WASM_PAGE_SIZE);
        // SAFETY: the mapping is as large as what is put into it, and nobody else has it.
        unsafe {
            let accessible = instance_size + memory_size as usize;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(region.cast(), accessible, access), 0);
            for part in &info.initial.instance {
                context.sub(part.distance as usize).copy_from(part.bytes.as_ptr(), part.bytes.len());
            }
            for part in &info.initial.memory {
                context.add(part.offset as usize).copy_from(part.bytes.as_ptr(), part.bytes.len());
            }
            if let Some(memory) = memory {
                let max = memory.max_pages.unwrap_or(MAX_PAGES).clamp(memory.min_pages, MAX_PAGES);
                let desc = MemoryDesc { size: memory_size, max: max * WASM_PAGE_SIZE };
                context.sub(memory.desc_distance as usize).cast::<MemoryDesc>().write(desc);
            }
        }
        let stubs = map(STUBS_SIZE, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
        let mut machine = Self {
            code,
            context,
            instance_size,
            dump: vec![0; DUMP_SIZE / 8],
            resume: Vec::new(),
            stack_size: 1 << 20,
            stubs,
            trapped: 0,
        };
        let mut next = 0;
        for (function, address) in rt::functions() {
            let mut address = address as u64;
            if matches!(function, RtFunction::Safepoint | RtFunction::Breakpoint) {
                let stub = rt::with_context(context as u64, address);
                // SAFETY: there is space for these.
                unsafe { stubs.add(next).copy_from(stub.as_ptr(), stub.len()) };
                address = stubs as u64 + next as u64;
                next += stub.len();
            }
            machine.write(context_offset!(rt) + 8 * function as i32, address);
        }
        machine
    }

    /// Calls an exported function. When it stopped, what it returned is zeros. It does so at the first safepoint where
    /// it is asked to.
    pub(crate) fn call(&mut self, name: &str, args: &[Value]) -> Vec<Value> {
        let function = self.function(name);
        let ty = self.code.module.info.functions[function as usize].clone();
        assert!(args.iter().map(|arg| arg.ty()).eq(ty.params.iter().copied()));
        self.reset_unwinding();
        self.write(COUNTER, 1_u64);
        self.set_arguments(args);
        let address = self.code.address(self.code.trampoline(function, false));
        let trapped = self.enter(address);
        assert_eq!(trapped.map_err(|address| self.code.trap(address)), Ok(()));
        self.results(function)
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

    /// Everything that the program can change: host calls made, globals, tables and memory.
    pub(crate) fn state(&self) -> (u64, Vec<u8>, Vec<u8>) {
        let size = self
            .code
            .module
            .info
            .memories
            .first()
            .map_or(0, |memory| self.read::<MemoryDesc>(-(memory.desc_distance as i32)).size as usize);
        let context_size = size_of::<gate_wire::context::Context>();
        // SAFETY: the instance region exists.
        let mut instance = unsafe {
            let start = self.context.sub(self.instance_size);
            std::slice::from_raw_parts(start, self.instance_size - context_size).to_vec()
        };
        // The entry area has arguments and results of calls.
        let layout = &self.code.module.info.layout;
        let entry = self.instance_size - layout.entry_distance as usize;
        instance[entry..entry + layout.entry_size as usize].fill(0);
        (self.read(CALLS), instance, self.memory(0, size))
    }

    /// The frames that were written down, innermost first. Panics if they are not exactly what the maps say.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        let end = self.read::<u64>(context_offset!(dump_next)) as usize;
        let size = (end - self.dump.as_ptr() as usize) / 8;
        let mut words = self.dump[..size].iter().copied();
        let mut frames = Vec::new();
        while let Some(head) = words.next() {
            let (function, code_offset) = (head as u32, (head >> 32) as u32);
            let safepoint = self
                .code
                .module
                .maps
                .safepoint(function, code_offset)
                .unwrap_or_else(|| panic!("no safepoint at {code_offset:#x} of function {function}"));
            let mut value = |ty: ValType| {
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

    fn function(&self, name: &str) -> u32 {
        let mut exports = self.code.module.info.exports.iter();
        let export = exports.find(|export| export.kind == ExportKind::Function && export.name == name);
        export.unwrap_or_else(|| panic!("no function {name}")).index
    }

    /// Makes ready for running, without a request to stop.
    fn reset(&mut self) {
        self.reset_unwinding();
        self.write(context_offset!(suspend_request), 0_u32);
    }

    fn reset_unwinding(&mut self) {
        let dump = self.dump.as_mut_ptr() as u64;
        self.write(context_offset!(dump_next), dump);
        self.write(context_offset!(unwinding), 0_u32);
        // About where the stack pointer is.
        let stack_low = (&raw const dump) as u64 - self.stack_size;
        self.write(context_offset!(stack_low), stack_low);
        if self.read::<u64>(context_offset!(stack_limit)) != u64::MAX {
            self.write(context_offset!(stack_limit), stack_low);
        }
    }

    fn set_arguments(&mut self, args: &[Value]) {
        let mut place = -(self.code.module.info.layout.entry_distance as i32);
        for arg in args {
            let ty = arg.ty();
            self.write(place, arg.to_slot() as u64);
            if ty.slot_size() == 16 {
                self.write(place + 8, (arg.to_slot() >> 64) as u64);
            }
            place += ty.slot_size() as i32;
        }
    }

    fn results(&self, function: u32) -> Vec<Value> {
        let types = &self.code.module.info.functions[function as usize].results;
        let mut place = -(self.code.module.info.layout.entry_distance as i32);
        let mut results = Vec::new();
        for &ty in types {
            let high = if ty.slot_size() == 16 { self.read::<u64>(place + 8) } else { 0 };
            let slot = u128::from(self.read::<u64>(place)) | u128::from(high) << 64;
            results.push(Value::from_slot(ty, slot));
            place += ty.slot_size() as i32;
        }
        results
    }

    fn enter(&mut self, address: *const u8) -> Result<(), u64> {
        // SAFETY: the compiler says that there is a trampoline.
        unsafe { trap::enter(address, self.context) }
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

impl Drop for Machine {
    fn drop(&mut self) {
        let region = self.context.wrapping_sub(self.instance_size);
        // SAFETY: nobody has anything of it any more.
        unsafe {
            libc::munmap(region.cast(), self.instance_size + MEMORY_RESERVATION as usize);
            libc::munmap(self.stubs.cast(), STUBS_SIZE);
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
