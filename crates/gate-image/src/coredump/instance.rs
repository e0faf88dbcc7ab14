//! Core dumps of instances.

use super::{CoreDump, CoreDumpError, CoreFrame, CoreMemory};
use crate::error::ImageError;
use crate::frames::{Frame, Frames};
use crate::instance::Instance;
use std::collections::HashMap;
use std::io::Write;

/// Why a core dump of an instance could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstanceDumpError {
    /// The instance cannot be looked at.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The core dump cannot be written.
    #[error(transparent)]
    Write(#[from] CoreDumpError),
}

impl Instance {
    /// Writes a core dump of an instance that is not running. `name` is that of the module, `frames` are those of the
    /// program if it is suspended.
    pub fn write_core_dump(
        &self,
        name: &str,
        frames: Option<&Frames>,
        out: &mut dyn Write,
    ) -> Result<(), InstanceDumpError> {
        let info = self.program().info();
        let frames = frames.map_or(Ok(Vec::new()), core_frames)?;
        let globals: Vec<_> =
            self.region().globals()?.into_iter().zip(&info.globals).map(|(v, g)| (v, g.mutable)).collect();
        let contents: Vec<_> = (0..info.memories.len()).filter_map(|index| self.memory(index)).collect();
        let memories = contents.iter().zip(&info.memories).map(|(memory, info)| {
            let size =
                memory.size().map_err(|source| ImageError::System { action: "look at a memory", source })?;
            Ok(CoreMemory { size, max_pages: info.max_pages, memory64: info.memory64, contents: memory })
        });
        let memories = memories.collect::<Result<Vec<_>, ImageError>>()?;
        let dump = CoreDump { name, frames: &frames, globals: &globals, memories: &memories };
        Ok(dump.write(out)?)
    }
}

fn core_frames(frames: &Frames) -> Result<Vec<CoreFrame>, ImageError> {
    let functions = &frames.program().maps()?.functions;
    let bodies: HashMap<u32, u32> = functions.iter().map(|f| (f.function, f.code_offset)).collect();
    let convert = |frame: Frame| CoreFrame {
        function: frame.function,
        // Imported functions have no body.
        body_offset: bodies.get(&frame.function).map_or(0, |body| frame.code_offset.saturating_sub(*body)),
        locals: frame.locals,
        operands: frame.operands,
    };
    Ok(frames.iter()?.map(convert).collect())
}
