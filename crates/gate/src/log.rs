//! Logging on standard error.

use crate::exit::Problem;
use anyhow::{Context, anyhow};
use clap::ValueEnum;
use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;

/// How log messages look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Human,
    /// A JSON object per line
    Json,
}

/// Starts logging.
pub(crate) fn init(filter: &str, format: LogFormat) -> Result<(), Problem> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .with_context(|| format!("log filter {filter:?}"))
        .map_err(Problem::usage)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let started = match format {
        LogFormat::Human => builder.without_time().try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|err| Problem::gate_failed(anyhow!("start logging: {err}")))
}
