//! Linear memories with 64-bit addresses.
//!
//! Such a memory has as much address space as one with 32-bit addresses: [`MEMORY_RESERVATION`], of which what is beyond the
//! memory's size is inaccessible, and what is beyond [`MAX_MEMORY64_SIZE`] always. So an access needs no comparison with the
//! current size, only one with a constant, and no branch: an address that is too large becomes one which is inaccessible. As that is a
//! conditional move, no access beyond the reservation is made speculatively either.

use super::signature::ADDRESS;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use gate_wire::{MAX_MEMORY64_SIZE, MEMORY_RESERVATION};

/// Bytes of the widest access.
const WIDEST: u64 = 16;

/// Greatest offset which can be added to an address up to [`MAX_MEMORY64_SIZE`] without leaving the reservation.
const SMALL_OFFSET: u64 = MEMORY_RESERVATION - MAX_MEMORY64_SIZE - WIDEST;

/// Whether an operand is an address, or a size, of a memory or table of that kind.
pub(super) fn is_wide(builder: &FunctionBuilder<'_>, operand: Value) -> bool {
    builder.func.dfg.value_type(operand) == types::I64
}

/// Bounds the address of an access. Returns two numbers to be added to the memory's base.
pub(super) fn bounded(builder: &mut FunctionBuilder<'_>, index: Value, offset: u64) -> (Value, u64) {
    // Accesses with small offsets, such as those to the fields of a structure, share a bound.
    let bound = if offset <= SMALL_OFFSET {
        MAX_MEMORY64_SIZE
    } else if offset <= MAX_MEMORY64_SIZE {
        MAX_MEMORY64_SIZE - offset
    } else {
        return (builder.ins().iconst(ADDRESS, MAX_MEMORY64_SIZE as i64), 0);
    };
    let bound = builder.ins().iconst(ADDRESS, bound as i64);
    (builder.ins().umin(index, bound), offset)
}

/// An operand for rt functions that take 32-bit numbers, of which the greatest is beyond any table.
pub(super) fn narrowed(builder: &mut FunctionBuilder<'_>, operand: Value) -> Value {
    if !is_wide(builder, operand) {
        return operand;
    }
    let most = builder.ins().iconst(types::I64, i64::from(u32::MAX));
    let operand = builder.ins().umin(operand, most);
    builder.ins().ireduce(types::I32, operand)
}
