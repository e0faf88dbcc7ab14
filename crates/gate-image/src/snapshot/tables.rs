//! Which elements of tables a snapshot has to hold.

use super::{Problem, SnapshotError, overlay};
use crate::exceptions::is_of_type;
use crate::instance::{ELEMENTS_AT_ONCE, Region};
use crate::program::Program;
use gate_compiler::{ValType, Value};

/// Most elements of all tables together that a snapshot holds.
pub(super) const MAX_ELEMENTS: u64 = 10_000_000;

/// Elements which are so close are in one segment.
const GAP: u32 = 4;

/// Elements of a table which differ from those of a new instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ElementPiece {
    pub(super) table: u32,
    pub(super) start: u32,
    /// Zero for null, else the number plus one.
    pub(super) elements: Vec<u32>,
}

/// What is in the tables.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Number of elements of each.
    pub(super) sizes: Vec<u32>,
    /// What differs, in order.
    pub(super) pieces: Vec<ElementPiece>,
}

impl Tables {
    pub(super) fn read(program: &Program, region: Region<'_>) -> Result<Self, SnapshotError> {
        let mut tables = Self::default();
        let info = program.info();
        let mut count = 0;
        for (index, table) in (0..).zip(&info.tables) {
            let size = region.table_size(table)?;
            tables.sizes.push(size);
            let first = tables.pieces.len();
            let mut start = 0;
            while start < size {
                let part = (size - start).min(ELEMENTS_AT_ONCE as u32);
                let current = region.elements(table, start, part as usize)?;
                let mut original = vec![0; 4 * part as usize];
                let offset = u64::from(info.layout.instance_size) - u64::from(table.distance);
                // What is added to a table has no first value; but it has one in a module with the table's new size.
                for at in start.max(table.min)..start + part {
                    let place = 4 * (at - start) as usize;
                    original[place..place + 4].copy_from_slice(&table.initial.to_le_bytes());
                }
                overlay(&program.template().instance, offset + 4 * u64::from(start), &mut original);
                let original = original.as_chunks().0.iter().map(|&element| u32::from_le_bytes(element));
                for ((at, &current), original) in (start..).zip(&current).zip(original) {
                    let functions = info.functions.len();
                    if table.ty.general() == ValType::FuncRef && current as usize > functions {
                        let (function, count) = (current - 1, functions);
                        return Err(SnapshotError::Unfit(Problem::Reference { function, count }));
                    }
                    if current == original {
                        continue;
                    }
                    if !is_of_type(Value::from_slot(table.ty, current.into()), table.ty, info) {
                        let (what, index, expected) = ("an element of table", index, table.ty);
                        return Err(SnapshotError::Unfit(Problem::ReferenceType { what, index, expected }));
                    }
                    count += tables.add(first, index, at, current, |at| {
                        Ok::<_, SnapshotError>(region.elements(table, at, 1)?[0])
                    })?;
                    if count > MAX_ELEMENTS {
                        let (what, number, max) =
                            ("number of table elements that changed", count, MAX_ELEMENTS);
                        return Err(SnapshotError::Unfit(Problem::Limit { what, number, max }));
                    }
                }
                start += part;
            }
        }
        Ok(tables)
    }

    /// Adds an element, and those between it and the last one if they are few. Returns how many.
    fn add<E>(
        &mut self,
        first: usize,
        table: u32,
        at: u32,
        element: u32,
        current: impl Fn(u32) -> Result<u32, E>,
    ) -> Result<u64, E> {
        if let Some(last) = self.pieces[first..].last_mut() {
            let end = last.start + last.elements.len() as u32;
            if at - end <= GAP {
                for between in end..at {
                    last.elements.push(current(between)?);
                }
                last.elements.push(element);
                return Ok(u64::from(at - end) + 1);
            }
        }
        self.pieces.push(ElementPiece { table, start: at, elements: vec![element] });
        Ok(1)
    }
}
