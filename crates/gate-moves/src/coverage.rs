//! At which kinds of places, with which types of values programs were stopped.

use gate_compiler::{SafepointKind, ValType, Value};
use gate_image::Frames;
use std::collections::BTreeMap;
use std::fmt;

/// Numbers of frames, by kind of their safepoints, and of the values in them, by type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    kinds: BTreeMap<Kind, u64>,
    values: BTreeMap<(Kind, &'static str), u64>,
    /// Frames of the deepest stack.
    depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Safepoint(SafepointKind),
    /// The function is an imported one.
    HostFunction,
}

/// All that there is.
const KINDS: [Kind; 5] = [
    Kind::Safepoint(SafepointKind::Entry),
    Kind::Safepoint(SafepointKind::Loop),
    Kind::Safepoint(SafepointKind::Call),
    Kind::Safepoint(SafepointKind::Instruction),
    Kind::HostFunction,
];
const TYPES: [ValType; 8] = [
    ValType::I32,
    ValType::I64,
    ValType::F32,
    ValType::F64,
    ValType::V128,
    ValType::FuncRef,
    ValType::ExternRef,
    ValType::ExnRef,
];
/// What is looked for besides types.
const NAN: &str = "NaN";

impl Coverage {
    /// Counts a stack.
    pub(crate) fn add(&mut self, frames: &Frames) -> anyhow::Result<()> {
        let imported = frames.program().info().imported_functions;
        self.depth = self.depth.max(frames.len());
        for frame in frames.iter()? {
            let kind =
                if frame.function < imported { Kind::HostFunction } else { Kind::Safepoint(frame.kind) };
            *self.kinds.entry(kind).or_default() += 1;
            for value in frame.locals.iter().map(|(_, value)| value).chain(&frame.operands) {
                *self.values.entry((kind, name(value.ty()))).or_default() += 1;
                if is_nan(value) {
                    *self.values.entry((kind, NAN)).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    /// Kinds of places and types of values that have never been seen, anywhere.
    pub fn missing(&self) -> Vec<String> {
        let kinds = KINDS.iter().filter(|kind| !self.kinds.contains_key(kind)).map(ToString::to_string);
        let types = TYPES.iter().map(|&ty| name(ty)).chain([NAN]);
        let seen = |ty: &str| self.values.keys().any(|&(_, seen)| seen == ty);
        kinds.chain(types.filter(|ty| !seen(ty)).map(Into::into)).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:14} {:>11}", "stopped at", "frames")?;
        let types = || TYPES.iter().map(|&ty| name(ty)).chain([NAN]);
        for ty in types() {
            write!(f, " {ty:>9}")?;
        }
        for kind in KINDS {
            write!(f, "\n{:14} {:11}", kind.to_string(), self.kinds.get(&kind).copied().unwrap_or(0))?;
            for ty in types() {
                write!(f, " {:9}", self.values.get(&(kind, ty)).copied().unwrap_or(0))?;
            }
        }
        write!(f, "\ndeepest stack: {} frames", self.depth)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safepoint(SafepointKind::Entry) => "entry",
            Self::Safepoint(SafepointKind::Loop) => "loop",
            Self::Safepoint(SafepointKind::Call) => "call",
            Self::Safepoint(SafepointKind::Instruction) => "instruction",
            Self::Safepoint(SafepointKind::Breakpoint) => "breakpoint",
            Self::HostFunction => "host function",
        })
    }
}

fn name(ty: ValType) -> &'static str {
    match ty.general() {
        ValType::I32 => "i32",
        ValType::I64 => "i64",
        ValType::F32 => "f32",
        ValType::F64 => "f64",
        ValType::V128 => "v128",
        ValType::FuncRef => "funcref",
        ValType::ExternRef => "externref",
        ValType::ExnRef | ValType::Ref(_) => "exnref",
    }
}

fn is_nan(value: &Value) -> bool {
    match *value {
        Value::F32(bits) => f32::from_bits(bits).is_nan(),
        Value::F64(bits) => f64::from_bits(bits).is_nan(),
        _ => false,
    }
}
