//! `gate services`: what programs can discover.

use crate::exit::{Problem, Status};
use crate::output;
use gate_service::builtin::{Origin, Reattach};
use gate_service::{Context, Registry};
use std::fmt::Write;

/// Prints names and revisions.
pub(crate) fn run() -> Result<Status, Problem> {
    let mut registry = Registry::new(Context::default());
    let (origin, _connector) = Origin::new(Reattach::End);
    registry.register_common().and_then(|()| registry.register(origin)).map_err(Problem::gate_failed)?;
    let mut table = String::from("NAME      REVISION\n");
    for (name, revision) in registry.catalog() {
        // Writing to a string does not fail.
        let _ = writeln!(table, "{name:<9} {revision}");
    }
    output::print(table.as_bytes())
}
