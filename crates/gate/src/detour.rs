//! Away from a breakpoint that is not wanted any more.
//!
//! A program that was stopped at a breakpoint goes on with text that has it. It is stopped again as soon as possible, at any
//! place that other text has, too, and goes on with that.

use crate::exit::Problem;
use crate::load::load_problem;
use gate_compiler::{GateImports, Options};
use gate_image::{Instance, Program, RebaseError};
use gate_runtime::Executor;
use std::sync::Arc;

/// What a program is to go on with.
#[derive(Clone, Debug)]
pub(crate) struct Detour {
    pub(crate) program: Program,
    /// What the program was compiled from, and how.
    pub(crate) wasm: Arc<Vec<u8>>,
    pub(crate) options: Options,
}

impl Detour {
    /// Lets a suspended instance go on with the text, if it can stop where it is. Returns whether that is so.
    pub(crate) async fn take(&self, instance: &mut Instance, executor: &Executor) -> Result<bool, Problem> {
        executor.export(instance).await.map_err(Problem::gate_failed)?;
        match instance.rebase(&self.program) {
            Ok(()) => {}
            // It is at the breakpoint still, or again.
            Err(RebaseError::Frames(_)) => return Ok(false),
            Err(RebaseError::Instance(err)) => return Err(crate::session::instance_problem(err)),
        }
        instance.prepare_resume(&self.wasm, &self.options, &GateImports).map_err(load_problem)?;
        Ok(true)
    }
}
