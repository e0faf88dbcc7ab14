//! The command line.

use crate::exit;
use crate::log::LogFormat;
use crate::quantity::{parse_duration, parse_size};
use crate::{compile, completions, log, output, run};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use gate_compiler::OptLevel;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (cranelift ", env!("GATE_CRANELIFT_VERSION"), ")");

const EXAMPLES: &str = "\
Examples:
  gate run hello.wasm
  gate run --timeout 10s --max-memory 256m convert.wasm --quality 9 <in.png >out.jpg
  gate run --invoke fib math.wat 30
  gate compile --listing math.wat";

const RUN_EXAMPLES: &str = "\
Examples:
  Run a WASI command; everything after the file belongs to the program:
    gate run grep.wasm -n needle <haystack.txt

  Call an exported function with arguments, and print its results:
    gate run --invoke gcd math.wat 1071 462

  Limit what an unknown program may take:
    gate run --timeout 5s --max-memory 64m --time-resolution 1ms unknown.wasm

  Give it environment variables, one of them from the command's own environment:
    gate run --env MODE=fast --env LANG report.wasm

  Read the module from standard input:
    curl -s https://example.org/tool.wasm | gate run - --help";

const COMPILE_EXAMPLES: &str = "\
Examples:
  gate compile math.wat                      writes math.text
  gate compile --listing math.wat            writes math.text and math.lst
  gate compile -o - math.wasm | objdump -D -b binary -m i386:x86-64 /dev/stdin";

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
    Compile(CompileArgs),
    Completions(CompletionsArgs),
}

/// Run a program
///
/// Runs a WASI command, or calls an exported function of a module, in a process that can reach nothing but its
/// arguments, its environment variables, its standard streams, clocks and random bytes.
#[derive(Debug, Args)]
#[command(
    override_usage = "gate run [OPTIONS] FILE [ARGS]...",
    after_long_help = format!("{}\n\n{RUN_EXAMPLES}", exit::HELP)
)]
pub(crate) struct RunArgs {
    /// Call this exported function with ARGS as its arguments, and print its results, one per line
    #[arg(long, value_name = "NAME")]
    pub(crate) invoke: Option<String>,

    /// Set an environment variable of the program, or hand on the one that the command has
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = parse_variable)]
    pub(crate) env: Vec<Variable>,

    /// Stop the program after this time: 10s, 1m30s, 500ms; a number alone is seconds
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,

    /// How large the program's linear memories may become together: 64m, 1.5g; a number alone is bytes
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_memory: Option<u64>,

    /// Size of the program's stack
    #[arg(long, value_name = "SIZE", default_value = "1m", value_parser = parse_stack_size)]
    pub(crate) stack_size: u64,

    /// How exactly the program can tell the time
    #[arg(long, value_name = "DURATION", default_value = "1ns", value_parser = parse_duration)]
    pub(crate) time_resolution: Duration,

    #[command(flatten)]
    pub(crate) compilation: CompilationArgs,

    #[command(flatten)]
    pub(crate) cache: CacheArgs,

    /// The module, in binary or text form (`-` reads it from standard input), and arguments of the program or
    /// the function. Whatever comes after FILE, options included, is the program's
    // One list, because only then the parser takes no option behind the file for its own.
    #[arg(value_name = "FILE [ARGS]", required = true, trailing_var_arg = true, value_hint = ValueHint::FilePath)]
    pub(crate) file_and_args: Vec<OsString>,
}

/// Compile a module and write its native text, for inspection
///
/// The text is position-independent machine code without any headers.
#[derive(Debug, Args)]
#[command(after_long_help = COMPILE_EXAMPLES)]
pub(crate) struct CompileArgs {
    /// Where to write the text; `-` is standard output. The default is FILE with the extension .text
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Write also a listing of each function's code, next to the text, with the extension .lst
    #[arg(long)]
    pub(crate) listing: bool,

    #[command(flatten)]
    pub(crate) compilation: CompilationArgs,

    /// The module, in binary or text form; `-` reads it from standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

/// Print a script that completes the command line in a shell
#[derive(Debug, Args)]
#[command(after_long_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    pub(crate) shell: Shell,
}

/// How to compile.
#[derive(Debug, Args)]
pub(crate) struct CompilationArgs {
    /// How much effort to spend on the speed of the code
    #[arg(long, value_name = "LEVEL", default_value = "speed")]
    opt: OptArg,
}

/// Where compiled modules are kept.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// Keep compiled modules in this directory, instead of the user's cache directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) cache_dir: Option<PathBuf>,

    /// Compile every time, and keep nothing
    #[arg(long, conflicts_with = "cache_dir")]
    pub(crate) no_cache: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OptArg {
    /// As little as possible
    None,
    /// As much as makes programs faster
    Speed,
}

impl CompilationArgs {
    pub(crate) fn options(&self) -> gate_compiler::Options {
        let opt_level = match self.opt {
            OptArg::None => OptLevel::None,
            OptArg::Speed => OptLevel::Speed,
        };
        gate_compiler::Options { opt_level, ..Default::default() }
    }
}

/// An environment variable: name, and value unless it is to be handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

fn parse_variable(text: &str) -> Result<Variable, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() { Err("the name is empty".into()) } else { Ok(Variable { name: name.into(), value }) }
}

fn parse_stack_size(text: &str) -> Result<u64, String> {
    use gate_image::InstanceOptions as Limits;
    let size = parse_size(text)?;
    if (Limits::MIN_STACK_SIZE..=Limits::MAX_STACK_SIZE).contains(&size) {
        Ok(size)
    } else {
        Err(format!("must be between {} and {} bytes", Limits::MIN_STACK_SIZE, Limits::MAX_STACK_SIZE))
    }
}

/// Parses the command line. Ends the process if it is wrong, or asks for help.
pub(crate) fn parse() -> Cli {
    Cli::parse()
}

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let result = log::init(&cli.log, cli.log_format).and_then(|()| match cli.command {
        Command::Run(args) => run::run(args.into()),
        Command::Compile(args) => compile::run(args.into()),
        Command::Completions(args) => completions::run(args.shell),
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
        assert!(parse_variable("=x").is_err());
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
        ] {
            let line = [&["gate", "run"], args, &["x.wasm"]].concat();
            let err = Cli::try_parse_from(&line).expect_err("should be refused");
            assert_eq!(err.exit_code(), 2, "{line:?}");
        }
    }
}
