//! Making instances of snapshots.

use super::pieces::Piece;
use super::read::Restored;
use super::status::{Progress, Status};
use super::{Problem, SnapshotError};
use crate::error::{ImageError, ProgramError};
use crate::exceptions::is_of_type;
use crate::exit;
use crate::frames::Frames;
use crate::instance::{self, Activity, Instance, InstanceOptions, Phase, Region, Stopped, StoppedFrames};
use crate::memfd;
use crate::program::Program;
use crate::state::State;
use gate_compiler::{FuncType, ModuleInfo, ValType, Value};
use rustix::fs::{SealFlags, fcntl_add_seals, ftruncate};
use std::os::fd::AsFd;
use std::sync::Arc;

impl Restored {
    /// Makes the instance. `program` must have been compiled from [`Restored::module`]. [`Restored::options`] are those with which
    /// the program sees no difference.
    ///
    /// If it is suspended, [`Instance::prepare_resume`] must follow.
    pub fn instance(self, program: &Program, options: &InstanceOptions) -> Result<Instance, SnapshotError> {
        let program = program.base();
        self.check(program)?;
        let Self { module, status, exceptions, stack, trace, globals, table_sizes, elements, memory, .. } =
            self;
        let stack_size = instance::round_stack_size(options.stack_size)?;
        let mut state =
            State::new(program.info(), stack_size, options.max_memory).map_err(SnapshotError::from)?;
        for (index, (place, &size)) in state.memories.iter().zip(&memory.sizes).enumerate() {
            if size > place.max {
                let limit = options.max_memory.unwrap_or(place.max);
                let available = place.max;
                return Err(
                    ProgramError::MemoryLimit { memory: index, minimum: size, available, limit }.into()
                );
            }
        }
        let error = ImageError::system("set the size of a state file");
        ftruncate(&memory.file, state.file_size()).map_err(&error)?;
        fcntl_add_seals(&memory.file, SealFlags::SHRINK | SealFlags::GROW).map_err(&error)?;
        state.file = memory.file;

        write_rest(&state, program, &memory.pieces)?;
        for (place, size) in state.memories.iter().zip(&memory.sizes) {
            let desc = [size.to_le_bytes(), place.max.to_le_bytes()].concat();
            state
                .write(place.desc_offset, &desc)
                .map_err(ImageError::system("write the size of a memory"))?;
        }
        let region = Region::new(program, state.as_fd());
        region.set_globals(&with_references(globals, &status, program.info())?)?;
        region.set_exceptions(&exceptions)?;
        for (table, &size) in program.info().tables.iter().zip(&table_sizes) {
            region.set_table_size(table, size)?;
            region.initialise_elements(table, table.min, size)?;
        }
        for piece in &elements {
            region.set_elements(
                &program.info().tables[piece.table as usize],
                piece.start,
                &piece.elements,
            )?;
        }
        for &(table, element, number) in &status.table_references {
            let table = &program.info().tables[table as usize];
            region.set_elements(table, element, &[reference(table.ty, number).to_slot() as u32])?;
        }
        let mut lengths = region.segment_lengths()?;
        for (length, _) in lengths.iter_mut().zip(&status.dropped).filter(|(_, dropped)| **dropped) {
            *length = 0;
        }
        region.set_segment_lengths(&lengths)?;
        region.set_entry_values(&status.values)?;
        instance::write_call(&state, status.call.as_ref())?;

        let mut stopped = None;
        let activity = Activity { start: false, entry: status.entry };
        let phase = match status.progress {
            Progress::Fresh => Phase::Fresh,
            Progress::Suspended { start } => {
                let activity = Activity { start, ..activity };
                let called = match start {
                    true => program.info().start,
                    false => status.entry,
                };
                let frames =
                    Frames::read_stored(program, Some(&exceptions), &stack.unwrap_or_default(), called)?;
                instance::check_call(&frames, &state)?;
                stopped = Some(Stopped { frames: StoppedFrames::Known(Arc::new(frames)), activity });
                Phase::Suspended { activity }
            }
            Progress::Ended(exit) => {
                exit::write_record(&state, exit).map_err(ImageError::system("write the exit record"))?;
                Phase::Run { placement: Default::default(), activity }
            }
        };
        let trace = match trace {
            Some(trace) => {
                let trace = trace.backtrace(program, module.len())?;
                Some(trace.map_err(SnapshotError::Contradiction)?)
            }
            None => None,
        };
        let options = InstanceOptions { stack_size, ..*options };
        let time = status.monotonic_time;
        let instance = Instance::restored(program, state, options, phase, status.next_entry, time, stopped);
        Ok(instance.with_trace(trace))
    }

