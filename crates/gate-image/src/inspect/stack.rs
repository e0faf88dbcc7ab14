//! The call stack.

use super::{InspectError, Inspector, ValueView};
use crate::backtrace::BacktraceFrame;
use crate::frames::Frames;
use crate::lines::{Lines, SourceFrame};
use crate::snapshot::instruction_at;
use gate_compiler::SafepointKind;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A function on the stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FrameView {
    /// Index of the function.
    pub function: u32,
    /// Its name, on one line, if it has one.
    pub name: Option<String>,
    /// Offset in the module of the instruction at which it goes on.
    pub wasm_offset: u32,
    /// Offset in the function's body of that instruction. Zero for imported functions.
    pub body_offset: u32,
    /// What it does next: `enter`, `loop`, `call` (what is called is the next inner frame), `execute` (an instruction), or
    /// `breakpoint`; or nothing any more, `trap`.
    pub next: &'static str,
    /// Where in the source code that is: the function itself, and functions into which it was inlined.
    pub source: Vec<SourceFrame>,
    /// Locals that the function can still read, ascending.
    pub locals: Vec<LocalView>,
    /// Operands, bottom first.
    pub operands: Vec<ValueView>,
}

/// A local of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalView {
    /// Its index, parameters first.
    pub index: u32,
    /// Its name, on one line, if it has one.
    pub name: Option<String>,
    /// Its value.
    #[serde(flatten)]
    pub value: ValueView,
}

pub(super) fn view(inspector: &Inspector<'_>, frames: &Frames) -> Result<Vec<FrameView>, InspectError> {
    let maps = frames.program().maps()?;
    let bodies: HashMap<u32, u32> = maps.functions.iter().map(|f| (f.function, f.code_offset)).collect();
    let imported = frames.program().info().imported_functions;
    let offsets: BTreeSet<u32> =
        frames.iter()?.filter(|frame| frame.function >= imported).map(|frame| frame.code_offset).collect();
    let functions: BTreeSet<u32> = frames.iter()?.map(|frame| frame.function).collect();
    let sources = Lines::new(inspector.wasm).map_or_else(BTreeMap::new, |lines| lines.find(&offsets));
    let local_names = inspector.names.locals(&functions);

    let view = |frame: crate::frames::Frame| {
        let wasm_offset = match frame.kind {
            // That of a call instruction is at its second byte.
            SafepointKind::Breakpoint | SafepointKind::Instruction => {
                instruction_at(inspector.wasm, frame.code_offset)
            }
            _ => None,
        };
        let wasm_offset = wasm_offset.unwrap_or(frame.code_offset);
        let body = bodies.get(&frame.function).copied().unwrap_or(wasm_offset);
        let local = |(index, value): (u32, gate_compiler::Value)| LocalView {
            index,
            name: local_names.get(&(frame.function, index)).cloned(),
            value: value.into(),
        };
        FrameView {
            function: frame.function,
            name: inspector.function_name(frame.function),
            wasm_offset,
            body_offset: wasm_offset.saturating_sub(body),
            next: match frame.kind {
                SafepointKind::Entry => "enter",
                SafepointKind::Loop => "loop",
                SafepointKind::Call => "call",
                SafepointKind::Instruction => "execute",
                SafepointKind::Breakpoint => "breakpoint",
            },
            source: sources.get(&frame.code_offset).cloned().unwrap_or_default(),
            locals: frame.locals.into_iter().map(local).collect(),
            operands: frame.operands.into_iter().map(ValueView::from).collect(),
        }
    };
    Ok(frames.iter()?.map(view).collect())
}

/// Frames of a program that has trapped.
pub(super) fn trace(inspector: &Inspector<'_>) -> Result<Vec<FrameView>, InspectError> {
    let backtrace = inspector.instance.backtrace()?;
    let maps = inspector.instance.program().maps()?;
    let bodies: HashMap<u32, u32> = maps.functions.iter().map(|f| (f.function, f.code_offset)).collect();
    let offsets: BTreeSet<u32> = backtrace.frames().iter().filter_map(|frame| frame.wasm_offset).collect();
    let sources = Lines::new(inspector.wasm).map_or_else(BTreeMap::new, |lines| lines.find(&offsets));
    let view = |(index, frame): (usize, &BacktraceFrame)| {
        let body = bodies.get(&frame.function).copied().unwrap_or_default();
        // Where it is not known, the function's start is nearest.
        let wasm_offset = frame.wasm_offset.unwrap_or(body);
        FrameView {
            function: frame.function,
            name: inspector.function_name(frame.function),
            wasm_offset,
            body_offset: wasm_offset.saturating_sub(body),
            next: if index == 0 { "trap" } else { "call" },
            source: sources.get(&wasm_offset).cloned().unwrap_or_default(),
            locals: Vec::new(),
            operands: Vec::new(),
        }
    };
    Ok(backtrace.frames().iter().enumerate().map(view).collect())
}
