//! What is in an instance region, whatever its layout.

use super::{Instance, RebaseError};
use crate::error::{ImageError, InstanceError, ProgramError};
use crate::exceptions::{Exception, Exceptions};
use crate::extents;
use crate::memfd;
use crate::program::Program;
use crate::state::{MAX_REGIONS, State};
use gate_compiler::{ExceptionsInfo, TableInfo, ValType, Value};
use gate_wire::context::{Context, ExceptionDesc, ExceptionHead, TableDesc};
use gate_wire::load::STATE_FILE_STRIDE;
use rustix::fs::{FallocateFlags, fallocate};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};

/// An instance region in a state file, or in a copy of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region<'a> {
    program: &'a Program,
    file: BorrowedFd<'a>,
}

impl<'a> Region<'a> {
    pub(crate) fn new(program: &'a Program, file: BorrowedFd<'a>) -> Self {
        Self { program, file }
    }

    /// Values of the globals.
    pub(crate) fn globals(self) -> Result<Vec<Value>, ImageError> {
        let globals = &self.program.info().globals;
        globals.iter().map(|global| self.value(global.distance, global.ty)).collect()
    }

    /// Sets the globals, whose types must be right.
    pub(crate) fn set_globals(self, values: &[Value]) -> Result<(), ImageError> {
        for (global, value) in self.program.info().globals.iter().zip(values) {
            let slot = value.to_slot().to_le_bytes();
            self.write(global.distance, &slot[..global.ty.slot_size() as usize])?;
        }
        Ok(())
    }

    /// Current number of elements of a table. The program says how many, so that it is bounded to what can be true.
    pub(crate) fn table_size(self, table: &TableInfo) -> Result<u32, ImageError> {
        let mut size = [0; 4];
        self.read(table.desc_distance - std::mem::offset_of!(TableDesc, size) as u32, &mut size)?;
        Ok(u32::from_le_bytes(size).clamp(table.min, table.max))
    }

    /// Sets the number of elements, unless there cannot be so many.
    pub(crate) fn set_table_size(self, table: &TableInfo, size: u32) -> Result<(), ImageError> {
        if !(table.min..=table.max).contains(&size) {
            return Err(ImageError::image("size of a table"));
        }
        let mut desc = [0; size_of::<TableDesc>()];
        desc[..8].copy_from_slice(&u64::from(table.distance).to_le_bytes());
        desc[8..12].copy_from_slice(&size.to_le_bytes());
        desc[12..].copy_from_slice(&table.max.to_le_bytes());
        self.write(table.desc_distance, &desc)
    }

    /// Copies elements of a table, as they are there: zero, or the function's index plus one.
    pub(crate) fn elements(
        self,
        table: &TableInfo,
        start: u32,
        count: usize,
    ) -> Result<Vec<u32>, ImageError> {
        let mut bytes = vec![0; count * 4];
        let offset = STATE_FILE_STRIDE - u64::from(table.distance) + 4 * u64::from(start);
        memfd::read_exact(self.file, &mut bytes, offset).map_err(ImageError::system("read a table"))?;
        Ok(bytes.as_chunks().0.iter().map(|&element| u32::from_le_bytes(element)).collect())
    }

    /// Sets elements of a table, which must be there.
    pub(crate) fn set_elements(
        self,
        table: &TableInfo,
        start: u32,
        elements: &[u32],
    ) -> Result<(), ImageError> {
        let bytes: Vec<u8> = elements.iter().flat_map(|element| element.to_le_bytes()).collect();
        let offset = STATE_FILE_STRIDE - u64::from(table.distance) + 4 * u64::from(start);
        memfd::write_all(self.file, &bytes, offset).map_err(ImageError::system("write a table"))
    }

    /// Parts of a table's first `size` elements outside of which all are null, in order. They may overlap.
    pub(crate) fn element_ranges(self, table: &TableInfo, size: u32) -> Result<Vec<Range<u32>>, ImageError> {
        let start = STATE_FILE_STRIDE - u64::from(table.distance);
        let mut rest = start..start + 4 * u64::from(size);
        let mut ranges = Vec::new();
        while let Some(data) =
            extents::next_data(self.file, rest.clone()).map_err(ImageError::system("look for elements"))?
        {
            let first = (data.start - start) / 4;
            let end = (data.end - start).div_ceil(4);
            ranges.push(first as u32..end as u32);
            rest.start = data.end;
        }
        Ok(ranges)
    }

