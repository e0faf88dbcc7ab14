//! What an instance is doing, as it is written down.

use super::status::{Progress, Status};
use super::tables::Tables;
use super::{Problem, SnapshotError, overlay};
use crate::exceptions::{ExceptionError, Exceptions, is_of_type};
use crate::exit::Exit;
use crate::frames::Frames;
use crate::instance::{ExitError, Instance};
use gate_compiler::{ModuleInfo, ValType, Value};

/// What the instance is doing.
pub(super) fn status(
    instance: &Instance,
    globals: &[Value],
    tables: &Tables,
    services: u32,
) -> Result<Status, SnapshotError> {
    let info = instance.program().info();
    let exit = match instance.exit() {
        Ok(exit) => exit,
        // Whatever it did, it cannot go on.
        Err(ExitError::Invalid(_)) => Exit::None,
        Err(ExitError::Host(error)) => return Err(error.into()),
    };
    let activity = instance.activity();
    let (progress, entry) = match (activity, exit) {
        (None, _) => (Progress::Fresh, None),
        (Some(_), Exit::Frozen) => {
            let stopped = instance.stopped_activity().ok_or(SnapshotError::Unfit(Problem::Contradiction(
                "it is suspended, and its frames have not been exported",
            )))?;
            (Progress::Suspended { start: stopped.start }, stopped.entry)
        }
        (Some(activity), exit) => (Progress::Ended(exit), activity.entry),
    };
    let next_entry = instance.next_entry();
    let types: &[ValType] = match (progress, entry, next_entry) {
        (_, _, Some(function)) => &info.functions[function as usize].params,
        (Progress::Suspended { start: true }, Some(function), _) => &info.functions[function as usize].params,
        (Progress::Ended(Exit::Returned), Some(function), _) => &info.functions[function as usize].results,
        _ => &[],
    };
    let values = instance.region().entry_values(types)?;
    check_values("value", &values, types.iter().copied(), info)?;
    let lengths = instance.region().segment_lengths()?;
    let references = |(index, value): (u32, &Value)| match value {
        Value::ExternRef(Some(number)) | Value::ExnRef(Some(number)) => Some((index, *number)),
        _ => None,
    };
    let table_references = tables.pieces.iter().flat_map(|piece| {
        let ty = info.tables[piece.table as usize].ty;
        let elements = (piece.start..).zip(&piece.elements);
        elements.filter_map(move |(index, &element)| match Value::from_slot(ty, element.into()) {
            Value::ExternRef(number) | Value::ExnRef(number) => Some((piece.table, index, number?)),
            _ => None,
        })
    });
    Ok(Status {
        progress,
        entry,
        next_entry,
        values,
        call: instance.pending_call()?,
        monotonic_time: instance.monotonic_time(),
        options: instance.options(),
        services,
        dropped: dropped(instance, &lengths),
        global_references: (0..).zip(globals).filter_map(references).collect(),
        table_references: table_references.collect(),
    })
}

/// Which passive segments are not what they were at the beginning. An empty one makes no difference.
fn dropped(instance: &Instance, lengths: &[u32]) -> Vec<bool> {
    let program = instance.program();
    let distances = program.segment_lengths().iter();
    let original = distances.map(|&distance| {
        let mut length = [0; 4];
        let offset = program.info().layout.instance_size - distance;
        overlay(&program.template().instance, offset.into(), &mut length);
        u32::from_le_bytes(length)
    });
    original.zip(lengths).map(|(original, &current)| current != original).collect()
}

/// Checks that values are of types of the module's.
pub(super) fn check_values(
    what: &'static str,
    values: &[Value],
    types: impl Iterator<Item = ValType>,
    info: &ModuleInfo,
) -> Result<(), SnapshotError> {
    let count = info.functions.len();
    for (index, (&value, expected)) in (0..).zip(values.iter().zip(types)) {
        match value {
            Value::FuncRef(Some(function)) if function as usize >= count => {
                return Err(SnapshotError::Unfit(Problem::Reference { function, count }));
            }
            _ if !is_of_type(value, expected, info) => {
                return Err(SnapshotError::Unfit(Problem::ReferenceType { what, index, expected }));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Finds the exceptions to which the instance has references, and numbers these in what it is doing.
pub(super) fn exceptions(
    instance: &Instance,
    globals: &[Value],
    tables: &Tables,
    frames: Option<&Frames>,
    status: &mut Status,
) -> Result<Exceptions, SnapshotError> {
    let program = instance.program();
    let info = program.info();
    if info.exceptions.is_none() {
        return Ok(Exceptions::default());
    }
    let mut roots: Vec<Value> = Vec::new();
    if let Some(frames) = frames {
        roots.extend(frames.values()?.filter(is_exception));
    }
    roots.extend(globals.iter().copied().filter(is_exception));
    for piece in &tables.pieces {
        let ty = info.tables[piece.table as usize].ty;
        let elements = piece.elements.iter().map(|&element| Value::from_slot(ty, element.into()));
        roots.extend(elements.filter(is_exception));
    }
    roots.extend(status.values.iter().copied().filter(is_exception));
    let exceptions = Exceptions::find(program, instance.region(), roots).map_err(|error| match error {
        ExceptionError::Invalid(number) => SnapshotError::Unfit(Problem::Exception(number)),
        ExceptionError::Host(error) => error.into(),
    })?;
    for value in &mut status.values {
        *value = exceptions.stored(*value);
    }
    for (global, number) in &mut status.global_references {
        if info.globals[*global as usize].ty.general() == ValType::ExnRef {
            *number = exceptions.number(*number).unwrap_or_default();
        }
    }
    for (table, _, number) in &mut status.table_references {
        if info.tables[*table as usize].ty.general() == ValType::ExnRef {
            *number = exceptions.number(*number).unwrap_or_default();
        }
    }
    Ok(exceptions)
}

fn is_exception(value: &Value) -> bool {
    matches!(value, Value::ExnRef(Some(_)))
}