    /// Checks everything but the frames against the module.
    fn check(&self, program: &Program) -> Result<(), SnapshotError> {
        let info = program.info();
        let status = &self.status;
        number("number of memories", self.memory.sizes.len(), info.memories.len())?;
        number("number of tables", self.table_sizes.len(), info.tables.len())?;
        number("number of globals", self.globals.len(), info.globals.len())?;
        number("number of passive segments", status.dropped.len(), program.segment_lengths().len())?;
        for (&size, memory) in self.memory.sizes.iter().zip(&info.memories) {
            let (min, max) = (memory.min_pages, memory.max_pages.unwrap_or(u64::MAX));
            range("size of a memory in pages", size / gate_wire::WASM_PAGE_SIZE, min, max)?;
        }
        for (&size, table) in self.table_sizes.iter().zip(&info.tables) {
            range("size of a table", size.into(), table.min.into(), table.max.into())?;
        }
        self.exceptions
            .check(info)
            .map_err(|number| SnapshotError::Contradiction(Problem::Exception(number)))?;
        let functions = info.functions.len();
        for (index, (value, global)) in (0..).zip(self.globals.iter().zip(&info.globals)) {
            typed("global", index, *value, global.ty, info)?;
        }
        for piece in &self.elements {
            let ty = info.tables[piece.table as usize].ty;
            if ty.general() == ValType::FuncRef
                && let Some(&element) = piece.elements.iter().find(|element| **element as usize > functions)
            {
                return contradiction(Problem::Reference { function: element - 1, count: functions });
            }
            if ty.general() != ValType::FuncRef && piece.elements.iter().any(|&element| element != 0) {
                return contradiction(Problem::Invalid("type of a table element"));
            }
            if matches!(ty, ValType::Ref(_)) {
                for &element in &piece.elements {
                    typed(
                        "an element of table",
                        piece.table,
                        Value::from_slot(ty, element.into()),
                        ty,
                        info,
                    )?;
                }
            }
        }
        let refers = |ty: ValType, number: u32| match ty.general() {
            ValType::ExternRef => true,
            ValType::ExnRef => self.exceptions.contains(Value::ExnRef(Some(number))),
            _ => false,
        };
        for &(global, number) in &status.global_references {
            if info.globals.get(global as usize).is_none_or(|global| !refers(global.ty, number)) {
                return contradiction(Problem::Invalid("reference in a global"));
            }
        }
        for &(table, element, number) in &status.table_references {
            let fits = |(table, &size): (&gate_compiler::TableInfo, &u32)| {
                refers(table.ty, number) && element < size
            };
            let table = table as usize;
            if !info.tables.get(table).zip(self.table_sizes.get(table)).is_some_and(fits) {
                return contradiction(Problem::Invalid("reference in a table"));
            }
        }
        self.check_entry(program)
    }

    /// Checks which functions are called, with what values, and the host call.
    fn check_entry(&self, program: &Program) -> Result<(), SnapshotError> {
        let status = &self.status;
        let info = program.info();
        let entry_type = |function: Option<u32>| -> Result<Option<&FuncType>, SnapshotError> {
            let Some(function) = function else { return Ok(None) };
            match (program.trampoline(function), info.functions.get(function as usize)) {
                (Some(_), Some(ty)) => Ok(Some(ty)),
                _ => Err(ProgramError::NotCallable { function }.into()),
            }
        };
        let (entry, next_entry) = (entry_type(status.entry)?, entry_type(status.next_entry)?);
        let types: &[ValType] = match (status.progress, entry, next_entry) {
            (Progress::Suspended { .. }, _, Some(_)) => {
                return contradiction(Problem::Contradiction("it is suspended, but is to be called"));
            }
            (Progress::Fresh, Some(_), _) => {
                return contradiction(Problem::Contradiction("nothing has run, but a function was called"));
            }
            (_, _, Some(ty)) => &ty.params,
            (Progress::Suspended { start: true }, Some(ty), _) => &ty.params,
            (Progress::Ended(crate::Exit::Returned), Some(ty), _) => &ty.results,
            _ => &[],
        };
        number("number of values", status.values.len(), types.len())?;
        for (index, (&value, &ty)) in (0..).zip(status.values.iter().zip(types)) {
            typed("value", index, value, ty, info)?;
            if let Value::ExnRef(Some(number)) = value
                && !self.exceptions.contains(value)
            {
                return contradiction(Problem::Exception(number));
            }
        }
        match (status.progress, &status.call) {
            (Progress::Suspended { .. }, _) | (_, None) => Ok(()),
            _ => contradiction(Problem::Contradiction("a host call of a program which is not running")),
        }
    }
}

