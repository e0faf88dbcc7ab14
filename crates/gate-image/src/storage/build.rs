//! Which builds of Gate can go on with a frozen program.

use crate::error::ImageError;
use crate::program::Program;
use blake3::{Hash, Hasher};
use gate_wire::context::Context;
use std::sync::{Arc, Mutex, PoisonError};

/// What identifies a build, as far as frozen programs are concerned.
#[derive(Clone, Debug)]
pub(super) struct Build {
    rt: Hash,
    /// The last program, and what was found for it.
    last: Arc<Mutex<Option<(Program, Hash)>>>,
}

impl Build {
    pub(super) fn new(rt: &[u8]) -> Self {
        Self { rt: blake3::hash(rt), last: Arc::default() }
    }

    /// Hash of all that must be the same for a frozen instance of the program to go on: rt, the program's text, and where
    /// things are in its state.
    pub(super) fn of(&self, program: &Program) -> Result<Hash, ImageError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, hash)) = &*last
            && known.is_same(program)
        {
            return Ok(*hash);
        }
        let info =
            postcard::to_stdvec(program.info()).map_err(|_| ImageError::image("module information"))?;
        let mut hasher = Hasher::new();
        hasher.update(self.rt.as_bytes());
        hasher.update(&(size_of::<Context>() as u64).to_le_bytes());
        hasher.update(blake3::hash(&info).as_bytes());
        hasher.update(blake3::hash(&program.read_text()?).as_bytes());
        let hash = hasher.finalize();
        *last = Some((program.clone(), hash));
        Ok(hash)
    }
}
