//! `gate run`.

use super::shared::{CacheArgs, CompilationArgs, GrantArgs, ServiceArgs, SuspendArgs, parse_place};
use crate::exit;
use crate::packets::Place;
use crate::quantity::{parse_duration, parse_size, parse_stack_size};
use clap::{Args, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

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

  Let it read one directory, and change another:
    gate run --dir data:ro --dir out::/out convert.wasm data/table.csv /out/table.json

  Give it a tar file as its outermost directory:
    gate run --image python-lib.tar python.wasm script.py

  Let it accept connections, by a listener which is descriptor 3:
    gate run --tcplisten 127.0.0.1:8000 server.wasm

  Give it a place for temporary files that goes along in its snapshot:
    gate run --tmpfs /tmp=256m sort.wasm

  Stop it after an hour, and let it go on tomorrow, or elsewhere:
    gate run --suspend-after 1h --snapshot state.wasm report.wasm
    gate resume state.wasm

  Let others connect to a program that exchanges packets with services:
    gate run --origin listen=127.0.0.1:7000 examples/echo.wat

  Let it keep keys and values in a file:
    gate run --service kv=counters.db examples/count.wat

  Let it use a service in another process, which is written in another language:
    python3 examples/service.py unix:/tmp/notes.sock &
    gate run --service notes=grpc:unix:/tmp/notes.sock examples/notes.wat

  Read the module from standard input:
    curl -s https://example.org/tool.wasm | gate run - --help";

/// Run a program
///
/// Runs a WASI command, or calls an exported function of a module, in a process that can reach nothing but its
/// arguments, its environment variables, its standard streams, directories and listeners that it is given, clocks and random bytes.
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

    #[command(flatten)]
    pub(crate) grants: GrantArgs,

    /// Give the program an empty directory in memory, of 64m if no SIZE is given. It is part of the program's snapshot. Can be given
    /// several times; what is given with --dir and --image comes before
    #[arg(long, value_name = "GUEST[=SIZE]", value_parser = parse_tmpfs)]
    pub(crate) tmpfs: Vec<Tmpfs>,

    /// What the program finds as its own name, in place of the file's
    #[arg(long, value_name = "NAME")]
    pub(crate) argv0: Option<OsString>,

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

    /// Write down where the program spends its processor time: as a CPU profile, which browsers and editors open, if
    /// the name ends in `.cpuprofile`, else as collapsed stacks, for tools that draw flame graphs
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) profile: Option<PathBuf>,

    /// What is attached to the service `origin`: stdio, listen=ADDRESS:PORT, or none. The default is stdio for programs that
    /// exchange packets with services: their WASI input is empty then, and their WASI output goes to standard error
    #[arg(long, value_name = "PLACE", value_parser = parse_place)]
    pub(crate) origin: Option<Place>,

    #[command(flatten)]
    pub(crate) services: ServiceArgs,

    #[command(flatten)]
    pub(crate) suspend: SuspendArgs,

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

/// A directory in memory: its name, and the number of bytes for which there is room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tmpfs {
    pub(crate) guest: String,
    pub(crate) size: u64,
}

fn parse_tmpfs(text: &str) -> Result<Tmpfs, String> {
    const DEFAULT_SIZE: u64 = 64 << 20;
    let (guest, size) = match text.rsplit_once('=') {
        Some((guest, size)) => (guest, parse_size(size)?),
        None => (text, DEFAULT_SIZE),
    };
    if guest.is_empty() { Err("the name is empty".into()) } else { Ok(Tmpfs { guest: guest.into(), size }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_in_memory_have_sizes() {
        let tmpfs = |guest: &str, size| Ok(Tmpfs { guest: guest.into(), size });
        assert_eq!(parse_tmpfs("/tmp"), tmpfs("/tmp", 64 << 20));
        assert_eq!(parse_tmpfs("a=b=1k"), tmpfs("a=b", 1024));
        for bad in ["", "=1k", "/tmp=", "/tmp=x"] {
            assert!(parse_tmpfs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables_have_names() {
        assert!(parse_variable("=x").is_err());
        assert_eq!(parse_variable("x"), Ok(Variable { name: "x".into(), value: None }));
    }
}
