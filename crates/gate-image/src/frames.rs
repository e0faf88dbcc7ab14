//! Frames of stopped programs.
//!
//! A frame consists of a place in the module and the values that the rest of the function can read: it is the same whatever
//! machine, compiler and options the program was compiled for or by.

mod chain;
mod error;
mod exported;
mod resume;
mod stored;

pub use error::FramesError;
pub(crate) use stored::{push_value, read_value};

use crate::error::ImageError;
use crate::exceptions::refers_to_function;
use crate::program::Program;
use chain::Chain;
use gate_compiler::{Maps, Safepoint, SafepointKind, ValType, Value};

/// Where a stopped program is, and with which values: its call stack.
///
/// All of it fits the program: each place is a safepoint, each value has its type, and each call's callee is the next
/// inner frame.
#[derive(Clone, Debug)]
pub struct Frames {
    program: Program,
    /// Innermost first.
    frames: Vec<Place>,
    /// Slots of all frames: each of the size of its type, see [`ValType::slot_size`].
    slots: Vec<u8>,
    /// The function that was called from outside. The outermost frame is its, or of a function that it has ended in a tail call of.
    called: u32,
}

/// A frame, without its values.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Index of the safepoint in the program's maps.
    safepoint: usize,
    /// Where its slots begin.
    start: usize,
}

/// A function call that has not returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Index of the function.
    pub function: u32,
    /// Offset in the module of the instruction at which the function goes on.
    pub code_offset: u32,
    /// How it goes on.
    pub kind: SafepointKind,
    /// Live locals, by ascending index.
    pub locals: Vec<(u32, Value)>,
    /// Operands, bottom first.
    pub operands: Vec<Value>,
}

impl Frames {
    /// The program by whose maps the frames have been checked.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Number of frames. Never zero.
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// The frames, innermost first.
    pub fn iter(&self) -> Result<impl DoubleEndedIterator<Item = Frame> + ExactSizeIterator, ImageError> {
        let maps = self.program.maps()?;
        Ok(self.frames.iter().map(move |place| self.frame(maps, place)))
    }

    /// The function that was called from outside. Its frame is the outermost one, unless it has ended in a tail call.
    pub fn called(&self) -> u32 {
        self.called
    }

    /// Whether the innermost function is an imported one.
    pub fn is_in_host_function(&self) -> Result<bool, ImageError> {
        let maps = self.program.maps()?;
        let innermost = self.frames.first().map(|place| maps.safepoints[place.safepoint].function);
        Ok(innermost.is_some_and(|function| function < self.program.info().imported_functions))
    }

    /// The same frames of another program that was compiled from the same module.
    ///
    /// Fails if that program cannot stop there: if it lacks a breakpoint.
    pub fn rebase(&self, program: &Program) -> Result<Self, FramesError> {
        let (from, to) = (self.program.maps()?, program.maps()?);
        let mut chain = Chain::new(program, to);
        let mut frames = Vec::with_capacity(self.frames.len());
        for place in &self.frames {
            let old = &from.safepoints[place.safepoint];
            let (index, new) = chain.find(old.function, old.code_offset)?;
            let locals =
                |point: &Safepoint| -> Vec<u32> { point.locals.iter().map(|local| local.0).collect() };
            let same_types = types(old).map(ValType::general).eq(types(new).map(ValType::general));
            if new.kind != old.kind || locals(old) != locals(new) || !same_types {
                let (function, code_offset) = (old.function, old.code_offset);
                return Err(FramesError::Values { frame: frames.len(), function, code_offset });
            }
            // Another compiler may know more about the types.
            let mut slots = Slots { rest: &self.slots[place.start..] };
            for (old, new) in types(old).zip(types(new)) {
                let value = slots.next(old);
                if old != new {
                    check_reference(value, new, program, to)?;
                }
            }
            chain.push(new)?;
            frames.push(Place { safepoint: index, start: place.start });
        }
        chain.finish(Some(self.called))?;
        let slots = self.slots.clone();
        Ok(Self { program: program.clone(), frames, slots, called: self.called })
    }

    /// All values, innermost frame first.
    pub(crate) fn values(&self) -> Result<impl Iterator<Item = Value>, ImageError> {
        let maps = self.program.maps()?;
        Ok(self.frames.iter().flat_map(move |place| {
            let mut slots = Slots { rest: &self.slots[place.start..] };
            types(&maps.safepoints[place.safepoint]).map(move |ty| slots.next(ty))
        }))
    }

    fn frame(&self, maps: &Maps, place: &Place) -> Frame {
        let safepoint = &maps.safepoints[place.safepoint];
        let mut slots = Slots { rest: &self.slots[place.start..] };
        Frame {
            function: safepoint.function,
            code_offset: safepoint.code_offset,
            kind: safepoint.kind,
            locals: safepoint.locals.iter().map(|&(index, ty)| (index, slots.next(ty))).collect(),
            operands: safepoint.operands.iter().map(|&ty| slots.next(ty)).collect(),
        }
    }
}

/// Takes values from slots.
struct Slots<'a> {
    rest: &'a [u8],
}

impl Slots<'_> {
    fn next(&mut self, ty: ValType) -> Value {
        let (slot, rest) = self.rest.split_at(ty.slot_size() as usize);
        self.rest = rest;
        let mut bytes = [0; 16];
        bytes[..slot.len()].copy_from_slice(slot);
        Value::from_slot(ty, u128::from_le_bytes(bytes))
    }
}

fn push_slot(slots: &mut Vec<u8>, value: Value) {
    slots.extend_from_slice(&value.to_slot().to_le_bytes()[..value.ty().slot_size() as usize]);
}

/// Types of a frame's values, in the order of its slots.
fn types(safepoint: &Safepoint) -> impl Iterator<Item = ValType> {
    safepoint.locals.iter().map(|&(_, ty)| ty).chain(safepoint.operands.iter().copied())
}

/// Size of a frame's slots in bytes.
fn slots_size(safepoint: &Safepoint) -> usize {
    types(safepoint).map(|ty| ty.slot_size() as usize).sum()
}

/// A reference to a function that does not exist, or is not of the right type, is refused.
fn check_reference(value: Value, ty: ValType, program: &Program, maps: &Maps) -> Result<(), FramesError> {
    let info = program.info();
    match value {
        Value::FuncRef(Some(function)) => {
            let count = info.functions.len();
            if function as usize >= count {
                return Err(FramesError::Reference { function, count });
            }
            let signature = |number: u32| maps.signatures.get(number as usize);
            match refers_to_function(value, ty, info, signature) {
                true => Ok(()),
                false => Err(FramesError::ReferenceType { function, expected: ty }),
            }
        }
        _ => Ok(()),
    }
}