/// Writes what a new instance has, as far as it is not in the snapshot.
fn write_rest(state: &State, program: &Program, pieces: &[Piece]) -> Result<(), ImageError> {
    let error = ImageError::system("write the initial state");
    let template = program.template();
    for piece in &template.instance {
        state.write(state.instance_offset() + piece.offset, &piece.bytes).map_err(&error)?;
    }
    for (index, (place, template)) in state.memories.iter().zip(template.memories()?).enumerate() {
        let first = pieces.partition_point(|piece| (piece.memory as usize) < index);
        let own = &pieces[first..];
        let own = &own[..own.partition_point(|piece| piece.memory as usize == index)];
        for initial in template {
            let end = initial.offset + initial.bytes.len() as u64;
            let mut start = initial.offset;
            let first = own.partition_point(|piece| piece.offset + piece.size <= start);
            // Up to each piece, and then behind the last.
            let pieces = own[first..].iter().take_while(|piece| piece.offset < end);
            let gaps = pieces.map(|piece| (piece.offset, piece.offset + piece.size)).chain([(end, end)]);
            for (gap_end, next_start) in gaps {
                if gap_end > start {
                    let range = (start - initial.offset) as usize..(gap_end - initial.offset) as usize;
                    memfd::write_all(&state.file, &initial.bytes[range], place.offset + start)
                        .map_err(&error)?;
                }
                start = start.max(next_start);
            }
        }
    }
    Ok(())
}

/// Puts in the references which a module cannot express.
fn with_references(
    mut globals: Vec<Value>,
    status: &Status,
    info: &ModuleInfo,
) -> Result<Vec<Value>, SnapshotError> {
    for &(global, number) in &status.global_references {
        match globals.get_mut(global as usize) {
            Some(value) => *value = reference(info.globals[global as usize].ty, number),
            None => return contradiction(Problem::Invalid("reference in a global")),
        }
    }
    Ok(globals)
}

/// A reference of a type to something of the host's, or to an exception.
fn reference(ty: ValType, number: u32) -> Value {
    match ty.general() {
        ValType::ExnRef => Value::ExnRef(Some(number)),
        _ => Value::ExternRef(Some(number)),
    }
}

fn contradiction<T>(problem: Problem) -> Result<T, SnapshotError> {
    Err(SnapshotError::Contradiction(problem))
}

fn number(what: &'static str, number: usize, expected: usize) -> Result<(), SnapshotError> {
    match number == expected {
        true => Ok(()),
        false => {
            let (number, expected) = (number as u64, expected as u64);
            contradiction(Problem::Number { what, number, expected })
        }
    }
}

fn range(what: &'static str, number: u64, min: u64, max: u64) -> Result<(), SnapshotError> {
    match number {
        _ if number < min => contradiction(Problem::Number { what, number, expected: min }),
        _ if number > max => contradiction(Problem::Limit { what, number, max }),
        _ => Ok(()),
    }
}

fn typed(
    what: &'static str,
    index: u32,
    value: Value,
    expected: ValType,
    info: &ModuleInfo,
) -> Result<(), SnapshotError> {
    let count = info.functions.len();
    match value {
        _ if value.ty() != expected.general() => {
            contradiction(Problem::Type { what, index, found: value.ty(), expected })
        }
        Value::FuncRef(Some(function)) if function as usize >= count => {
            contradiction(Problem::Reference { function, count })
        }
        _ if !is_of_type(value, expected, info) => {
            contradiction(Problem::ReferenceType { what, index, expected })
        }
        _ => Ok(()),
    }
}
