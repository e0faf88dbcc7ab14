//! Making vectors, taking them apart, and bitwise instructions.

use super::{Operands, instructions};
use cranelift_codegen::ir::{ConstantData, InstBuilder, Type, Value, types};
use wasmparser::Operator;

pub(super) fn translate(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    use Operator::*;
    match *op {
        V128Const { value } => constant(ops, *value.bytes()),
        I8x16Shuffle { lanes } => shuffle(ops, lanes),
        V128Bitselect => select_bits(ops),
        V128AndNot => and_not(ops),
        V128AnyTrue => any_true(ops),
        _ => return bitwise(op, ops) || negate(op, ops) || whole(op, ops) || single(op, ops),
    }
    true
}

fn constant(ops: &mut Operands<'_, '_>, bytes: [u8; 16]) {
    let constant = ops.builder.func.dfg.constants.insert(ConstantData::from(&bytes[..]));
    let value = ops.ins().vconst(types::I8X16, constant);
    ops.push(value);
}

fn shuffle(ops: &mut Operands<'_, '_>, lanes: [u8; 16]) {
    let (x, y) = ops.pop2();
    let mask = ops.builder.func.dfg.immediates.push(ConstantData::from(&lanes[..]));
    let value = ops.ins().shuffle(x, y, mask);
    ops.push(value);
}

fn select_bits(ops: &mut Operands<'_, '_>) {
    let mask = ops.pop();
    let (x, y) = ops.pop2();
    let value = ops.ins().bitselect(mask, x, y);
    ops.push(value);
}

fn and_not(ops: &mut Operands<'_, '_>) {
    let (x, y) = ops.pop2();
    let y = ops.ins().bnot(y);
    let value = ops.ins().band(x, y);
    ops.push(value);
}

fn any_true(ops: &mut Operands<'_, '_>) {
    let x = ops.pop();
    let result = ops.ins().vany_true(x);
    ops.push_bool(result);
}

instructions! { bitwise, pop2:
    band { V128And: I8X16 }
    bor { V128Or: I8X16 }
    bxor { V128Xor: I8X16 }
    swizzle { I8x16Swizzle: I8X16 }
}

instructions! { negate, pop:
    bnot { V128Not: I8X16 }
}

/// Instructions on all lanes at once with a scalar on one side.
fn whole(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    use Operator::*;
    match op {
        I8x16Splat => splat(ops, types::I8X16),
        I16x8Splat => splat(ops, types::I16X8),
        I32x4Splat => splat(ops, types::I32X4),
        I64x2Splat => splat(ops, types::I64X2),
        F32x4Splat => splat(ops, types::F32X4),
        F64x2Splat => splat(ops, types::F64X2),
        I8x16AllTrue => all_true(ops, types::I8X16),
        I16x8AllTrue => all_true(ops, types::I16X8),
        I32x4AllTrue => all_true(ops, types::I32X4),
        I64x2AllTrue => all_true(ops, types::I64X2),
        I8x16Bitmask => bitmask(ops, types::I8X16),
        I16x8Bitmask => bitmask(ops, types::I16X8),
        I32x4Bitmask => bitmask(ops, types::I32X4),
        I64x2Bitmask => bitmask(ops, types::I64X2),
        _ => return false,
    }
    true
}

fn splat(ops: &mut Operands<'_, '_>, lanes: Type) {
    let lane = pop_lane(ops, lanes);
    let value = ops.ins().splat(lanes, lane);
    ops.push_lanes(value);
}

fn all_true(ops: &mut Operands<'_, '_>, lanes: Type) {
    let x = ops.pop_lanes(lanes);
    let result = ops.ins().vall_true(x);
    ops.push_bool(result);
}

fn bitmask(ops: &mut Operands<'_, '_>, lanes: Type) {
    let x = ops.pop_lanes(lanes);
    let result = ops.ins().vhigh_bits(types::I32, x);
    ops.push(result);
}

/// Instructions on one lane.
fn single(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    use Operator::*;
    match *op {
        I8x16ExtractLaneS { lane } => extract_narrow(ops, types::I8X16, lane, true),
        I8x16ExtractLaneU { lane } => extract_narrow(ops, types::I8X16, lane, false),
        I16x8ExtractLaneS { lane } => extract_narrow(ops, types::I16X8, lane, true),
        I16x8ExtractLaneU { lane } => extract_narrow(ops, types::I16X8, lane, false),
        I32x4ExtractLane { lane } => extract(ops, types::I32X4, lane),
        I64x2ExtractLane { lane } => extract(ops, types::I64X2, lane),
        F32x4ExtractLane { lane } => extract(ops, types::F32X4, lane),
        F64x2ExtractLane { lane } => extract(ops, types::F64X2, lane),
        I8x16ReplaceLane { lane } => replace(ops, types::I8X16, lane),
        I16x8ReplaceLane { lane } => replace(ops, types::I16X8, lane),
        I32x4ReplaceLane { lane } => replace(ops, types::I32X4, lane),
        I64x2ReplaceLane { lane } => replace(ops, types::I64X2, lane),
        F32x4ReplaceLane { lane } => replace(ops, types::F32X4, lane),
        F64x2ReplaceLane { lane } => replace(ops, types::F64X2, lane),
        _ => return false,
    }
    true
}

fn extract(ops: &mut Operands<'_, '_>, lanes: Type, number: u8) {
    let x = ops.pop_lanes(lanes);
    let lane = ops.ins().extractlane(x, number);
    ops.push(lane);
}

fn extract_narrow(ops: &mut Operands<'_, '_>, lanes: Type, number: u8, signed: bool) {
    let x = ops.pop_lanes(lanes);
    let lane = ops.ins().extractlane(x, number);
    let ins = ops.ins();
    let lane = if signed { ins.sextend(types::I32, lane) } else { ins.uextend(types::I32, lane) };
    ops.push(lane);
}

fn replace(ops: &mut Operands<'_, '_>, lanes: Type, number: u8) {
    let lane = pop_lane(ops, lanes);
    let x = ops.pop_lanes(lanes);
    let value = ops.ins().insertlane(x, lane, number);
    ops.push_lanes(value);
}

/// Pops a scalar that becomes a lane: lanes narrower than 32 bits come as an `I32` whose upper bits don't count.
fn pop_lane(ops: &mut Operands<'_, '_>, lanes: Type) -> Value {
    let lane = ops.pop();
    let ty = lanes.lane_type();
    if ty.bits() < 32 { ops.ins().ireduce(ty, lane) } else { lane }
}
