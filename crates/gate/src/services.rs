//! `gate services`: what programs can discover.

use crate::cli::ServicesArgs;
use crate::exit::{Problem, Status};
use crate::packets::Offered;
use crate::{output, runtime};
use gate_service::builtin::{Origin, Reattach};
use gate_service::{Context, Registry};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Prints names and revisions.
pub(crate) fn run(args: ServicesArgs) -> Result<Status, Problem> {
    runtime::block_on(list(args))
}

async fn list(args: ServicesArgs) -> Result<Status, Problem> {
    let offered = Offered::open(&args.services.services).await?;
    // Who is in a group can discover all.
    let (group, name) = (Some("group".into()), Some("name".into()));
    let mut registry = Registry::new(Context { group, name, ..Context::default() });
    let (origin, _connector) = Origin::new(Reattach::End);
    registry
        .register_common()
        .and_then(|()| registry.register(origin))
        .and_then(|()| offered.register(&mut registry))
        .map_err(Problem::usage)?;
    let mut missing = BTreeMap::new();
    for service in &offered.external {
        if let Err(error) = service.settle().await {
            missing.insert(error.name, format!("not available: {}", error.reason));
        }
    }
    let width = registry.catalog().map(|(name, _)| name.len()).max().unwrap_or_default().max(9);
    let mut table = format!("{:<width$} REVISION\n", "NAME");
    for (name, revision) in registry.catalog() {
        let line = match missing.get(name) {
            Some(reason) => format!("{name:<width$} {revision:<8} {reason}"),
            None => format!("{name:<width$} {revision}"),
        };
        // Writing to a string does not fail.
        let _ = writeln!(table, "{line}");
    }
    output::print(table.as_bytes())
}
