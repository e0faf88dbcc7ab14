//! Frames in a snapshot.
//!
//! The format is described in `docs/snapshot-format.md`.

use super::{Frames, FramesError, Place, check_reference, push_slot};
use crate::exceptions::Exceptions;
use crate::frames::chain::Chain;
use crate::leb::{self, Cursor};
use crate::program::Program;
use gate_compiler::{Maps, Safepoint, SafepointKind, ValType, Value};
use std::io::{self, Write};

/// Largest number of a function's locals, and of its operands, that is read.
const MAX_VALUES: u32 = 1 << 20;

const TYPES: [(u8, ValType); 8] = [
    (0x7f, ValType::I32),
    (0x7e, ValType::I64),
    (0x7d, ValType::F32),
    (0x7c, ValType::F64),
    (0x7b, ValType::V128),
    (0x70, ValType::FuncRef),
    (0x6f, ValType::ExternRef),
    (0x69, ValType::ExnRef),
];

const KINDS: [(u8, SafepointKind); 5] = [
    (0, SafepointKind::Entry),
    (1, SafepointKind::Loop),
    (2, SafepointKind::Call),
    (3, SafepointKind::Instruction),
    (4, SafepointKind::Breakpoint),
];

impl Frames {
    /// Writes the frames as they are in a snapshot. Without exceptions, references to these are the numbers of their records.
    pub(crate) fn write_stored(
        &self,
        exceptions: Option<&Exceptions>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let stored = |value| exceptions.map_or(value, |exceptions| exceptions.stored(value));
        let mut buf = Vec::new();
        leb::push(&mut buf, self.len() as u64);
        for frame in self.iter().map_err(io::Error::other)? {
            leb::push(&mut buf, frame.function.into());
            leb::push(&mut buf, frame.code_offset.into());
            buf.extend(KINDS.iter().filter(|(_, kind)| *kind == frame.kind).map(|(byte, _)| byte));
            leb::push(&mut buf, frame.locals.len() as u64);
            for (index, value) in frame.locals {
                leb::push(&mut buf, index.into());
                push_value(&mut buf, stored(value));
            }
            leb::push(&mut buf, frame.operands.len() as u64);
            for value in frame.operands {
                push_value(&mut buf, stored(value));
            }
            if buf.len() >= 64 << 10 {
                out.write_all(&buf)?;
                buf.clear();
            }
        }
        out.write_all(&buf)
    }

    /// At which breakpoint the stored frames say that the program is, by offset in the module. Only the innermost frame can be
    /// at one.
    pub(crate) fn stored_breakpoint(bytes: &[u8]) -> Option<u32> {
        let mut cursor = Cursor::new(bytes);
        let (_count, _function, code_offset) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        let kind = cursor.byte()?;
        KINDS.contains(&(kind, SafepointKind::Breakpoint)).then_some(code_offset)
    }

    /// Reads frames of a snapshot of the module from which the program was compiled. Without exceptions, references to these are not
    /// checked. `called` is the function that was called from outside.
    ///
    /// Locals that the rest of a function does not read are left out, whoever has written them: how exactly that is known
    /// differs between compilers.
    pub(crate) fn read_stored(
        program: &Program,
        exceptions: Option<&Exceptions>,
        bytes: &[u8],
        called: Option<u32>,
    ) -> Result<Self, FramesError> {
        let maps = program.maps()?;
        let mut chain = Chain::new(program, maps);
        let (mut frames, mut slots) = (Vec::new(), Vec::new());
        let mut input = Input { cursor: Cursor::new(bytes), frame: 0, program, maps, exceptions };
        let count = input.number()?;
        for frame in 0..count as usize {
            input.frame = frame;
            let (function, code_offset) = (input.number()?, input.number()?);
            let kind = input.byte("kind of safepoint")?;
            let kind = KINDS.iter().find(|(byte, _)| *byte == kind).map(|&(_, kind)| kind);
            let kind = kind.ok_or(FramesError::Invalid { frame, what: "kind of safepoint" })?;
            let (index, safepoint) = chain.find(function, code_offset)?;
            if kind != safepoint.kind {
                return Err(FramesError::Values { frame, function, code_offset });
            }
            chain.push(safepoint)?;
            frames.push(Place { safepoint: index, start: slots.len() });
            input.locals(safepoint, &mut slots)?;
            input.operands(safepoint, &mut slots)?;
        }
        let size = input.cursor.rest().len();
        if chain.count() > 0 && size > 0 {
            return Err(FramesError::Trailing { size });
        }
        chain.finish(called)?;
        Ok(Self { program: program.clone(), frames, slots, called: called.unwrap_or_default() })
    }
}