    /// An exception, as it is there. `None` if there cannot be such a record, or it is free.
    pub(crate) fn exception(
        self,
        info: &ExceptionsInfo,
        number: u32,
    ) -> Result<Option<Exception>, ImageError> {
        if number == 0 || number >= info.capacity {
            return Ok(None);
        }
        let mut record = vec![0; info.record_size as usize];
        self.read(info.distance - number * info.record_size, &mut record)?;
        let (head, mut values) = record.split_at(size_of::<ExceptionHead>());
        let tag = head.first_chunk().map_or(0, |tag| u32::from_le_bytes(*tag));
        let Some(tag) = tag.checked_sub(1) else { return Ok(None) };
        let signature = info.tags.get(tag as usize);
        let signature = signature.and_then(|&ty| self.program.info().signatures.get(ty as usize));
        let Some(signature) = signature else { return Ok(None) };
        let values = signature.ty.params.iter().map(|&ty| {
            let (slot, rest) = values.split_at_checked(ty.slot_size() as usize)?;
            values = rest;
            let mut bytes = [0; 16];
            bytes[..slot.len()].copy_from_slice(slot);
            Some(Value::from_slot(ty, u128::from_le_bytes(bytes)))
        });
        Ok(values.collect::<Option<_>>().map(|values| Exception { tag, values }))
    }

    /// Sets the exceptions of an instance that has none yet.
    pub(crate) fn set_exceptions(self, exceptions: &Exceptions) -> Result<(), ImageError> {
        let Some(info) = self.program.info().exceptions.as_ref().filter(|_| exceptions.len() > 0) else {
            return Ok(());
        };
        for (number, exception) in (1..).zip(exceptions.iter()) {
            let mut record = (exception.tag + 1).to_le_bytes().to_vec();
            record.extend([0; 4]);
            for value in &exception.values {
                record.extend(&value.to_slot().to_le_bytes()[..value.ty().slot_size() as usize]);
            }
            self.write(info.distance - number * info.record_size, &record)?;
        }
        let used = info.desc_distance - std::mem::offset_of!(ExceptionDesc, used) as u32;
        self.write(used, &(exceptions.len() + 1).to_le_bytes())
    }

    /// Copies the records of exceptions, and what of their descriptor does not depend on the layout.
    fn copy_exceptions(self, from: Self) -> Result<(), ImageError> {
        let (old, new) = (&from.program.info().exceptions, &self.program.info().exceptions);
        let (Some(old), Some(new)) = (old, new) else { return Ok(()) };
        let mut counts = [0; 12];
        let field = std::mem::offset_of!(ExceptionDesc, used) as u32;
        from.read(old.desc_distance - field, &mut counts)?;
        let used = counts.first_chunk().map_or(0, |used| u32::from_le_bytes(*used));
        if old.record_size != new.record_size || used > new.capacity || used > old.capacity {
            return Err(ImageError::image("there are more exceptions than there can be"));
        }
        let template = &self.program.template().instance;
        let start = u64::from(self.program.info().layout.instance_size) - u64::from(new.desc_distance);
        let mut desc = [0; size_of::<ExceptionDesc>()];
        crate::snapshot::overlay(template, start, &mut desc);
        desc[field as usize..][..counts.len()].copy_from_slice(&counts);
        self.write(new.desc_distance, &desc)?;
        let mut records = vec![0; used as usize * old.record_size as usize];
        from.read(old.distance, &mut records)?;
        self.write(new.distance, &records)
    }

    /// Gives elements of a table from an index on their first value, if that is not null.
    pub(crate) fn initialise_elements(self, table: &TableInfo, from: u32, to: u32) -> Result<(), ImageError> {
        if table.initial == 0 {
            return Ok(());
        }
        for start in (from..to).step_by(ELEMENTS_AT_ONCE) {
            let count = ELEMENTS_AT_ONCE.min((to - start) as usize);
            self.set_elements(table, start, &vec![table.initial; count])?;
        }
        Ok(())
    }

