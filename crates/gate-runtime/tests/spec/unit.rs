//! What runs as one instance: a module of a script, or several that belong together.

use crate::link::{Kind, Links};
use crate::merge::{export_name, getter_name, initialiser_name, merge};
use crate::script::{Action, SPECTEST, Script};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use wasm_encoder::reencode::Error;

/// Modules of a script that share something, in ascending order, as one module.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) parts: Vec<usize>,
    pub(crate) wasm: Vec<u8>,
    pub(crate) merged: bool,
}

impl Unit {
    /// Name of a module's exported function in this unit.
    pub(crate) fn function(&self, module: usize, export: &str) -> String {
        if self.merged { export_name(module, export) } else { export.to_owned() }
    }

    /// Name of the function that reads a module's exported global.
    pub(crate) fn getter(&self, module: usize, export: &str) -> String {
        getter_name(module, export)
    }

    /// Name of a module's initialiser. A module on its own has none, as the runtime instantiates it.
    pub(crate) fn initialiser(&self, module: usize) -> Option<String> {
        self.merged.then(|| initialiser_name(module))
    }
}

/// Divides the modules that a script instantiates into units.
///
/// Modules belong together if one imports from the other, or if both import the memory or the table of `spectest`. Its
/// functions and globals have no state, so each unit that needs them has its own copy.
pub(crate) fn units(script: &Script, links: &Links) -> Result<Vec<Unit>, Error<Infallible>> {
    let read_from_outside: BTreeSet<usize> = script
        .steps
        .iter()
        .filter_map(|step| match step.action {
            Action::Get { module, .. } => Some(module),
            _ => None,
        })
        .collect();
    let unit = |parts: Vec<usize>| {
        let merged = parts.len() > 1 || read_from_outside.contains(&parts[0]);
        let wasm = match merged {
            true => merge(script, links, &parts)?,
            false => script.modules[parts[0]].wasm.clone(),
        };
        Ok(Unit { parts, wasm, merged })
    };
    groups(links).into_iter().map(unit).collect()
}

fn groups(links: &Links) -> Vec<Vec<usize>> {
    let count = links.imports.len();
    // Each module's group is known by its least member; `spectest` only joins for good as a holder of state.
    let mut group: Vec<usize> = (0..count).collect();
    for module in 1..count {
        for item in &links.imports[module] {
            let stateless = item.module == SPECTEST && matches!(item.kind, Kind::Function | Kind::Global);
            if !stateless {
                let (keep, other) =
                    (group[module].min(group[item.module]), group[module].max(group[item.module]));
                group.iter_mut().filter(|g| **g == other).for_each(|g| *g = keep);
            }
        }
    }
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (module, group) in group.into_iter().enumerate() {
        members.entry(group).or_default().push(module);
    }
    let mut groups: Vec<_> = members.into_values().filter(|parts| *parts != [SPECTEST]).collect();
    for parts in &mut groups {
        let uses_spectest =
            parts.iter().any(|&module| links.imports[module].iter().any(|item| item.module == SPECTEST));
        if uses_spectest && parts[0] != SPECTEST {
            parts.insert(0, SPECTEST);
        }
    }
    groups
}
