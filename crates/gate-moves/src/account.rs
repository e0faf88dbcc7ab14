//! What can be compared between engines: how a program ended, and what it exports.

use crate::ending::Ending;
use gate_compiler::{ExportKind, Value};
use gate_image::{Inspector, Instance};
use gate_runtime::{Outcome, TrapId};
use std::collections::BTreeMap;

/// What an engine says of a run, told in the same way for each engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) end: End,
    pub(crate) stdout: Vec<u8>,
    /// Contents of memories, globals and tables, by the names under which they are exported.
    pub(crate) exports: BTreeMap<String, String>,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The function returned.
    Returned(Vec<Value>),
    /// The command returned or exited.
    Exited(i32),
    Trapped(TrapId),
    /// It needed more than there was: of the stack, or of the engine's own limits. Nothing follows from that.
    Exhausted,
}

impl End {
    /// A trap, with those made one that not every engine tells apart.
    pub(crate) fn trapped(trap: TrapId) -> Self {
        match trap {
            TrapId::CallStackExhausted => Self::Exhausted,
            TrapId::IndirectCallIndexOutOfBounds => Self::Trapped(TrapId::TableAccessOutOfBounds),
            trap => Self::Trapped(trap),
        }
    }
}

impl Account {
    /// Gate's.
    pub(crate) fn new(
        outcome: &Outcome,
        instance: &Instance,
        ending: &Ending,
        command: bool,
    ) -> anyhow::Result<Self> {
        let end = match outcome.trap {
            TrapId::Exit if command => End::Exited(outcome.result.value()),
            TrapId::Exit => End::Returned(ending.results.clone()),
            trap => End::trapped(trap),
        };
        let inspector = Inspector::new(instance, &[]);
        let globals = inspector.globals()?;
        let mut exports = BTreeMap::new();
        // What hosts say of themselves is in a command's memory, and they are different ones.
        let all = if command { &[][..] } else { &instance.program().info().exports[..] };
        for export in all {
            let index = export.index as usize;
            let contents = match export.kind {
                ExportKind::Function | ExportKind::Tag => continue,
                // They are not looked at if they cannot be foreseen.
                ExportKind::Memory => match ending.memories.get(index) {
                    Some(&(size, hash)) => memory(size, hash),
                    None => continue,
                },
                ExportKind::Global => value(&globals[index].value.ty, &globals[index].value.value),
                ExportKind::Table => {
                    let elements = inspector.table_elements(index, None)?;
                    table(elements.into_iter().map(|element| element.value == "null"))
                }
            };
            exports.insert(export.name.clone(), contents);
        }
        Ok(Self { end, stdout: ending.stdout.clone(), exports })
    }

    /// Of a program that has trapped before anything was executed.
    pub(crate) fn trapped(trap: TrapId) -> Self {
        Self { end: End::trapped(trap), stdout: Vec::new(), exports: BTreeMap::new() }
    }

    /// In what it differs from the other one, if it does.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        if self.end == End::Exhausted || other.end == End::Exhausted {
            return None;
        }
        if self.end != other.end {
            return Some(format!("{:?} instead of {:?}", self.end, other.end));
        }
        if self.stdout != other.stdout {
            let sizes = (self.stdout.len(), other.stdout.len());
            return Some(format!("other output, of {} instead of {} bytes", sizes.0, sizes.1));
        }
        let differing = self.exports.iter().find_map(|(name, contents)| {
            let theirs = other.exports.get(name)?;
            (contents != theirs).then(|| format!("{name:?} is {contents} instead of {theirs}"))
        });
        differing.map(|difference| format!("after {:?}: {difference}", self.end))
    }
}

/// A memory's contents.
pub(crate) fn memory(size: u64, hash: blake3::Hash) -> String {
    format!("memory of {size} bytes, {hash}")
}

/// A global's value.
pub(crate) fn value(ty: &str, value: &str) -> String {
    match (ty, value) {
        // References have no number in other engines.
        ("funcref" | "externref" | "exnref", "null") => format!("{ty} null"),
        ("funcref" | "externref" | "exnref", _) => format!("{ty} not null"),
        _ => format!("{ty} {value}"),
    }
}

/// A table's contents: references have no number in other engines, but they are null or not.
pub(crate) fn table(nulls: impl Iterator<Item = bool>) -> String {
    let mut count = 0u64;
    let mut hasher = blake3::Hasher::new();
    let mut used = 0u64;
    for null in nulls {
        hasher.update(&[u8::from(null)]);
        used += u64::from(!null);
        count += 1;
    }
    format!("table of {count} elements, {used} not null, {}", hasher.finalize())
}
