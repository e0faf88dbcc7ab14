//! Loads and stores of vectors and of their lanes.

use super::{Address, Operands};
use cranelift_codegen::ir::{InstBuilder, Type, types};
use wasmparser::{MemArg, Operator};

pub(super) fn translate(op: &Operator<'_>, ops: &mut Operands<'_, '_>, memory: &mut Address<'_>) -> bool {
    use Operator::*;
    match op {
        V128Load { memarg } => load(ops, memory, memarg),
        V128Store { memarg } => store(ops, memory, memarg),
        V128Load8Splat { memarg } => load_splat(ops, memory, memarg, types::I8X16),
        V128Load16Splat { memarg } => load_splat(ops, memory, memarg, types::I16X8),
        V128Load32Splat { memarg } => load_splat(ops, memory, memarg, types::I32X4),
        V128Load64Splat { memarg } => load_splat(ops, memory, memarg, types::I64X2),
        V128Load32Zero { memarg } => load_zero(ops, memory, memarg, types::I32X4),
        V128Load64Zero { memarg } => load_zero(ops, memory, memarg, types::I64X2),
        V128Load8Lane { memarg, lane } => load_lane(ops, memory, memarg, types::I8X16, *lane),
        V128Load16Lane { memarg, lane } => load_lane(ops, memory, memarg, types::I16X8, *lane),
        V128Load32Lane { memarg, lane } => load_lane(ops, memory, memarg, types::I32X4, *lane),
        V128Load64Lane { memarg, lane } => load_lane(ops, memory, memarg, types::I64X2, *lane),
        V128Store8Lane { memarg, lane } => store_lane(ops, memory, memarg, types::I8X16, *lane),
        V128Store16Lane { memarg, lane } => store_lane(ops, memory, memarg, types::I16X8, *lane),
        V128Store32Lane { memarg, lane } => store_lane(ops, memory, memarg, types::I32X4, *lane),
        V128Store64Lane { memarg, lane } => store_lane(ops, memory, memarg, types::I64X2, *lane),
        _ => return load_extend(op, ops, memory),
    }
    true
}

fn load(ops: &mut Operands<'_, '_>, memory: &mut Address<'_>, memarg: &MemArg) {
    let index = ops.pop();
    let (base, offset, flags) = memory(ops.builder, index, memarg, 16);
    let value = ops.ins().load(types::I8X16, flags, base, offset);
    ops.push(value);
}

fn store(ops: &mut Operands<'_, '_>, memory: &mut Address<'_>, memarg: &MemArg) {
    let (index, value) = ops.pop2();
    let (base, offset, flags) = memory(ops.builder, index, memarg, 16);
    ops.ins().store(flags, value, base, offset);
}

fn load_splat(ops: &mut Operands<'_, '_>, memory: &mut Address<'_>, memarg: &MemArg, lanes: Type) {
    let index = ops.pop();
    let (base, offset, flags) = memory(ops.builder, index, memarg, lanes.lane_type().bytes());
    let lane = ops.ins().load(lanes.lane_type(), flags, base, offset);
    let value = ops.ins().splat(lanes, lane);
    ops.push_lanes(value);
}

fn load_zero(ops: &mut Operands<'_, '_>, memory: &mut Address<'_>, memarg: &MemArg, lanes: Type) {
    let index = ops.pop();
    let (base, offset, flags) = memory(ops.builder, index, memarg, lanes.lane_type().bytes());
    let lane = ops.ins().load(lanes.lane_type(), flags, base, offset);
    let value = ops.ins().scalar_to_vector(lanes, lane);
    ops.push_lanes(value);
}

fn load_lane(ops: &mut Operands<'_, '_>, memory: &mut Address<'_>, memarg: &MemArg, lanes: Type, number: u8) {
    let vector = ops.pop_lanes(lanes);
    let index = ops.pop();
    let (base, offset, flags) = memory(ops.builder, index, memarg, lanes.lane_type().bytes());
    let lane = ops.ins().load(lanes.lane_type(), flags, base, offset);
    let value = ops.ins().insertlane(vector, lane, number);
    ops.push_lanes(value);
}

fn store_lane(
    ops: &mut Operands<'_, '_>,
    memory: &mut Address<'_>,
    memarg: &MemArg,
    lanes: Type,
    number: u8,
) {
    let vector = ops.pop_lanes(lanes);
    let index = ops.pop();
    let (base, offset, flags) = memory(ops.builder, index, memarg, lanes.lane_type().bytes());
    let lane = ops.ins().extractlane(vector, number);
    ops.ins().store(flags, lane, base, offset);
}

/// Loads of 64 bits whose lanes are doubled in width.
macro_rules! load_extend {
    ($($operator:ident => $instruction:ident,)*) => {
        fn load_extend(op: &Operator<'_>, ops: &mut Operands<'_, '_>, memory: &mut Address<'_>) -> bool {
            match op {
                $(Operator::$operator { memarg } => {
                    let index = ops.pop();
                    let (base, offset, flags) = memory(ops.builder, index, memarg, 8);
                    let value = ops.ins().$instruction(flags, base, offset);
                    ops.push_lanes(value);
                })*
                _ => return false,
            }
            true
        }
    };
}

load_extend! {
    V128Load8x8S => sload8x8,
    V128Load8x8U => uload8x8,
    V128Load16x4S => sload16x4,
    V128Load16x4U => uload16x4,
    V128Load32x2S => sload32x2,
    V128Load32x2U => uload32x2,
}
