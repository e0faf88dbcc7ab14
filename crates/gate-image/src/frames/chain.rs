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
                Some(Callee::Function(callee)) => self.returns_for(self.inner, callee),
                Some(Callee::Signature(signature)) => self.returns_for_signature(signature),
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

    /// Function of the last frame.
    pub(super) fn function(&self) -> u32 {
        self.inner
    }

    /// Whether the frame of a function can be where its caller called another one: that is the same one, or it has ended in a tail
    /// call. Whatever functions follow each other by tail calls, the last one's results are also of the types of the first
    /// one's; text that goes on with a frame relies on these only.
    pub(super) fn returns_for(&self, function: u32, called: u32) -> bool {
        function == called || self.ends_in_tail_call(called) && self.has_results_for(function, called)
    }

    /// The same for the last frame's function and an indirect call of functions of a type.
    fn returns_for_signature(&self, signature: u32) -> bool {
        let functions = &self.program.info().functions;
        let Some(signature) = self.maps.signatures.get(signature as usize) else { return false };
        let Some(ty) = functions.get(self.inner as usize) else { return false };
        let is_called = |function: &gate_compiler::FunctionMap| {
            function.tail_calls && functions.get(function.function as usize) == Some(signature)
        };
        ty == signature || ty.returns_for(signature) && self.maps.functions.iter().any(is_called)
    }

    fn ends_in_tail_call(&self, function: u32) -> bool {
        let index = function.checked_sub(self.program.info().imported_functions);
        let map = index.and_then(|index| self.maps.functions.get(index as usize));
        map.is_some_and(|map| map.function == function && map.tail_calls)
    }

    fn has_results_for(&self, function: u32, called: u32) -> bool {
        let functions = &self.program.info().functions;
        match (functions.get(function as usize), functions.get(called as usize)) {
            (Some(function), Some(called)) => function.returns_for(called),
            _ => false,
        }
    }

    /// Checks the outermost one, given the function that was called from outside.
    pub(super) fn finish(&self, called: Option<u32>) -> Result<(), FramesError> {
        let fits = |called| self.returns_for(self.inner, called) && self.program.trampoline(called).is_some();
        match self.count {
            0 => Err(FramesError::Empty),
            // The space for its results is made for functions that can be called from outside.
            _ if called.is_some_and(fits) => Ok(()),
            _ => Err(FramesError::Outermost { function: self.inner }),
        }
    }
}
