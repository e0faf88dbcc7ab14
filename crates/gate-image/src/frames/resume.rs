//! Frames for a program's process to go on with.

use super::{Frames, slots_size};
use crate::error::ImageError;
use crate::memfd::{self, Executable};
use crate::program::Program;
use gate_compiler::ResumePoint;
use gate_wire::PAGE_SIZE;
use gate_wire::frames::FRAMES_START;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

impl Frames {
    /// Where the frames go on: what text is needed for.
    pub fn resume_points(&self) -> Result<BTreeSet<ResumePoint>, ImageError> {
        let maps = self.program.maps()?;
        Ok(self.frames.iter().map(|place| point(&maps.safepoints[place.safepoint])).collect())
    }

    /// Makes a file for resumed code to read, and tells its size, a multiple of the page size. See
    /// [`gate_wire::frames`].
    ///
    /// `program` is the program of the frames, extended.
    pub(crate) fn write_resume(&self, program: &Program) -> Result<(OwnedFd, u64), ImageError> {
        const PIECE: usize = 256 << 10;

        let maps = self.program.maps()?;
        let file = memfd::create("gate-frames", Executable::No)?;
        let error = ImageError::system("write frames");
        let (mut buf, mut offset) = (vec![0; FRAMES_START as usize], 0);
        for place in self.frames.iter().rev() {
            let safepoint = &maps.safepoints[place.safepoint];
            let word = program
                .resume_word(point(safepoint))
                .ok_or(ImageError::image("the program lacks text for going on at a safepoint"))?;
            buf.extend_from_slice(&word.to_le_bytes());
            buf.extend_from_slice(&self.slots[place.start..][..slots_size(safepoint)]);
            if buf.len() >= PIECE {
                memfd::write_all(&file, &buf, offset).map_err(&error)?;
                offset += buf.len() as u64;
                buf.clear();
            }
        }
        buf.resize((offset + buf.len() as u64).next_multiple_of(PAGE_SIZE) as usize - offset as usize, 0);
        memfd::write_all(&file, &buf, offset).map_err(&error)?;
        Ok((file, offset + buf.len() as u64))
    }
}

fn point(safepoint: &gate_compiler::Safepoint) -> ResumePoint {
    ResumePoint { function: safepoint.function, code_offset: safepoint.code_offset }
}
