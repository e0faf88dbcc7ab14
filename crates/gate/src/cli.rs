//! The command line.

mod compile;
mod fork;
mod look;
mod resume;
mod run;
mod shared;

pub(crate) use compile::CompileArgs;
pub(crate) use fork::ForkArgs;
pub(crate) use look::{CoredumpArgs, InspectArgs, MemoryRange};
pub(crate) use resume::ResumeArgs;
pub(crate) use run::{RunArgs, Tmpfs, Variable};
pub(crate) use shared::{CacheArgs, Dir, GrantArgs, ServiceArgs};

use crate::log::LogFormat;
use crate::{completions, log, output};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use gate_compiler::GateImports;
use std::process::ExitCode;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (cranelift ", env!("GATE_CRANELIFT_VERSION"), ")");

const EXAMPLES: &str = "\
Examples:
  gate run hello.wasm
  gate run --timeout 10s --max-memory 256m convert.wasm --quality 9 <in.png >out.jpg
  gate run --invoke fib math.wat 30
  gate run --suspend-after 10s --snapshot state.wasm search.wasm
  gate inspect state.wasm
  gate resume state.wasm
  gate compile --listing math.wat";

const SERVICES_EXAMPLES: &str = "\
Examples:
  What every program can discover:
    gate services

  Whether a service in another process is there:
    gate services --service notes=grpc:unix:/tmp/notes.sock";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  gate completions bash >~/.local/share/bash-completion/completions/gate
  gate completions zsh >~/.zfunc/_gate
  gate completions fish >~/.config/fish/completions/gate.fish";

/// Runs WebAssembly programs, each in an operating-system process of its own that has next to no rights.
#[derive(Debug, Parser)]
#[command(name = "gate", version = VERSION, after_long_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to log on standard error: a level (error, warn, info, debug, trace), or a list of TARGET=LEVEL
    #[arg(
        long,
        global = true,
        help_heading = "Logging",
        value_name = "FILTER",
        default_value = "warn",
        env = "GATE_LOG"
    )]
    log: String,

    /// How to log
    #[arg(
        long,
        global = true,
        help_heading = "Logging",
        value_name = "FORMAT",
        default_value = "human",
        env = "GATE_LOG_FORMAT"
    )]
    log_format: LogFormat,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(RunArgs),
    Resume(ResumeArgs),
    Fork(ForkArgs),
    Inspect(InspectArgs),
    Coredump(CoredumpArgs),
    Compile(CompileArgs),
    Runtime(crate::runtime_daemon::RuntimeArgs),
    Services(ServicesArgs),
    Completions(CompletionsArgs),
    /// Compile what standard input contains. For --compile-isolated
    #[command(name = shared::WORKER_COMMAND, hide = true)]
    CompileWorker,
}

/// List the services that programs can discover
///
/// With --service, those that `gate run` would add are there, too. Services in other processes are asked, and the third column says
/// why one is not available.
#[derive(Debug, Args)]
#[command(after_long_help = SERVICES_EXAMPLES)]
pub(crate) struct ServicesArgs {
    #[command(flatten)]
    pub(crate) services: ServiceArgs,
}

/// Print a script that completes the command line in a shell
#[derive(Debug, Args)]
#[command(after_long_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    pub(crate) shell: Shell,
}

/// Parses the command line. Ends the process if it is wrong, or asks for help.
pub(crate) fn parse() -> Cli {
    Cli::parse()
}

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> ExitCode {
    if let Command::CompileWorker = cli.command {
        return gate_compiler::worker::main(&GateImports);
    }
    let result = log::init(&cli.log, cli.log_format).and_then(|()| match cli.command {
        Command::Run(args) => crate::run::run(args.into()),
        Command::Resume(args) => crate::resume::run(args.into()),
        Command::Fork(args) => crate::fork::run(args.into()),
        Command::Inspect(args) => crate::inspect::run(args.into()),
        Command::Coredump(args) => crate::coredump::run(args.into()),
        Command::Compile(args) => crate::compile::run(args.into()),
        Command::Runtime(args) => crate::runtime_daemon::run(args),
        Command::Services(args) => crate::services::run(args),
        Command::Completions(args) => completions::run(args.shell),
        Command::CompileWorker => unreachable!("it was dealt with"),
    });
    match result {
        Ok(status) => status.into(),
        Err(problem) => {
            output::report(&problem);
            problem.status().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::time::Duration;

    fn run_args(args: &[&str]) -> RunArgs {
        match Cli::try_parse_from([&["gate", "run"], args].concat()).expect("valid").command {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_file_is_the_programs() {
        let args = run_args(&["--timeout", "1s", "x.wasm", "--timeout", "-h", "--", "--invoke=a"]);
        assert_eq!(args.file_and_args, ["x.wasm", "--timeout", "-h", "--", "--invoke=a"]);
        assert_eq!(args.timeout, Some(Duration::from_secs(1)));
        assert_eq!(run_args(&["-", "--help"]).file_and_args, ["-", "--help"]);
        assert_eq!(run_args(&["--", "-x.wasm", "-v"]).file_and_args, ["-x.wasm", "-v"]);
        assert_eq!(
            Cli::try_parse_from(["gate", "run", "--tiemout", "x.wasm"]).expect_err("a typo").exit_code(),
            2
        );
    }

    #[test]
    fn variables_have_values_or_are_handed_on() {
        let args = run_args(&["--env", "A=b=c", "--env", "D=", "--env", "E", "x"]);
        let pairs: Vec<_> = args.env.iter().map(|v| (v.name.as_str(), v.value.as_deref())).collect();
        assert_eq!(pairs, [("A", Some("b=c")), ("D", Some("")), ("E", None)]);
    }

    #[test]
    fn senseless_values_are_usage_errors() {
        for args in [
            &["--timeout", "0"][..],
            &["--timeout", "-1"],
            &["--max-memory", "lots"],
            &["--stack-size", "4k"],
            &["--stack-size", "4g"],
            &["--time-resolution", "0s"],
            &["--opt", "max"],
            &["--env", "=x"],
            &["--no-cache", "--cache-dir", "x"],
            &["--suspend-after", "1s"],
            &["--suspend-after", "0", "--snapshot", "x"],
            &["--breakpoint", "-1"],
            &["--breakpoint", "0x100000000"],
            &["--target", "vax"],
            &["--origin", "listen=nowhere"],
            &["--origin", "everywhere"],
        ] {
            let line = [&["gate", "run"], args, &["x.wasm"]].concat();
            let err = Cli::try_parse_from(&line).expect_err("should be refused");
            assert_eq!(err.exit_code(), 2, "{line:?}");
        }
    }
}