struct Input<'a> {
    cursor: Cursor<'a>,
    frame: usize,
    program: &'a Program,
    maps: &'a Maps,
    exceptions: Option<&'a Exceptions>,
}

impl Input<'_> {
    fn locals(&mut self, safepoint: &Safepoint, slots: &mut Vec<u8>) -> Result<(), FramesError> {
        let frame = self.frame;
        let mut live = safepoint.locals.iter().copied().peekable();
        let mut previous = None;
        for _ in 0..self.count("number of locals")? {
            let local = self.number()?;
            if previous.is_some_and(|previous| local <= previous) {
                return Err(FramesError::Invalid { frame, what: "order of locals" });
            }
            previous = Some(local);
            let value = self.value()?;
            match live.peek() {
                Some(&(index, _)) if index < local => {
                    return Err(FramesError::MissingLocal { frame, local: index });
                }
                Some(&(index, expected)) if index == local => {
                    live.next();
                    self.push(slots, value, ("local", index, expected))?;
                }
                _ => {}
            }
        }
        match live.next() {
            Some((local, _)) => Err(FramesError::MissingLocal { frame, local }),
            None => Ok(()),
        }
    }

    fn operands(&mut self, safepoint: &Safepoint, slots: &mut Vec<u8>) -> Result<(), FramesError> {
        let &Safepoint { function, code_offset, .. } = safepoint;
        if self.count("number of operands")? as usize != safepoint.operands.len() {
            return Err(FramesError::Values { frame: self.frame, function, code_offset });
        }
        for (index, &expected) in (0..).zip(&safepoint.operands) {
            let value = self.value()?;
            self.push(slots, value, ("operand", index, expected))?;
        }
        Ok(())
    }

    fn push(
        &self,
        slots: &mut Vec<u8>,
        value: Value,
        (what, index, expected): (&'static str, u32, ValType),
    ) -> Result<(), FramesError> {
        let found = value.ty();
        if found != expected.general() {
            return Err(FramesError::Type { frame: self.frame, what, index, found, expected });
        }
        check_reference(value, expected, self.program, self.maps)?;
        // A local may be live to the compiler before it has its first value.
        if what == "operand" && !expected.admits(value) {
            return Err(FramesError::Null { expected });
        }
        if let Value::ExnRef(Some(number)) = value
            && self.exceptions.is_some_and(|exceptions| !exceptions.contains(value))
        {
            return Err(FramesError::Exception { number });
        }
        push_slot(slots, value);
        Ok(())
    }

    fn count(&mut self, what: &'static str) -> Result<u32, FramesError> {
        match self.number()? {
            number if number > MAX_VALUES => {
                Err(FramesError::Count { what, number: number.into(), max: MAX_VALUES.into() })
            }
            number => Ok(number),
        }
    }

    fn number(&mut self) -> Result<u32, FramesError> {
        self.cursor.u32().ok_or(FramesError::Truncated { frame: self.frame })
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, FramesError> {
        self.cursor.byte().ok_or(FramesError::Invalid { frame: self.frame, what })
    }

    fn value(&mut self) -> Result<Value, FramesError> {
        read_value(&mut self.cursor).ok_or(FramesError::Invalid { frame: self.frame, what: "value" })
    }
}

/// Appends a value: its type, and as many bytes as that has. A reference is four bytes: zero, or its number plus one, or the
/// number of an exception.
pub(crate) fn push_value(buf: &mut Vec<u8>, value: Value) {
    if let Value::ExnRef(number) = value {
        buf.push(0x69);
        buf.extend(number.unwrap_or(0).to_le_bytes());
        return;
    }
    buf.extend(TYPES.iter().filter(|(_, ty)| *ty == value.ty()).map(|(byte, _)| byte));
    buf.extend_from_slice(&value.to_slot().to_le_bytes()[..value_size(value.ty())]);
}

/// Reads a value that [`push_value`] has written.
pub(crate) fn read_value(cursor: &mut Cursor<'_>) -> Option<Value> {
    let byte = cursor.byte()?;
    let &(_, ty) = TYPES.iter().find(|(known, _)| *known == byte)?;
    let mut slot = [0; 16];
    let bytes = cursor.take(value_size(ty))?;
    slot[..bytes.len()].copy_from_slice(bytes);
    if ty == ValType::ExnRef {
        let number = u128::from_le_bytes(slot) as u32;
        return Some(Value::ExnRef((number != 0).then_some(number)));
    }
    Some(Value::from_slot(ty, u128::from_le_bytes(slot)))
}

fn value_size(ty: ValType) -> usize {
    match ty {
        ValType::I64 | ValType::F64 => 8,
        ValType::V128 => 16,
        _ => 4,
    }
}
