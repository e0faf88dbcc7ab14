//! Frames which a program's process has written down.

use super::{Frames, FramesError, Place, Slots, check_reference, push_slot, slots_size, types};
use crate::error::ImageError;
use crate::frames::chain::Chain;
use crate::memfd;
use crate::program::Program;
use gate_wire::frames::{FRAMES_COMPLETE, FRAMES_START, FramesHeader};
use gate_wire::record::Reader;
use std::os::fd::OwnedFd;

impl Frames {
    /// Reads what an export has left in a file of the given size. See [`gate_wire::frames`].
    ///
    /// `called` tells which function was called from outside. It is given the function of the outermost frame, and whether that can be
    /// where a function was called.
    pub(crate) fn read_exported(
        program: &Program,
        file: &OwnedFd,
        size: u64,
        called: impl FnOnce(u32, &dyn Fn(u32) -> bool) -> Result<u32, FramesError>,
    ) -> Result<Self, FramesError> {
        let mut header = [0; size_of::<FramesHeader>()];
        memfd::read_exact(file, &mut header, 0).map_err(ImageError::system("read frames"))?;
        let mut r = Reader::new(&header);
        let (state, used) = (r.u64().unwrap_or_default(), r.u64().unwrap_or_default());
        if state != FRAMES_COMPLETE {
            return Err(FramesError::Incomplete);
        }
        let max = size.saturating_sub(FRAMES_START);
        if used > max {
            return Err(FramesError::Count { what: "size of the frames", number: used, max });
        }

        let mut input =
            Input { file, offset: FRAMES_START, end: FRAMES_START + used, buf: Vec::new(), pos: 0 };
        let maps = program.maps()?;
        let mut chain = Chain::new(program, maps);
        let (mut frames, mut slots) = (Vec::new(), Vec::new());
        while let Some(head) = input.take(8, frames.len())? {
            let mut r = Reader::new(head);
            let (function, code_offset) = (r.u32().unwrap_or_default(), r.u32().unwrap_or_default());
            let (index, safepoint) = chain.find(function, code_offset)?;
            chain.push(safepoint)?;
            frames.push(Place { safepoint: index, start: slots.len() });
            let size = slots_size(safepoint);
            if size == 0 {
                continue;
            }
            let frame = chain.count() - 1;
            let raw = input.take(size, frame)?.ok_or(FramesError::Truncated { frame })?;
            // What is in a slot beyond its type's bytes means nothing, and is left out.
            let mut raw = Slots { rest: raw };
            for (index, ty) in types(safepoint).enumerate() {
                let value = raw.next(ty);
                check_reference(value, ty, program, maps)?;
                // A local may be live to the compiler before it has its first value.
                if index >= safepoint.locals.len() && !ty.admits(value) {
                    return Err(FramesError::Null { expected: ty });
                }
                push_slot(&mut slots, value);
            }
        }
        if frames.is_empty() {
            return Err(FramesError::Empty);
        }
        let outermost = chain.function();
        let called = called(outermost, &|called| chain.returns_for(outermost, called))?;
        chain.finish(Some(called))?;
        Ok(Self { program: program.clone(), frames, slots, called })
    }
}

/// Reads a file piece by piece.
struct Input<'a> {
    file: &'a OwnedFd,
    offset: u64,
    end: u64,
    buf: Vec<u8>,
    pos: usize,
}

impl Input<'_> {
    const WINDOW: usize = 256 << 10;

    /// The next bytes. `None` if there is nothing more.
    fn take(&mut self, size: usize, frame: usize) -> Result<Option<&[u8]>, FramesError> {
        if self.buf.len() - self.pos < size {
            self.buf.drain(..self.pos);
            self.pos = 0;
            let have = self.buf.len();
            let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
            let more = left.min(size.max(Self::WINDOW) - have);
            self.buf.resize(have + more, 0);
            memfd::read_exact(self.file, &mut self.buf[have..], self.offset)
                .map_err(ImageError::system("read frames"))?;
            self.offset += more as u64;
            if self.buf.is_empty() {
                return Ok(None);
            }
            if self.buf.len() < size {
                return Err(FramesError::Truncated { frame });
            }
        }
        self.pos += size;
        Ok(Some(&self.buf[self.pos - size..self.pos]))
    }
}
