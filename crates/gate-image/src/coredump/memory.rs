//! The data section: what is in memories.

use super::{CoreDumpError, CoreMemory};
use std::io::Write;
use std::ops::Range;
use wasm_encoder::{ConstExpr, Encode};

/// Memory is read in pieces of this size.
const PIECE: usize = 64 << 10;

/// Zeros are left out in units of this size: that of the pages of which files know whether they have been written.
const BLOCK: u64 = 4096;

/// Greatest number of segments. Other tools read no modules with more than 100,000.
const MAX_SEGMENTS: usize = 90_000;

/// What becomes a data segment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    memory: u32,
    range: Range<u64>,
}

/// Writes the section.
pub(super) fn write(memories: &[CoreMemory<'_>], out: &mut dyn Write) -> Result<(), CoreDumpError> {
    let mut runs = Vec::new();
    for (index, memory) in memories.iter().enumerate() {
        find_runs(index as u32, memory, &mut runs)?;
    }
    let runs = merge(runs, MAX_SEGMENTS);

    let mut head = Vec::new();
    runs.len().encode(&mut head);
    let content = |run: &Run| {
        segment_head(run, memories[run.memory as usize].memory64).len() as u64
            + (run.range.end - run.range.start)
    };
    let size = head.len() as u64 + runs.iter().map(content).sum::<u64>();
    let size = CoreDumpError::check_size("data", size)?;
    let mut section = vec![wasm_encoder::SectionId::Data as u8];
    size.encode(&mut section);
    section.extend(head);
    out.write_all(&section).map_err(CoreDumpError::Write)?;

    let mut buf = vec![0; PIECE];
    for run in runs {
        let memory = &memories[run.memory as usize];
        out.write_all(&segment_head(&run, memory.memory64)).map_err(CoreDumpError::Write)?;
        for piece in pieces(run.range) {
            let buf = &mut buf[..(piece.end - piece.start) as usize];
            memory.contents.read(piece.start, buf).map_err(CoreDumpError::Read)?;
            out.write_all(buf).map_err(CoreDumpError::Write)?;
        }
    }
    Ok(())
}

/// Finds what is not zero.
fn find_runs(index: u32, memory: &CoreMemory<'_>, runs: &mut Vec<Run>) -> Result<(), CoreDumpError> {
    let mut buf = vec![0; PIECE];
    for data in memory.contents.extents().map_err(CoreDumpError::Read)? {
        for piece in pieces(data.start..data.end.min(memory.size)) {
            let buf = &mut buf[..(piece.end - piece.start) as usize];
            memory.contents.read(piece.start, buf).map_err(CoreDumpError::Read)?;
            let mut addr = piece.start;
            for block in buf.chunks(BLOCK as usize) {
                let end = addr + block.len() as u64;
                if block.iter().any(|&byte| byte != 0) {
                    add(runs, index, addr..end);
                }
                addr = end;
            }
        }
    }
    Ok(())
}

fn add(runs: &mut Vec<Run>, memory: u32, range: Range<u64>) {
    match runs.last_mut() {
        Some(last) if last.memory == memory && last.range.end == range.start => last.range.end = range.end,
        _ => runs.push(Run { memory, range }),
    }
}

/// Joins runs until there are not too many: those first between which are the fewest zeros.
fn merge(mut runs: Vec<Run>, most: usize) -> Vec<Run> {
    let mut gap = BLOCK;
    // Runs of different memories cannot be joined, but there are few memories.
    while runs.len() > most && gap < 1 << 33 {
        runs.dedup_by(|next, run| {
            let joined = run.memory == next.memory && next.range.start - run.range.end <= gap;
            if joined {
                run.range.end = next.range.end;
            }
            joined
        });
        gap *= 2;
    }
    runs
}

/// What is in front of a segment's bytes.
fn segment_head(run: &Run, memory64: bool) -> Vec<u8> {
    let mut head = Vec::new();
    match run.memory {
        0 => head.push(0),
        memory => {
            head.push(2);
            memory.encode(&mut head);
        }
    }
    // Addresses are unsigned, constants are signed.
    let offset = match memory64 {
        true => ConstExpr::i64_const(run.range.start as i64),
        false => ConstExpr::i32_const(run.range.start as i32),
    };
    offset.encode(&mut head);
    ((run.range.end - run.range.start) as usize).encode(&mut head);
    head
}

fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let Range { start, end } = range;
    (start..end).step_by(PIECE).map(move |addr| addr..end.min(addr + PIECE as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(memory: u32, range: Range<u64>) -> Run {
        Run { memory, range }
    }

    #[test]
    fn small_gaps_are_closed_first() {
        let runs = vec![run(0, 0..4096), run(0, 8192..12288), run(0, 40960..45056), run(1, 45056..49152)];
        assert_eq!(merge(runs.clone(), 4), runs);
        let three = vec![run(0, 0..12288), run(0, 40960..45056), run(1, 45056..49152)];
        assert_eq!(merge(runs.clone(), 3), three);
        assert_eq!(merge(runs, 2), [run(0, 0..45056), run(1, 45056..49152)]);
    }

    #[test]
    fn touching_blocks_make_one_run() {
        let mut runs = Vec::new();
        for (memory, range) in [(0, 0..4096), (0, 4096..8192), (1, 8192..12288), (1, 16384..20480)] {
            add(&mut runs, memory, range);
        }
        assert_eq!(runs, [run(0, 0..8192), run(1, 8192..12288), run(1, 16384..20480)]);
    }
}