    /// Current lengths of passive segments: zero if they have been dropped.
    pub(crate) fn segment_lengths(self) -> Result<Vec<u32>, ImageError> {
        let lengths = self.program.segment_lengths().iter().map(|&distance| {
            let mut length = [0; 4];
            self.read(distance, &mut length)?;
            Ok(u32::from_le_bytes(length))
        });
        lengths.collect()
    }

    /// Sets the lengths of passive segments.
    pub(crate) fn set_segment_lengths(self, lengths: &[u32]) -> Result<(), ImageError> {
        for (&distance, length) in self.program.segment_lengths().iter().zip(lengths) {
            self.write(distance, &length.to_le_bytes())?;
        }
        Ok(())
    }

    /// Values of the given types in the entry area.
    pub(crate) fn entry_values(self, types: &[ValType]) -> Result<Vec<Value>, ImageError> {
        let mut distance = self.entry_distance(types.iter().copied())?;
        let values = types.iter().map(|&ty| {
            let value = self.value(distance, ty);
            distance -= ty.slot_size();
            value
        });
        values.collect()
    }

    /// Puts values into the entry area.
    pub(crate) fn set_entry_values(self, values: &[Value]) -> Result<(), ImageError> {
        let distance = self.entry_distance(values.iter().map(|value| value.ty()))?;
        let mut slots = Vec::with_capacity(values.len() * 8);
        for value in values {
            slots.extend_from_slice(&value.to_slot().to_le_bytes()[..value.ty().slot_size() as usize]);
        }
        self.write(distance, &slots)
    }

    /// Where the entry area is, which must have space for values of the types.
    fn entry_distance(self, types: impl Iterator<Item = ValType>) -> Result<u32, ImageError> {
        let layout = &self.program.info().layout;
        let size: u64 = types.map(|ty| u64::from(ty.slot_size())).sum();
        let (distance, entry_size) = (layout.entry_distance, layout.entry_size);
        if size > entry_size.into() || entry_size > distance || distance > layout.instance_size {
            return Err(ImageError::image("place of the entry area"));
        }
        Ok(distance)
    }

    fn value(self, distance: u32, ty: ValType) -> Result<Value, ImageError> {
        let mut slot = [0; 16];
        self.read(distance, &mut slot[..ty.slot_size() as usize])?;
        Ok(Value::from_slot(ty, u128::from_le_bytes(slot)))
    }

    fn read(self, distance: u32, buf: &mut [u8]) -> Result<(), ImageError> {
        memfd::read_exact(self.file, buf, STATE_FILE_STRIDE - u64::from(distance))
            .map_err(ImageError::system("read the instance region"))
    }

    fn write(self, distance: u32, bytes: &[u8]) -> Result<(), ImageError> {
        memfd::write_all(self.file, bytes, STATE_FILE_STRIDE - u64::from(distance))
            .map_err(ImageError::system("write the instance region"))
    }
}

