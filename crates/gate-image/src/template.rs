//! Initial contents of a new instance, worked out once per program.

use crate::error::ImageError;
use crate::extents;
use crate::fork::{Base, BasePart};
use crate::memfd;
use gate_compiler::{InitialState, ModuleInfo};
use gate_wire::{PAGE_SIZE, WASM_PAGE_SIZE};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

const PAGE: usize = PAGE_SIZE as usize;

/// How much of a base is read at a time, in bytes.
const READ_SIZE: u64 = 256 << 10;

/// What is written to a new instance's state file: as few and as short pieces as possible, and no zero pages.
#[derive(Debug)]
pub(crate) struct Template {
    /// Pieces of the instance region, ascending.
    pub(crate) instance: Vec<Piece>,
    /// Pieces of each linear memory, ascending. If there is a base, they are read from it when they are needed.
    memories: OnceLock<Vec<Vec<Piece>>>,
    base: Option<Arc<Base>>,
}

/// Bytes that go together.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Where they go, from the start of the region or memory.
    pub(crate) offset: u64,
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
}

impl Template {
    /// Puts together the initial state of the module's instances.
    ///
    /// Fails if it refers to places that do not exist.
    pub(crate) fn new(info: &ModuleInfo) -> Result<Self, ImageError> {
        let instance = instance_pieces(info)?;
        Ok(Self { instance, memories: OnceLock::from(memory_pieces(info)?), base: None })
    }

    /// The same with the initial contents of memories in a file.
    pub(crate) fn with_base(info: &ModuleInfo, base: Base) -> Result<Self, ImageError> {
        let parts = base.parts().iter();
        let fits = |(part, memory): (&BasePart, &gate_compiler::MemoryInfo)| {
            part.size <= memory.min_pages.saturating_mul(WASM_PAGE_SIZE)
        };
        let is_whole = base.parts().len() == info.memories.len();
        if !is_whole || !parts.zip(&info.memories).all(fits) || !info.initial.memory.is_empty() {
            return Err(ImageError::image("initial contents of memories"));
        }
        let instance = instance_pieces(info)?;
        Ok(Self { instance, memories: OnceLock::new(), base: Some(Arc::new(base)) })
    }

    /// A file with the initial contents of memories, which need not be written then.
    pub(crate) fn base(&self) -> Option<&Arc<Base>> {
        self.base.as_ref()
    }

    /// Pieces of each linear memory, ascending.
    pub(crate) fn memories(&self) -> Result<&[Vec<Piece>], ImageError> {
        if let (None, Some(base)) = (self.memories.get(), &self.base) {
            let pieces = base.parts().iter().map(|part| read_pieces(base, part)).collect::<Result<_, _>>();
            let pieces = pieces.map_err(ImageError::system("read the initial contents of memories"))?;
            let _ = self.memories.set(pieces);
        }
        Ok(self.memories.get().map_or(&[], Vec::as_slice))
    }
}

/// The initial contents of memories, worked out from the module's.
pub(crate) fn initial_pieces(initial: &InitialState, memories: usize) -> Vec<Vec<Piece>> {
    let mut pages: Vec<Pages> = (0..memories).map(|_| Pages::default()).collect();
    for item in &initial.memory {
        if let Some(pages) = pages.get_mut(item.memory as usize) {
            pages.write(item.offset, &item.bytes);
        }
    }
    pages.into_iter().map(Pages::into_pieces).collect()
}

fn instance_pieces(info: &ModuleInfo) -> Result<Vec<Piece>, ImageError> {
    let instance_size = u64::from(info.layout.instance_size);
    let mut instance = Pages::default();
    for item in &info.initial.instance {
        let len = item.bytes.len() as u64;
        let offset = instance_size
            .checked_sub(item.distance.into())
            .filter(|_| len <= item.distance.into())
            .ok_or(ImageError::image("initial data is outside the instance region"))?;
        instance.write(offset, &item.bytes);
    }
    Ok(instance.into_pieces())
}

