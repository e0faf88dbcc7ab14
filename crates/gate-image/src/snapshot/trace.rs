//! Contents of the section that tells where a program trapped.

use super::Problem;
use crate::backtrace::{Backtrace, MAX_PRINTED};
use crate::error::ImageError;
use crate::leb::{self, Cursor};
use crate::program::Program;

/// Where a program trapped, as far as that can be told without the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    /// Function, and offset in the module where known. Innermost first.
    places: Vec<(u32, Option<u32>)>,
    omitted: u32,
}

impl Trace {
    /// `None` if nothing is known.
    pub(super) fn new(backtrace: &Backtrace) -> Option<Self> {
        let places: Vec<_> =
            backtrace.frames().iter().map(|frame| (frame.function, frame.wasm_offset)).collect();
        let omitted = u32::try_from(backtrace.omitted()).unwrap_or(u32::MAX);
        (!places.is_empty()).then_some(Self { places, omitted })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut buf = Vec::new();
        leb::push(&mut buf, self.places.len() as u64);
        for &(function, offset) in &self.places {
            leb::push(&mut buf, function.into());
            buf.push(offset.is_some().into());
            if let Some(offset) = offset {
                leb::push(&mut buf, offset.into());
            }
        }
        leb::push(&mut buf, self.omitted.into());
        buf
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(bytes);
        let mut number = || cursor.u32().ok_or(Problem::SectionEnd);
        let count = match number()? {
            0 => return Err(Problem::Invalid("number of frames")),
            number if number as usize > MAX_PRINTED => {
                let (what, number, max) = ("number of frames", number.into(), MAX_PRINTED as u64);
                return Err(Problem::Limit { what, number, max });
            }
            number => number,
        };
        let mut place = || {
            let function = number()?;
            let offset = match number()? {
                0 => None,
                1 => Some(number()?),
                _ => return Err(Problem::Invalid("code offset")),
            };
            Ok((function, offset))
        };
        let places = (0..count).map(|_| place()).collect::<Result<_, _>>()?;
        let omitted = number()?;
        match cursor.rest().len() {
            0 => Ok(Self { places, omitted }),
            rest => Err(Problem::SectionRest(rest as u64)),
        }
    }

    /// Fails if it is not one of the program.
    pub(super) fn backtrace(
        &self,
        program: &Program,
        module_size: usize,
    ) -> Result<Result<Backtrace, Problem>, ImageError> {
        let outside = |&(_, offset): &(u32, Option<u32>)| {
            offset.filter(|&offset| offset as usize >= module_size).map(u64::from)
        };
        if let Some(number) = self.places.iter().find_map(outside) {
            let (what, max) = ("code offset", module_size as u64 - 1);
            return Ok(Err(Problem::Limit { what, number, max }));
        }
        let backtrace = Backtrace::from_places(program, &self.places, self.omitted as usize)?;
        Ok(backtrace.ok_or(Problem::Invalid("function in which it trapped")))
    }
}
