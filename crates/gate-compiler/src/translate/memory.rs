//! Linear memory.

use super::access::Access;
use super::function::Translator;
use super::memory64;
use super::signature::ADDRESS;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Opcode, Type, Value, types};
use cranelift_frontend::FunctionBuilder;
use gate_wire::context::{MemoryDesc, RtFunction};
use gate_wire::{MEMORY_RESERVATION, WASM_PAGE_SIZE};
use std::mem::offset_of;
use wasmparser::{MemArg, MemArgTarget, Operator};

/// Addresses an access to a linear memory, by base, offset and flags.
///
/// There is no bounds check for 32-bit addresses: a 32-bit index plus a 32-bit offset stays within the memory's reservation.
pub(super) fn address(
    context: Value,
    access: Access,
    builder: &mut FunctionBuilder<'_>,
    index: Value,
    arg: &MemArg,
) -> (Value, i32, MemFlagsData) {
    let memory = match arg.target {
        MemArgTarget::Memory(memory) => memory,
        // Not valid without garbage collection.
        MemArgTarget::Array(_) => 0,
    };
    let flags = access.memory(builder.func, memory);
    let (index, offset) = match memory64::is_wide(builder, index) {
        true => memory64::bounded(builder, index, arg.offset),
        false => (builder.ins().uextend(ADDRESS, index), arg.offset),
    };
    let base = memory_base(builder, context, memory);
    let address = builder.ins().iadd(base, index);
    match i32::try_from(offset) {
        Ok(offset) => (address, offset, flags),
        Err(_) => {
            let offset = builder.ins().iconst(ADDRESS, offset as i64);
            (builder.ins().iadd(address, offset), 0, flags)
        }
    }
}

fn memory_base(builder: &mut FunctionBuilder<'_>, context: Value, memory: u32) -> Value {
    if memory == 0 {
        return context;
    }
    let distance = builder.ins().iconst(ADDRESS, (u64::from(memory) * MEMORY_RESERVATION) as i64);
    builder.ins().iadd(context, distance)
}

impl Translator<'_, '_> {
    /// Translates a scalar memory instruction, and returns whether it is one.
    pub(super) fn memory(&mut self, op: &Operator<'_>) -> bool {
        use Opcode::{Load, Sload8, Sload16, Sload32, Uload8, Uload16, Uload32};
        use types::{F32, F64, I8, I16, I32, I64};
        match op {
            Operator::I32Load { memarg } => self.load(Load, I32, memarg),
            Operator::I64Load { memarg } => self.load(Load, I64, memarg),
            Operator::F32Load { memarg } => self.load(Load, F32, memarg),
            Operator::F64Load { memarg } => self.load(Load, F64, memarg),
            Operator::I32Load8S { memarg } => self.load(Sload8, I32, memarg),
            Operator::I32Load8U { memarg } => self.load(Uload8, I32, memarg),
            Operator::I32Load16S { memarg } => self.load(Sload16, I32, memarg),
            Operator::I32Load16U { memarg } => self.load(Uload16, I32, memarg),
            Operator::I64Load8S { memarg } => self.load(Sload8, I64, memarg),
            Operator::I64Load8U { memarg } => self.load(Uload8, I64, memarg),
            Operator::I64Load16S { memarg } => self.load(Sload16, I64, memarg),
            Operator::I64Load16U { memarg } => self.load(Uload16, I64, memarg),
            Operator::I64Load32S { memarg } => self.load(Sload32, I64, memarg),
            Operator::I64Load32U { memarg } => self.load(Uload32, I64, memarg),
            Operator::I32Store { memarg }
            | Operator::I64Store { memarg }
            | Operator::F32Store { memarg }
            | Operator::F64Store { memarg } => self.store(memarg),
            Operator::I32Store8 { memarg } | Operator::I64Store8 { memarg } => self.store_low(I8, memarg),
            Operator::I32Store16 { memarg } | Operator::I64Store16 { memarg } => self.store_low(I16, memarg),
            Operator::I64Store32 { memarg } => self.store_low(I32, memarg),
            Operator::MemorySize { mem } => {
                let info = self.env.layout.memories[*mem as usize];
                let offset = offset_of!(MemoryDesc, size) as i32 - info.desc_distance as i32;
                let size = self.emit.load_context(I64, offset);
                let pages = self.emit.ins().ushr_imm_u(size, i64::from(WASM_PAGE_SIZE.trailing_zeros()));
                let pages = if info.memory64 { pages } else { self.emit.ins().ireduce(I32, pages) };
                self.stack.push(pages);
            }
            Operator::MemoryGrow { mem } => {
                let delta = self.pop();
                let delta = self.extend(delta);
                let desc = self.memory_desc(*mem);
                let memory = self.emit.ins().iconst(I32, i64::from(*mem));
                let size = self.emit.call_rt(RtFunction::MemoryGrow, &[desc, memory, delta]);
                let size = size.expect("the function has a result");
                let is_wide = self.env.layout.memories[*mem as usize].memory64;
                let size = if is_wide { size } else { self.emit.ins().ireduce(I32, size) };
                self.stack.push(size);
            }
            _ => return false,
        }
        true
    }

    pub(super) fn memory_desc(&mut self, memory: u32) -> Value {
        self.emit.instance_address(self.env.layout.memories[memory as usize].desc_distance)
    }

    pub(super) fn memory_base(&mut self, memory: u32) -> Value {
        memory_base(&mut self.emit.builder, self.emit.context, memory)
    }

    fn load(&mut self, opcode: Opcode, ty: Type, arg: &MemArg) {
        let index = self.pop();
        let (address, offset, flags) = self.address(index, arg);
        let ins = self.emit.ins();
        // Only the opcode's own builder methods know its type.
        let value = match opcode {
            Opcode::Load => ins.load(ty, flags, address, offset),
            Opcode::Sload8 => ins.sload8(ty, flags, address, offset),
            Opcode::Uload8 => ins.uload8(ty, flags, address, offset),
            Opcode::Sload16 => ins.sload16(ty, flags, address, offset),
            Opcode::Uload16 => ins.uload16(ty, flags, address, offset),
            Opcode::Sload32 => ins.sload32(flags, address, offset),
            Opcode::Uload32 => ins.uload32(flags, address, offset),
            _ => unreachable!("{opcode} does not load"),
        };
        self.stack.push(value);
    }

    fn store(&mut self, arg: &MemArg) {
        let (index, value) = self.pop2();
        let (address, offset, flags) = self.address(index, arg);
        self.emit.ins().store(flags, value, address, offset);
    }

    /// Stores the low bits of a value. They are a value of their own, because only a store of a whole constant takes it as
    /// an immediate.
    fn store_low(&mut self, ty: Type, arg: &MemArg) {
        let value = self.pop();
        let low = self.emit.ins().ireduce(ty, value);
        self.stack.push(low);
        self.store(arg);
    }

    fn address(&mut self, index: Value, arg: &MemArg) -> (Value, i32, MemFlagsData) {
        address(self.emit.context, self.emit.access, &mut self.emit.builder, index, arg)
    }
}
