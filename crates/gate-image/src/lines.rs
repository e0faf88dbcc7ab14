//! Places in a program's source code.
//!
//! Toolchains put [DWARF] for WebAssembly into custom sections named `.debug_*`; its addresses are offsets in the code
//! section's contents. The module comes from anybody, so that nothing is believed: what contradicts itself has no
//! place in the source, and a search ends when its time is over.
//!
//! [DWARF]: https://dwarfstd.org

mod functions;
mod unit;

use crate::text::one_line;
use gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, Instant};
use wasmparser::{Parser, Payload};

/// How long a search may take. Damaged or hostile information is at once small and endless.
const PATIENCE: Duration = Duration::from_secs(2);

/// Largest section of abbreviations that is read. They become some twenty times as large in memory.
const MAX_ABBREVIATIONS: usize = 16 << 20;

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// The debugging information of a module.
#[derive(Debug)]
pub struct Lines<'a> {
    dwarf: Dwarf<Bytes<'a>>,
    /// Where in the module the code section's contents begin.
    code_start: u64,
}

/// A function of the source code which an instruction belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceFrame {
    /// Name of the function, qualified and demangled where possible. On one line.
    pub function: Option<String>,
    /// Where in the function.
    pub place: Option<SourcePlace>,
}

/// A place in the source code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourcePlace {
    /// Path of the file as the compiler has known it. On one line.
    pub file: String,
    /// Line number, from 1.
    pub line: u64,
    /// Column, from 1, if it is known.
    pub column: Option<u64>,
}

impl fmt::Display for SourcePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        match self.column {
            Some(column) => write!(f, ":{column}"),
            None => Ok(()),
        }
    }
}

impl<'a> Lines<'a> {
    /// Finds the sections of debugging information. Returns `None` if there are none that could be used.
    ///
    /// They are read when something is looked for.
    pub fn new(wasm: &'a [u8]) -> Option<Self> {
        let mut sections = HashMap::new();
        let mut code_start = None;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.ok()? {
                Payload::CodeSectionStart { unchecked_range, .. } => code_start = Some(unchecked_range.start),
                Payload::CustomSection(section) if section.name().starts_with(".debug_") => {
                    // The first one of a name: there should be no others.
                    sections.entry(section.name()).or_insert(section.data());
                }
                _ => {}
            }
        }
        if sections.get(".debug_abbrev").is_none_or(|section| section.len() > MAX_ABBREVIATIONS) {
            return None;
        }
        let section = |id: SectionId| {
            Ok::<_, gimli::Error>(Bytes::new(
                sections.get(id.name()).copied().unwrap_or_default(),
                LittleEndian,
            ))
        };
        Some(Self { dwarf: Dwarf::load(section).ok()?, code_start: code_start? })
    }

    /// Finds where instructions come from, by their offsets in the module.
    ///
    /// For each that is known, the functions which it belongs to are returned: the innermost first, then those into which
    /// it was inlined. The search takes a few seconds at most; what has not been found by then is taken for unknown.
    pub fn find(&self, code_offsets: &BTreeSet<u32>) -> BTreeMap<u32, Vec<SourceFrame>> {
        self.find_until(code_offsets, Instant::now() + PATIENCE)
    }

    fn find_until(&self, code_offsets: &BTreeSet<u32>, deadline: Instant) -> BTreeMap<u32, Vec<SourceFrame>> {
        let addresses =
            code_offsets.iter().filter_map(|&offset| u64::from(offset).checked_sub(self.code_start));
        let mut search =
            Search { wanted: addresses.collect(), found: BTreeMap::new(), clock: Clock::new(deadline) };
        // What was found until then is true all the same.
        let _ = unit::search(&self.dwarf, &mut search);
        let found = search.found.into_iter();
        found
            .filter_map(|(address, frames)| Some((u32::try_from(address + self.code_start).ok()?, frames)))
            .collect()
    }
}

/// What is looked for, and what was found.
struct Search {
    /// Addresses that have not been found.
    wanted: BTreeSet<u64>,
    found: BTreeMap<u64, Vec<SourceFrame>>,
    clock: Clock,
}

/// Ends a search that takes too long.
struct Clock {
    deadline: Instant,
    steps: u32,
}

/// The end of a search, or of a part of it.
#[derive(Debug)]
enum Stop {
    /// The information is damaged.
    Damaged,
    /// The time is over.
    TooLong,
}

impl From<gimli::Error> for Stop {
    fn from(_: gimli::Error) -> Self {
        Self::Damaged
    }
}

impl Clock {
    fn new(deadline: Instant) -> Self {
        Self { deadline, steps: 0 }
    }

    /// To be called for each small piece of work.
    fn step(&mut self) -> Result<(), Stop> {
        self.steps = self.steps.wrapping_add(1);
        // Looking at the time takes longer than most steps.
        if self.steps.is_multiple_of(1024) { self.check() } else { Ok(()) }
    }

    /// To be called for each piece of work that may be large.
    fn check(&self) -> Result<(), Stop> {
        if Instant::now() < self.deadline { Ok(()) } else { Err(Stop::TooLong) }
    }
}

/// Bytes as text on one line.
fn text(bytes: Bytes<'_>) -> String {
    one_line(&bytes.to_string_lossy())
}
