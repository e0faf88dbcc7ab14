//! Whether frames belong together.

use super::FramesError;
use crate::program::Program;
use gate_compiler::{Callee, Maps, Safepoint, SafepointKind};

/// Checks frames, innermost first.
pub(super) struct Chain<'a> {
    program: &'a Program,
    maps: &'a Maps,
    /// Number of frames so far.
    count: usize,
    /// Function of the last one.
    inner: u32,
}

impl<'a> Chain<'a> {
    pub(super) fn new(program: &'a Program, maps: &'a Maps) -> Self {
        Self { program, maps, count: 0, inner: 0 }
    }

    /// The safepoint of the next frame.
    pub(super) fn find(
        &self,
        function: u32,
        code_offset: u32,
    ) -> Result<(usize, &'a Safepoint), FramesError> {
        let safepoints = &self.maps.safepoints;
        match safepoints.binary_search_by_key(&(function, code_offset), |s| (s.function, s.code_offset)) {
            Ok(index) => Ok((index, &safepoints[index])),
            Err(_) => Err(FramesError::NoSafepoint { frame: self.count, function, code_offset }),
        }
    }

    /// Adds the next frame.
    pub(super) fn push(&mut self, safepoint: &Safepoint) -> Result<(), FramesError> {
        let &Safepoint { function, code_offset, .. } = safepoint;
        let frame = self.count;
        if (safepoint.kind == SafepointKind::Call) == (frame == 0) {
            return Err(FramesError::Order { frame, function, code_offset });
        }
        if frame > 0 {
            let calls_inner = match safepoint.callee {
                Some(Callee::Function(callee)) => callee == self.inner,
                Some(Callee::Signature(signature)) => {
                    let signature = self.maps.signatures.get(signature as usize);
                    signature.is_some() && signature == self.program.info().functions.get(self.inner as usize)
                }
                None => false,
            };
            if !calls_inner {
                let callee = self.inner;
                return Err(FramesError::Callee { frame, function, code_offset, callee });
            }
        }
        self.inner = function;
        self.count += 1;
        Ok(())
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Checks the outermost one.
    pub(super) fn finish(&self) -> Result<(), FramesError> {
        match self.count {
            0 => Err(FramesError::Empty),
            // The space for its results is made for functions that can be called from outside.
            _ => match self.program.trampoline(self.inner) {
                Some(_) => Ok(()),
                None => Err(FramesError::Outermost { function: self.inner }),
            },
        }
    }
}
