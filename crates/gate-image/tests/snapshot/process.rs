//! Plays the processes of programs: leaves in the files what they would.

use gate_compiler::{Safepoint, SafepointKind, ValType, Value};
use gate_image::{Frames, FramesError, Instance, Program, Purpose};
use gate_wire::context::{CallState, ExitKind};
use gate_wire::context_offset;
use gate_wire::frames::{FRAMES_COMPLETE, FRAMES_START};
use gate_wire::load::STATE_FILE_STRIDE;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Size of what plays rt.
const RT_SPAN: u64 = 16 << 10;

/// Lets the instance run, and end like that.
pub(crate) fn run(instance: &mut Instance, kind: ExitKind, value: u32) {
    let launch = instance.launch(RT_SPAN, Purpose::Run).unwrap();
    let record = [(kind as u32).to_le_bytes(), value.to_le_bytes()].concat();
    write_context(launch.mutation.file(), context_offset!(exit), &record);
}

/// Makes the instance stop, in a call of host function 7 or not.
pub(crate) fn freeze(instance: &mut Instance, call: Option<CallState>) {
    run(instance, ExitKind::Frozen, 0);
    if let Some(state) = call {
        let mutation = instance.launch(RT_SPAN, Purpose::Run).unwrap().mutation;
        write_context(mutation.file(), context_offset!(call), &(state as u32).to_le_bytes());
        write_context(mutation.file(), context_offset!(call.func), &7u32.to_le_bytes());
        write_context(mutation.file(), context_offset!(call.args), &0x1234_5678_9abc_u64.to_le_bytes());
    }
}

fn write_context(file: impl AsFd, offset: i32, bytes: &[u8]) {
    let offset = STATE_FILE_STRIDE - u64::from(offset.unsigned_abs());
    assert_eq!(rustix::io::pwrite(file, bytes, offset).unwrap(), bytes.len());
}

/// Writes something to a place below the context address.
pub(crate) fn poke(instance: &mut Instance, distance: u32, bytes: &[u8]) {
    let mutation = instance.launch(RT_SPAN, Purpose::EXPORT).unwrap().mutation;
    let offset = STATE_FILE_STRIDE - u64::from(distance);
    assert_eq!(rustix::io::pwrite(mutation.file(), bytes, offset).unwrap(), bytes.len());
}

/// Lets the instance call a function that leaves something at a place below the context address, and returns.
pub(crate) fn leave(instance: &mut Instance, function: &str, distance: u32, bytes: &[u8]) {
    instance.set_entry(function, &[]).unwrap();
    let mutation = instance.launch(RT_SPAN, Purpose::Run).unwrap().mutation;
    let offset = STATE_FILE_STRIDE - u64::from(distance);
    assert_eq!(rustix::io::pwrite(mutation.file(), bytes, offset).unwrap(), bytes.len());
    let record = [(ExitKind::Returned as u32).to_le_bytes(), [0; 4]].concat();
    write_context(mutation.file(), context_offset!(exit), &record);
}

/// Lets the instance write down frames: these bytes, with this header.
pub(crate) fn export_bytes(
    instance: &mut Instance,
    header: [u64; 2],
    bytes: &[u8],
) -> Result<Arc<Frames>, FramesError> {
    let launch = instance.launch(RT_SPAN, Purpose::Export { max_size: 1 << 20 }).unwrap();
    let file = launch.files()[2];
    let header = [header[0].to_le_bytes(), header[1].to_le_bytes()].concat();
    rustix::io::pwrite(file, &header, 0).unwrap();
    rustix::io::pwrite(file, bytes, FRAMES_START).unwrap();
    launch.mutation.finish_export()
}

/// Lets the instance write down frames, innermost first.
pub(crate) fn export(instance: &mut Instance, frames: &[Vec<u8>]) -> Result<Arc<Frames>, FramesError> {
    let bytes = frames.concat();
    export_bytes(instance, [FRAMES_COMPLETE, bytes.len() as u64], &bytes)
}

/// The safepoints of a function which are of a kind.
pub(crate) fn safepoints(program: &Program, function: u32, kind: SafepointKind) -> Vec<Safepoint> {
    let all = &program.maps().unwrap().safepoints;
    all.iter().filter(|s| s.function == function && s.kind == kind).cloned().collect()
}

/// A frame, with a value that depends on `seed` in each slot.
pub(crate) fn frame(safepoint: &Safepoint, seed: u32) -> Vec<u8> {
    let mut bytes = [safepoint.function.to_le_bytes(), safepoint.code_offset.to_le_bytes()].concat();
    for value in values(safepoint, seed) {
        bytes.extend_from_slice(&value.to_slot().to_le_bytes()[..value.ty().slot_size() as usize]);
    }
    bytes
}

/// The values of such a frame.
pub(crate) fn values(safepoint: &Safepoint, seed: u32) -> Vec<Value> {
    let locals = safepoint.locals.iter().map(|&(_, ty)| ty);
    let types = locals.chain(safepoint.operands.iter().copied());
    types
        .zip(seed..)
        .map(|(ty, seed)| match ty.general() {
            ValType::I32 => Value::I32(seed.cast_signed()),
            ValType::I64 => Value::I64(-i64::from(seed)),
            ValType::F32 => Value::F32(0x7fa0_0000 | seed),
            ValType::F64 => Value::F64(0x7ff4_0000_0000_0000 | u64::from(seed)),
            ValType::V128 => Value::V128(u128::from(seed) << 100 | 1),
            ValType::FuncRef => Value::FuncRef(Some(0)),
            ValType::ExternRef => Value::ExternRef(Some(seed)),
            ValType::ExnRef | ValType::Ref(_) => Value::ExnRef(None),
        })
        .collect()
}
