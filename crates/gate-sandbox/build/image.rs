//! Taking a program's image out of the linker's output.

use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, elf};
use std::error::Error;

/// Sections which the dynamic linker would want, if there were one.
const LINKING_DATA: &[&str] = &[".dynamic", ".dynsym", ".dynstr", ".hash", ".gnu.hash", ".interp"];

/// The bytes of a program that is code and constants only, and runs at any address; its symbols are relative to `start`.
///
/// # Errors
///
/// If it is not such a program, says what is in the way.
pub(crate) fn extract(name: &str, linked: &[u8], start: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let file: ElfFile64<'_> = ElfFile64::parse(linked)?;

    if let Some(relocations) = file.dynamic_relocations() {
        let places: Vec<String> = relocations.map(|(place, _)| describe(&file, place)).collect();
        if !places.is_empty() {
            return Err(format!("{name} has absolute addresses: {}", places.join(", ")).into());
        }
    }
    for section in file.sections() {
        let section_name = section.name()?;
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
        let in_memory = sh_flags.contains(elf::SHF_ALLOC) && section.size() > 0;
        if in_memory && section_name != ".image" && !LINKING_DATA.contains(&section_name) {
            return Err(format!("{name} has a section {section_name} of {} bytes", section.size()).into());
        }
    }

    let image = file.section_by_name(".image").ok_or_else(|| format!("{name} has no image"))?;
    if image.address() != start as u64 || file.entry() != image.address() {
        return Err(format!("{name} does not start at its first byte, {start:#x}").into());
    }
    Ok(image.data()?.to_vec())
}

/// Appends zeros up to a multiple of the size.
pub(crate) fn pad(mut image: Vec<u8>, size: usize) -> Vec<u8> {
    image.resize(image.len().next_multiple_of(size), 0);
    image
}

/// Names the place as well as possible.
fn describe(file: &ElfFile64<'_>, place: u64) -> String {
    let symbol = file
        .symbols()
        .filter(|s| s.address() <= place && place < s.address() + s.size().max(1))
        .find_map(|s| s.name().ok().map(str::to_owned));
    format!("{place:#x} in {}", symbol.as_deref().unwrap_or("an unnamed constant"))
}