impl Instance {
    pub(crate) fn region(&self) -> Region<'_> {
        Region::new(&self.program, self.state.as_fd())
    }

    /// Moves what is in the instance region to where another program of the same module has it, if that is elsewhere.
    pub(super) fn move_region(&mut self, program: &Program) -> Result<(), RebaseError> {
        let (from, to) = (self.program.info(), program.info());
        let same_types = from.globals.iter().map(|g| g.ty).eq(to.globals.iter().map(|g| g.ty))
            && from.tables.iter().map(|t| (t.ty, t.min)).eq(to.tables.iter().map(|t| (t.ty, t.min)))
            && from.memories.iter().map(|m| m.min_pages).eq(to.memories.iter().map(|m| m.min_pages))
            && self.program.segment_lengths().len() == program.segment_lengths().len()
            && from.functions == to.functions
            && from.signatures == to.signatures
            && from.exceptions.as_ref().map(|e| &e.tags) == to.exceptions.as_ref().map(|e| &e.tags);
        if !same_types {
            return Err(InstanceError::from(ProgramError::OtherModule).into());
        }
        let same_places = from.layout == to.layout
            && from.globals == to.globals
            && from.tables == to.tables
            && from.exceptions == to.exceptions
            && from.memories == to.memories
            && self.program.segment_lengths() == program.segment_lengths();
        if same_places {
            return Ok(());
        }
        let state = self.relayout(program).map_err(InstanceError::from)?;
        // The entry area is used by what is yet to be called, or has returned.
        let function = self.entry.or(self.phase.activity().and_then(|activity| activity.entry));
        let entry_types = match (function, self.exit()) {
            (Some(function), Ok(crate::Exit::Returned)) if self.entry.is_none() => {
                to.functions[function as usize].results.clone()
            }
            (Some(function), _) => to.functions[function as usize].params.clone(),
            (None, _) => Vec::new(),
        };
        self.copy_region(program, &state, &entry_types).map_err(InstanceError::from)?;
        self.state = Arc::new(state);
        Ok(())
    }

    /// The same state file, seen as one of another program.
    fn relayout(&self, program: &Program) -> Result<State, ImageError> {
        let old = &self.state;
        let instance_size = u64::from(program.info().layout.instance_size);
        if old.stack_size + instance_size > MAX_REGIONS {
            return Err(ImageError::image("size of the stack and the instance region"));
        }
        let mut memories = old.memories.clone();
        for (place, info) in memories.iter_mut().zip(&program.info().memories) {
            place.desc_offset = STATE_FILE_STRIDE - u64::from(info.desc_distance);
        }
        let file = old
            .file
            .try_clone()
            .map_err(|source| ImageError::System { action: "duplicate a state file's descriptor", source })?;
        let (stack_size, base) = (old.stack_size, old.base.clone());
        Ok(State {
            file,
            stack_size,
            instance_size,
            memories,
            base,
            copying: Mutex::default(),
            is_stored: false,
        })
    }

    fn copy_region(
        &self,
        program: &Program,
        state: &State,
        entry_types: &[ValType],
    ) -> Result<(), ImageError> {
        let old = &self.state;
        let error = ImageError::system("rearrange the instance region");
        let sizes = old.memory_sizes().map_err(&error)?;
        let copy = memfd::create_sized("gate-region", STATE_FILE_STRIDE)?;
        let range = old.instance_offset()..STATE_FILE_STRIDE;
        extents::copy_data(&old.file, &copy, range).map_err(&error)?;
        let from = Region::new(&self.program, copy.as_fd());
        let to = Region::new(program, state.as_fd());
        for (old, new) in self.program.info().tables.iter().zip(&program.info().tables) {
            if from.table_size(old)? > new.max {
                return Err(ImageError::image("a table is larger than it may be"));
            }
        }

        let whole = old.stack_offset().min(state.stack_offset());
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&state.file, flags, whole, STATE_FILE_STRIDE - whole).map_err(&error)?;

        let mut context = [0; size_of::<Context>()];
        let offset = STATE_FILE_STRIDE - context.len() as u64;
        memfd::read_exact(&copy, &mut context, offset).map_err(&error)?;
        state.write(offset, &context).map_err(&error)?;
        for (place, size) in state.memories.iter().zip(sizes) {
            let desc = [size.to_le_bytes(), place.max.to_le_bytes()].concat();
            state.write(place.desc_offset, &desc).map_err(&error)?;
        }
        to.set_globals(&from.globals()?)?;
        to.copy_exceptions(from)?;
        to.set_segment_lengths(&from.segment_lengths()?)?;
        to.set_entry_values(&from.entry_values(entry_types)?)?;
        for (old, new) in self.program.info().tables.iter().zip(&program.info().tables) {
            let size = from.table_size(old)?;
            to.set_table_size(new, size)?;
            for range in from.element_ranges(old, size)? {
                for start in range.clone().step_by(ELEMENTS_AT_ONCE) {
                    let count = ELEMENTS_AT_ONCE.min((range.end - start) as usize);
                    to.set_elements(new, start, &from.elements(old, start, count)?)?;
                }
            }
        }
        Ok(())
    }
}

/// How many elements of a table are copied at a time.
pub(crate) const ELEMENTS_AT_ONCE: usize = 64 << 10;
