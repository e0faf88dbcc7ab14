//! Programs as entries of a cache.

use crate::entry_file::{self, Contents, Damage, Image, Section, Sections, TakePiece};
use crate::error::ImageError;
use crate::fork::{Base, BasePart};
use crate::program::{LazyMaps, Program, Text};
use crate::template::{self, Piece, Template};
use blake3::Hash;
use gate_compiler::{CompiledModule, Maps, ModuleInfo, ResumeEntry, ResumePoint, ResumeText, Trampoline};
use gate_wire::cow::CHUNK_SIZE;
use rustix::fs::{StatVfsMountFlags, fstatvfs};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Initial contents of memories of so many bytes are copied on write from the entry. With less it is quicker to write them to
/// each instance.
const MIN_IMAGE: u64 = 256 << 10;

/// So much more space the contents may take as an image than they have bytes.
const MAX_GAPS: u64 = 16 << 20;

/// An entry of which nothing is damaged.
#[derive(Debug)]
pub(super) struct Entry {
    file: Arc<OwnedFd>,
    sections: Sections,
}

/// What is needed to use a program's text.
#[derive(Serialize, Deserialize)]
struct ProgramInfo {
    module: ModuleInfo,
    /// Where in the section the initial contents of each memory are, and their sizes, if they are not part of what is known about
    /// the module.
    images: Vec<(u64, u64)>,
}

/// What is needed to use the text with which stopped programs go on.
#[derive(Serialize, Deserialize)]
pub(super) struct ResumeInfo {
    /// Function, code offset and word of each entry.
    entries: Vec<(u32, u32, u64)>,
    trampolines: Vec<Trampoline>,
}

/// Maps in an entry.
#[derive(Debug)]
pub(crate) struct StoredMaps {
    file: Arc<OwnedFd>,
    section: Section,
}

impl StoredMaps {
    /// Reads and decodes them.
    pub(crate) fn read(&self) -> Result<Maps, Damage> {
        entry_file::decode(&self.section.read_checked(&self.file)?)
    }
}

/// Writes an entry with a module's program.
pub(super) fn write_program(file: &File, key: &Hash, module: &CompiledModule) -> io::Result<()> {
    let CompiledModule { text, info, maps } = module;
    let pieces = template::initial_pieces(&info.initial, info.memories.len());
    let (memories, images) = image(&pieces).unwrap_or_else(|| (Image::empty(), Vec::new()));
    let mut module = info.clone();
    if !images.is_empty() {
        module.initial.memory.clear();
    }
    let info = encoded(&ProgramInfo { module, images })?;
    entry_file::write(file, key, &Contents { text, memories, info, maps: encoded(maps)? })
}

/// Writes an entry with text for going on.
pub(super) fn write_resume(file: &File, key: &Hash, resume: &ResumeText) -> io::Result<()> {
    let entries =
        resume.entries.iter().map(|entry| (entry.point.function, entry.point.code_offset, entry.word));
    let info = ResumeInfo { entries: entries.collect(), trampolines: resume.trampolines.clone() };
    let (text, info, maps) = (&resume.text, encoded(&info)?, encoded(&resume.maps)?);
    entry_file::write(file, key, &Contents { text, memories: Image::empty(), info, maps })
}

pub(super) fn encoded(value: &impl Serialize) -> io::Result<Vec<u8>> {
    entry_file::encode(value).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// All memories behind one another, and where each one is. `None` if that is not worth it.
fn image(memories: &[Vec<Piece>]) -> Option<(Image<'_>, Vec<(u64, u64)>)> {
    let (mut all, mut places, mut total, mut bytes) = (Vec::new(), Vec::new(), 0, 0);
    for pieces in memories {
        let end = pieces.last().map_or(0, |piece| piece.offset + piece.bytes.len() as u64);
        let size = end.next_multiple_of(CHUNK_SIZE);
        bytes += pieces.iter().map(|piece| piece.bytes.len() as u64).sum::<u64>();
        all.extend(pieces.iter().map(|piece| (total + piece.offset, &*piece.bytes)));
        places.push((total, size));
        total += size;
    }
    let pieces =
        move |take: &mut TakePiece<'_>| all.iter().try_for_each(|&(offset, bytes)| take(offset, bytes));
    let image = Image { size: total, pieces: Box::new(pieces) };
    (bytes >= MIN_IMAGE && total <= bytes + MAX_GAPS).then_some((image, places))
}

impl Entry {
    pub(super) fn new(file: File, sections: Sections) -> Self {
        Self { file: Arc::new(file.into()), sections }
    }

    /// The program.
    pub(super) fn program(&self) -> Result<Result<Program, ImageError>, Damage> {
        let ProgramInfo { module, images } = self.info()?;
        let template = match images.is_empty() {
            true => Template::new(&module),
            false => Template::with_base(&module, self.base(&images)?),
        };
        let maps = LazyMaps::stored(StoredMaps { file: Arc::clone(&self.file), section: self.sections.maps });
        let text = match self.text()? {
            Ok(text) => text,
            Err(error) => return Ok(Err(error)),
        };
        Ok(template.and_then(|template| Program::with_parts(text, module, template, maps)))
    }

    /// The program with the text added to it.
    pub(super) fn extend(&self, base: &Program) -> Result<Result<Program, ImageError>, Damage> {
        let info: ResumeInfo = self.info()?;
        let maps = entry_file::decode(&self.sections.maps.read(&self.file)?)?;
        let entries = info.entries.into_iter().map(|(function, code_offset, word)| ResumeEntry {
            point: ResumePoint { function, code_offset },
            word,
        });
        Ok(self.text()?.and_then(|text| base.extend_with(text, entries.collect(), info.trampolines, maps)))
    }

    /// The text, for processes to map from the file if that can be executed from.
    fn text(&self) -> Result<Result<Text, ImageError>, Damage> {
        let section = &self.sections.text;
        let flags = fstatvfs(&self.file).map_err(|_| Damage::Unreadable)?.f_flag;
        if flags.contains(StatVfsMountFlags::NOEXEC) {
            return Ok(Text::new(&section.read(&self.file)?));
        }
        Ok(Ok(Text::in_file(Arc::clone(&self.file), section.size())))
    }

    /// The information, decoded.
    pub(super) fn info<T: DeserializeOwned>(&self) -> Result<T, Damage> {
        entry_file::decode(&self.sections.info.read(&self.file)?)
    }

    /// Memories of which each one is somewhere in the section.
    pub(super) fn base(&self, places: &[(u64, u64)]) -> Result<Base, Damage> {
        let section = self.sections.memories.range();
        let part = |&(start, size): &(u64, u64)| {
            let end = start.checked_add(size)?;
            let fits = end <= section.end - section.start
                && start.is_multiple_of(CHUNK_SIZE)
                && size.is_multiple_of(CHUNK_SIZE);
            fits.then_some(BasePart { offset: section.start + start, size })
        };
        let parts = places.iter().map(part).collect::<Option<_>>().ok_or(Damage::Contents)?;
        Ok(Base::with_parts(Arc::clone(&self.file), parts))
    }
}
