//! What an instance is doing, as it is written down.

use super::status::{Progress, Status};
use super::tables::Tables;
use super::{Problem, SnapshotError, overlay};
use crate::exit::Exit;
use crate::instance::{ExitError, Instance};
use gate_compiler::{ValType, Value};

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
    let count = info.functions.len();
    if let Some(function) = values.iter().find_map(|value| missing_function(*value, count)) {
        return Err(SnapshotError::Unfit(Problem::Reference { function, count }));
    }
    let lengths = instance.region().segment_lengths()?;
    let references = |(index, value): (u32, &Value)| match value {
        Value::ExternRef(Some(number)) => Some((index, *number)),
        _ => None,
    };
    let externs = tables.pieces.iter().filter(|p| info.tables[p.table as usize].ty == ValType::ExternRef);
    let table_references = externs.flat_map(|piece| {
        let elements = (piece.start..).zip(&piece.elements);
        elements.filter_map(|(index, element)| Some((piece.table, index, element.checked_sub(1)?)))
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

/// The function that a value refers to, if there is none.
pub(super) fn missing_function(value: Value, functions: usize) -> Option<u32> {
    match value {
        Value::FuncRef(Some(function)) if function as usize >= functions => Some(function),
        _ => None,
    }
}
