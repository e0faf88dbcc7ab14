//! How to make a module of its snapshot again.

use super::Problem;
use crate::leb::{self, Cursor};
use blake3::Hasher;

/// Most steps that are read. A module has some ten sections that can change.
const MAX_STEPS: u32 = 1000;

/// What to do with the bytes of a snapshot behind its first section: these steps in order, and then nothing with the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Edits {
    steps: Vec<Step>,
}

/// `copy` bytes belong to the module; then come bytes of the module which are not in the snapshot; then `skip` bytes don't
/// belong to the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Step {
    copy: u64,
    insert: Vec<u8>,
    skip: u64,
}

impl Edits {
    /// The next bytes belong to the module.
    pub(super) fn copy(&mut self, size: u64) {
        match self.steps.last_mut() {
            Some(step) if step.insert.is_empty() && step.skip == 0 => step.copy += size,
            _ => self.steps.push(Step { copy: size, ..Step::default() }),
        }
    }

    /// The next bytes are there instead of some of the module's.
    pub(super) fn replace(&mut self, size: u64, original: &[u8]) {
        if self.steps.is_empty() {
            self.steps.push(Step::default());
        }
        if let Some(step) = self.steps.last_mut() {
            step.insert.extend_from_slice(original);
            step.skip += size;
        }
    }

    pub(super) fn encode(&self, buf: &mut Vec<u8>) {
        leb::push(buf, self.steps.len() as u64);
        for step in &self.steps {
            leb::push(buf, step.copy);
            leb::push(buf, step.insert.len() as u64);
            buf.extend_from_slice(&step.insert);
            leb::push(buf, step.skip);
        }
    }

    pub(super) fn decode(cursor: &mut Cursor<'_>) -> Option<Self> {
        let count = cursor.u32().filter(|&count| count <= MAX_STEPS)?;
        let mut edits = Self::default();
        for _ in 0..count {
            let copy = cursor.u64()?;
            let size = cursor.u32()? as usize;
            let insert = cursor.take(size)?.to_vec();
            let skip = cursor.u64()?;
            edits.steps.push(Step { copy, insert, skip });
        }
        Some(edits)
    }
}

/// Makes the module again while the snapshot is read.
#[derive(Debug)]
pub(super) struct Rebuilder {
    /// Steps to be done, in reverse order. The last one is the current one.
    steps: Vec<Step>,
    module: Vec<u8>,
    size: u64,
}

impl Rebuilder {
    /// Makes a module of the given size.
    pub(super) fn new(mut edits: Edits, size: u64) -> Result<Self, Problem> {
        edits.steps.reverse();
        let mut rebuilder = Self { steps: edits.steps, module: super::HEADER.to_vec(), size };
        rebuilder.settle()?;
        Ok(rebuilder)
    }

    /// Whether the next byte belongs to the module, and so many after it. Zero if it does not.
    pub(super) fn copied(&self) -> u64 {
        self.steps.last().map_or(0, |step| step.copy)
    }

    /// Whether nothing of what comes belongs to the module.
    pub(super) fn is_at_end(&self) -> bool {
        self.steps.is_empty()
    }

    /// Takes the next bytes of the snapshot.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Problem> {
        while !bytes.is_empty() {
            let Some(step) = self.steps.last_mut() else { return Ok(()) };
            let part = step.copy.min(bytes.len() as u64) as usize;
            step.copy -= part as u64;
            let (copied, rest) = bytes.split_at(part);
            let skipped = match step.copy {
                0 => step.skip.min(rest.len() as u64),
                _ => 0,
            };
            step.skip -= skipped;
            bytes = &rest[skipped as usize..];
            self.push(copied)?;
            self.settle()?;
        }
        Ok(())
    }

    /// The module, if it is the right one.
    pub(super) fn finish(self, hash: &[u8; 32]) -> Result<Vec<u8>, Problem> {
        if !self.is_at_end() || self.module.len() as u64 != self.size {
            let (number, expected) = (self.module.len() as u64, self.size);
            return Err(Problem::Number { what: "size of the module", number, expected });
        }
        match Hasher::new().update(&self.module).finalize().as_bytes() == hash {
            true => Ok(self.module),
            false => Err(Problem::Hash),
        }
    }

    /// Inserts what is to be inserted here, and leaves steps that are done.
    fn settle(&mut self) -> Result<(), Problem> {
        while let Some(step) = self.steps.last_mut() {
            if step.copy > 0 {
                break;
            }
            let insert = std::mem::take(&mut step.insert);
            let done = step.skip == 0;
            self.push(&insert)?;
            if !done {
                break;
            }
            self.steps.pop();
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let number = self.module.len() as u64 + bytes.len() as u64;
        if number > self.size {
            let expected = self.size;
            return Err(Problem::Number { what: "size of the module", number, expected });
        }
        self.module.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_edited_is_rebuilt_however_it_is_fed() {
        let mut edits = Edits::default();
        edits.replace(2, b"ab");
        edits.copy(3);
        edits.copy(1);
        edits.replace(1, b"");
        edits.replace(0, b"xyz");
        edits.copy(2);
        let snapshot = b"--CDEF-GHtail";
        let module = [&super::super::HEADER[..], b"abCDEFxyzGH"].concat();
        let mut buf = Vec::new();
        edits.encode(&mut buf);
        let edits = Edits::decode(&mut Cursor::new(&buf)).unwrap();
        for piece in 1..=snapshot.len() {
            let mut rebuilder = Rebuilder::new(edits.clone(), module.len() as u64).unwrap();
            for bytes in snapshot.chunks(piece) {
                rebuilder.feed(bytes).unwrap();
            }
            let hash = blake3::hash(&module);
            assert_eq!(rebuilder.finish(hash.as_bytes()).unwrap(), module);
        }
        let mut rebuilder = Rebuilder::new(edits.clone(), module.len() as u64 - 1).unwrap();
        assert!(rebuilder.feed(snapshot).is_err());
        let mut rebuilder = Rebuilder::new(edits, module.len() as u64).unwrap();
        rebuilder.feed(&snapshot[..5]).unwrap();
        assert!(rebuilder.finish(blake3::hash(&module).as_bytes()).is_err());
    }
}