fn memory_pieces(info: &ModuleInfo) -> Result<Vec<Vec<Piece>>, ImageError> {
    for item in &info.initial.memory {
        let memory = info.memories.get(item.memory as usize);
        let size = memory.map(|memory| memory.min_pages.saturating_mul(WASM_PAGE_SIZE));
        let end = item.offset.checked_add(item.bytes.len() as u64);
        if size.zip(end).is_none_or(|(size, end)| end > size) {
            return Err(ImageError::image("initial data is outside its memory"));
        }
    }
    Ok(initial_pieces(&info.initial, info.memories.len()))
}

/// What of a memory in a base is not zero.
fn read_pieces(base: &Base, part: &BasePart) -> Result<Vec<Piece>, Errno> {
    let mut pages = Pages::default();
    let mut buf = vec![0; READ_SIZE.min(part.size) as usize];
    let mut rest = part.offset..part.offset + part.size;
    while let Some(data) = extents::next_data(base.file(), rest.clone())? {
        let end = data.end.min(data.start + READ_SIZE);
        let buf = &mut buf[..(end - data.start) as usize];
        memfd::read_exact(base.file(), buf, data.start)?;
        pages.write(data.start - part.offset, buf);
        rest.start = end;
    }
    Ok(pages.into_pieces())
}

/// Sparse contents of a region: later writes go over earlier ones.
#[derive(Default)]
struct Pages {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl Pages {
    fn write(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (page, start) = (offset / PAGE_SIZE, (offset % PAGE_SIZE) as usize);
            let (head, tail) = bytes.split_at(bytes.len().min(PAGE - start));
            // What was never written is zero already.
            if self.pages.contains_key(&page) || head.iter().any(|&b| b != 0) {
                let contents = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE]));
                contents[start..start + head.len()].copy_from_slice(head);
            }
            offset += head.len() as u64;
            bytes = tail;
        }
    }

    fn into_pieces(self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for (page, contents) in self.pages {
            let Some(first) = contents.iter().position(|&b| b != 0) else { continue };
            let end = PAGE - contents.iter().rev().take_while(|&&b| b == 0).count();
            let offset = page * PAGE_SIZE + first as u64;
            match pieces.last_mut() {
                // It ends within the page before this one.
                Some(last) if last.offset + last.bytes.len() as u64 + PAGE_SIZE > page * PAGE_SIZE => {
                    last.bytes.resize((offset - last.offset) as usize, 0);
                    last.bytes.extend_from_slice(&contents[first..end]);
                }
                _ => pieces.push(Piece { offset, bytes: contents[first..end].to_vec() }),
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(writes: &[(u64, &[u8])]) -> Vec<(u64, Vec<u8>)> {
        let mut pages = Pages::default();
        for (offset, bytes) in writes {
            pages.write(*offset, bytes);
        }
        pages.into_pieces().into_iter().map(|p| (p.offset, p.bytes)).collect()
    }

    #[test]
    fn later_writes_win_even_with_zeros() {
        assert_eq!(pieces(&[(10, &[1, 2, 3]), (11, &[0])]), [(10, vec![1, 0, 3])]);
        assert_eq!(pieces(&[(10, &[1]), (10, &[0])]), []);
    }

    #[test]
    fn zero_pages_are_left_out() {
        let mut data = vec![0; 10 * PAGE];
        data[5 * PAGE] = 7;
        assert_eq!(pieces(&[(0, &data)]), [(5 * PAGE_SIZE, vec![7])]);
    }

    #[test]
    fn neighbours_are_merged() {
        let data = vec![3; 2 * PAGE];
        assert_eq!(pieces(&[(100, &data)]), [(100, data)]);
        assert_eq!(pieces(&[(0, &[1]), (100, &[2])]).len(), 1);
        assert_eq!(pieces(&[(0, &[1]), (9000, &[2])]).len(), 2);
    }
}
