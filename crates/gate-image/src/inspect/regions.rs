//! Globals, tables and linear memories.

use super::{InspectError, Inspector, ValueView};
use crate::coredump::MemoryContents;
use crate::error::ImageError;
use crate::instance::Instance;
use gate_compiler::{TableInfo, Value};
use serde::Serialize;
use std::ops::Range;

/// A global.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GlobalView {
    /// Its index.
    pub index: u32,
    /// Its name, on one line, if it has one.
    pub name: Option<String>,
    /// Whether the program may change it.
    pub mutable: bool,
    /// Its value.
    #[serde(flatten)]
    pub value: ValueView,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableView {
    /// Its index.
    pub index: u32,
    /// Its name, on one line, if it has one.
    pub name: Option<String>,
    /// Type of the elements.
    #[serde(rename = "type")]
    pub ty: String,
    /// Number of elements.
    pub size: u32,
    /// How many of them are not null.
    pub used: u32,
    /// How many there may be.
    pub max: u32,
}

/// A linear memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryView {
    /// Its index.
    pub index: u32,
    /// Its name, on one line, if it has one.
    pub name: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// How much of it takes space: what the program has not touched does not. In bytes.
    pub touched: u64,
    /// Greatest size in WebAssembly pages of 64 KiB, if the module declares one.
    pub max_pages: Option<u64>,
}

pub(super) fn globals(inspector: &Inspector<'_>) -> Result<Vec<GlobalView>, InspectError> {
    let values = inspector.instance.region().globals()?;
    let infos = &inspector.instance.program().info().globals;
    let view = |(index, (info, value)): (u32, (&gate_compiler::GlobalInfo, Value))| GlobalView {
        index,
        name: inspector.names.global(index),
        mutable: info.mutable,
        value: value.into(),
    };
    Ok((0..).zip(infos.iter().zip(values)).map(view).collect())
}

pub(super) fn tables(inspector: &Inspector<'_>) -> Result<Vec<TableView>, InspectError> {
    let infos = &inspector.instance.program().info().tables;
    let view = |(index, info): (u32, &TableInfo)| {
        let size = inspector.instance.region().table_size(info)?;
        Ok(TableView {
            index,
            name: inspector.names.table(index),
            ty: info.ty.to_string(),
            size,
            used: count_used(inspector.instance, info, size)?,
            max: info.max,
        })
    };
    (0..).zip(infos).map(view).collect()
}

pub(super) fn table_elements(
    inspector: &Inspector<'_>,
    table: usize,
    range: Option<Range<u32>>,
) -> Result<Vec<ValueView>, InspectError> {
    let infos = &inspector.instance.program().info().tables;
    let info =
        infos.get(table).ok_or(InspectError::NoSuch { what: "table", index: table, count: infos.len() })?;
    let region = inspector.instance.region();
    let size = region.table_size(info)?;
    let range = range.unwrap_or(0..size);
    if range.start > range.end || range.end > size {
        return Err(InspectError::OutOfBounds {
            what: "table",
            index: table,
            start: range.start.into(),
            end: range.end.into(),
            size: size.into(),
        });
    }
    let elements = region.elements(info, range.start, range.len())?;
    Ok(elements.into_iter().map(|element| Value::from_slot(info.ty, element.into()).into()).collect())
}

pub(super) fn memories(inspector: &Inspector<'_>) -> Result<Vec<MemoryView>, InspectError> {
    let infos = &inspector.instance.program().info().memories;
    let read_error = |source| ImageError::System { action: "look at a memory", source };
    let mut views = Vec::with_capacity(infos.len());
    for (index, info) in (0..).zip(infos) {
        let Some(memory) = inspector.instance.memory(index as usize) else { break };
        let size = memory.size().map_err(read_error)?;
        let touched = memory.extents().map_err(read_error)?.iter().map(|data| data.end - data.start).sum();
        views.push(MemoryView {
            index,
            name: inspector.names.memory(index),
            size,
            touched,
            max_pages: info.max_pages,
        });
    }
    Ok(views)
}

pub(super) fn memory_bytes(
    inspector: &Inspector<'_>,
    memory: usize,
    range: Range<u64>,
) -> Result<Vec<u8>, InspectError> {
    let count = inspector.instance.program().info().memories.len();
    let Some(contents) = inspector.instance.memory(memory) else {
        return Err(InspectError::NoSuch { what: "memory", index: memory, count });
    };
    let read_error = |source| ImageError::System { action: "read a memory", source };
    let size = contents.size().map_err(read_error)?;
    if range.start > range.end || range.end > size {
        let Range { start, end } = range;
        return Err(InspectError::OutOfBounds { what: "memory", index: memory, start, end, size });
    }
    let mut bytes = vec![0; (range.end - range.start) as usize];
    MemoryContents::read(&contents, range.start, &mut bytes).map_err(read_error)?;
    Ok(bytes)
}

/// How many of a table's first `size` elements are not null. Most of a large table may never have been touched.
fn count_used(instance: &Instance, info: &TableInfo, size: u32) -> Result<u32, ImageError> {
    let region = instance.region();
    let mut used = 0;
    let mut next = 0;
    for range in region.element_ranges(info, size)? {
        let mut start = range.start.max(next);
        while start < range.end {
            let count = ELEMENTS_AT_ONCE.min((range.end - start) as usize);
            used +=
                region.elements(info, start, count)?.iter().filter(|&&element| element != 0).count() as u32;
            start += count as u32;
        }
        next = range.end;
    }
    Ok(used)
}

/// How many elements of a table are looked at at a time.
const ELEMENTS_AT_ONCE: usize = 64 << 10;
