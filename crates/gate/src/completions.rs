//! Shell completions.

use crate::cli::Cli;
use crate::exit::{Problem, Status};
use crate::output::print;
use clap::CommandFactory;
use clap_complete::Shell;

/// Prints the completion script for a shell.
pub(crate) fn run(shell: Shell) -> Result<Status, Problem> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gate", &mut script);
    print(&script)
}
