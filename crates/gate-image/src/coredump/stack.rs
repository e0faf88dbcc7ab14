//! The `corestack` section.

use super::{CoreDumpError, CoreFrame};
use gate_compiler::Value;
use std::io::Write;
use wasm_encoder::{CoreDumpValue, Encode, Ieee32, Ieee64};

/// Name of the only thread.
const THREAD: &str = "main";

const NAME: &str = "corestack";

/// Writes the section, a frame at a time: with many locals, frames are much larger here than on the stack.
pub(super) fn write(frames: &[CoreFrame], out: &mut dyn Write) -> Result<(), CoreDumpError> {
    let mut head = Vec::new();
    NAME.encode(&mut head);
    head.push(0);
    THREAD.encode(&mut head);
    frames.len().encode(&mut head);

    let mut buf = Vec::new();
    let mut size = head.len() as u64;
    for frame in frames {
        encode(frame, Missing::LeaveOut, &mut buf);
        size += buf.len() as u64 + u64::from(local_count(frame)) - frame.locals.len() as u64;
    }
    let size = CoreDumpError::check_size(NAME, size)?;

    let mut section = vec![wasm_encoder::SectionId::Custom as u8];
    size.encode(&mut section);
    section.extend(head);
    out.write_all(&section).map_err(CoreDumpError::Write)?;
    for frame in frames {
        encode(frame, Missing::Write, &mut buf);
        out.write_all(&buf).map_err(CoreDumpError::Write)?;
    }
    Ok(())
}

/// What to do with locals that have no value, of which there may be many. Each takes one byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Write,
    LeaveOut,
}

/// Number of locals up to the last one which has a value.
fn local_count(frame: &CoreFrame) -> u32 {
    frame.locals.last().map_or(0, |&(index, _)| index + 1)
}

fn encode(frame: &CoreFrame, missing: Missing, buf: &mut Vec<u8>) {
    buf.clear();
    buf.push(0);
    let instance = 0u32;
    instance.encode(buf);
    frame.function.encode(buf);
    frame.body_offset.encode(buf);
    local_count(frame).encode(buf);
    let mut next = 0;
    for &(index, value) in &frame.locals {
        if missing == Missing::Write {
            (next..index).for_each(|_| CoreDumpValue::Missing.encode(buf));
        }
        known(value).encode(buf);
        next = index + 1;
    }
    frame.operands.len().encode(buf);
    for &operand in &frame.operands {
        known(operand).encode(buf);
    }
}

fn known(value: Value) -> CoreDumpValue {
    match value {
        Value::I32(v) => CoreDumpValue::I32(v),
        Value::I64(v) => CoreDumpValue::I64(v),
        Value::F32(bits) => CoreDumpValue::F32(Ieee32::new(bits)),
        Value::F64(bits) => CoreDumpValue::F64(Ieee64::new(bits)),
        Value::V128(_) | Value::FuncRef(_) | Value::ExternRef(_) | Value::ExnRef(_) => CoreDumpValue::Missing,
    }
}
