//! Options that several subcommands have.

use crate::packets::{Offer, Place};
use crate::quantity::{parse_duration, parse_offset, parse_size};
use clap::{Args, ValueEnum, ValueHint};
use gate_compiler::worker::Worker;
use gate_compiler::{Feature, Features, OptLevel, Target};
use gate_wasi::Access;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

/// What of the host the program can reach.
#[derive(Clone, Debug, Args)]
pub(crate) struct GrantArgs {
    /// Give the program a directory, under another name if GUEST is given. With :ro, it cannot change anything there. Can
    /// be given several times
    #[arg(long = "dir", value_name = "HOST[::GUEST][:ro]", value_parser = parse_dir, value_hint = ValueHint::DirPath)]
    pub(crate) dirs: Vec<Dir>,

    /// Give the program the contents of a tar file as a directory in which it can change nothing, by the name GUEST, or / if none is
    /// given. Can be given several times; what is given with --dir comes before
    #[arg(long = "image", value_name = "FILE[::GUEST]", value_parser = parse_image, value_hint = ValueHint::FilePath)]
    pub(crate) images: Vec<ImageFile>,

    /// Let the program accept connections: give it a socket that listens on this address, as the next descriptor after those of
    /// directories. Port 0 is any that is free; the port is told on standard error. Can be given several times
    #[arg(long = "tcplisten", value_name = "ADDRESS:PORT", value_parser = parse_address)]
    pub(crate) listeners: Vec<SocketAddr>,
}

/// A directory for the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dir {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
    pub(crate) access: Access,
}

/// A tar file that is a directory to the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageFile {
    pub(crate) file: PathBuf,
    pub(crate) guest: String,
}

fn parse_dir(text: &str) -> Result<Dir, String> {
    let (names, access) = match text.strip_suffix(":ro") {
        Some(names) => (names, Access::ReadOnly),
        None => (text, Access::ReadWrite),
    };
    let (host, guest) = names.split_once("::").unwrap_or((names, names));
    if host.is_empty() || guest.is_empty() {
        return Err("a directory's name is empty".into());
    }
    Ok(Dir { host: host.into(), guest: guest.into(), access })
}

fn parse_image(text: &str) -> Result<ImageFile, String> {
    let (file, guest) = text.split_once("::").unwrap_or((text, "/"));
    if file.is_empty() || guest.is_empty() {
        return Err("a name is empty".into());
    }
    Ok(ImageFile { file: file.into(), guest: guest.into() })
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not an address with a port, like 127.0.0.1:7000 or [::1]:7000"))
}

/// Name of the hidden subcommand that is a compiler's process.
pub(super) const WORKER_COMMAND: &str = "compile-worker";

/// How to compile.
#[derive(Debug, Args)]
pub(crate) struct CompilationArgs {
    /// How much effort to spend on the speed of the code
    #[arg(long, value_name = "LEVEL", default_value = "speed")]
    opt: OptArg,

    /// Which processors to compile for
    #[arg(long, value_name = "TARGET", default_value = "host")]
    target: TargetArg,

    /// Refuse programs that use this part of WebAssembly: one of those which `gate features` lists. Can be given several times
    #[arg(long = "without", value_name = "FEATURE", value_parser = parse_feature)]
    without: Vec<Feature>,

    /// Refuse a module that takes longer to compile
    #[arg(long, help_heading = "Compilation", value_name = "DURATION", value_parser = parse_duration)]
    compile_timeout: Option<Duration>,

    /// Number of threads that compile. The default is one per processor
    #[arg(long, help_heading = "Compilation", value_name = "N")]
    compile_threads: Option<NonZeroU16>,

    /// Compile in a process of its own, which can neither open anything nor reach anybody
    #[arg(long, help_heading = "Compilation")]
    compile_isolated: bool,

    /// Like --compile-isolated, and refuse a module for which that process needs more address space
    #[arg(long, help_heading = "Compilation", value_name = "SIZE", value_parser = parse_size)]
    compile_memory: Option<u64>,
}

fn parse_feature(text: &str) -> Result<Feature, String> {
    Feature::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Feature::ALL.iter().map(|feature| feature.name()).collect();
        format!("it is none of: {}", names.join(", "))
    })
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

/// Services besides those which are always there.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// Offer a service to programs that exchange packets: kv=FILE keeps keys and values in a database,
    /// localhost=NAME=http://ADDRESS:PORT makes HTTP requests to an origin, which the program knows by that name,
    /// NAME=grpc:unix:PATH and NAME=grpc:http://HOST:PORT are what another process offers, and peer=GROUP lets the copies of `gate
    /// fork` find each other by their numbers. Can be given several times
    #[arg(long = "service", value_name = "NAME=CONFIG", value_parser = parse_service)]
    pub(crate) services: Vec<Offer>,
}

fn parse_service(text: &str) -> Result<Offer, String> {
    match text.split_once('=') {
        Some((name, config)) if let Some(address) = config.strip_prefix("grpc:") => {
            let address =
                address.parse().map_err(|error: gate_service_grpc::AddressError| error.to_string())?;
            Ok(Offer::Grpc { name: name.into(), address: Box::new(address) })
        }
        Some(("peer", group)) if (1..=127).contains(&group.len()) => Ok(Offer::Peer(group.into())),
        Some(("kv", file)) if !file.is_empty() => Ok(Offer::Kv(file.into())),
        Some(("localhost", origin)) => match origin.split_once('=') {
            Some((name, url)) => Ok(Offer::Localhost { name: name.into(), url: url.into() }),
            None => Err("an origin is given as localhost=NAME=http://ADDRESS:PORT".into()),
        },
        _ => Err("it is none of: kv=FILE, localhost=NAME=http://ADDRESS:PORT, NAME=grpc:unix:PATH, \
                  NAME=grpc:http://HOST:PORT, peer=GROUP"
            .into()),
    }
}

/// What is attached to a program's `origin`.
pub(super) fn parse_place(text: &str) -> Result<Place, String> {
    match (text, text.strip_prefix("listen=")) {
        ("none", _) => Ok(Place::None),
        ("stdio", _) => Ok(Place::Stdio),
        (_, Some(addr)) => parse_address(addr).map(Place::Listen),
        _ => Err("it is none of: none, stdio, listen=ADDRESS:PORT".into()),
    }
}

/// When the program stops, and where its state goes then.
#[derive(Debug, Args)]
pub(crate) struct SuspendArgs {
    /// Write the program's state to this file when it is suspended: by --suspend-after or --suspend-at-input, at a --breakpoint, or by SIGINT or
    /// SIGTERM. `-` is standard output; what the program prints goes to standard error then
    #[arg(long, help_heading = "Suspension", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) snapshot: Option<PathBuf>,

    /// Suspend the program after this time. Takes no account of --timeout, which kills it
    #[arg(
        long,
        help_heading = "Suspension",
        value_name = "DURATION",
        value_parser = parse_duration,
        requires = "snapshot"
    )]
    pub(crate) suspend_after: Option<Duration>,

    /// Suspend the program when it first wants to read its standard input. So an interpreter can be started once, and many
    /// times be given something to do
    #[arg(long, help_heading = "Suspension", requires = "snapshot")]
    pub(crate) suspend_at_input: bool,

    /// Stop the program when it comes to the instruction at this offset in the module: 4711, 0x1267. Can be given several
    /// times. Without --snapshot, it is a trap
    #[arg(long = "breakpoint", help_heading = "Suspension", value_name = "OFFSET", value_parser = parse_offset)]
    pub(crate) breakpoints: Vec<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OptArg {
    /// As little as possible
    None,
    /// As much as makes programs faster
    Speed,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TargetArg {
    /// This one, with all that it can
    Host,
    /// Any of the x86-64 architecture
    #[value(name = "x86-64")]
    X86_64,
    /// Any of the AArch64 architecture
    Aarch64,
}

impl CompilationArgs {
    /// Options of the compiler, for programs that stop at the given breakpoints.
    pub(crate) fn options(&self, breakpoints: &[u32]) -> gate_compiler::Options {
        let opt_level = match self.opt {
            OptArg::None => OptLevel::None,
            OptArg::Speed => OptLevel::Speed,
        };
        let target = match self.target {
            TargetArg::Host => Target::Host,
            TargetArg::X86_64 => Target::X86_64,
            TargetArg::Aarch64 => Target::Aarch64,
        };
        let breakpoints = breakpoints.iter().copied().collect();
        let mut features = Features::default();
        for &feature in &self.without {
            features.set(feature, false);
        }
        let isolated = self.compile_isolated || self.compile_memory.is_some();
        gate_compiler::Options {
            opt_level,
            target,
            features,
            breakpoints,
            timeout: self.compile_timeout,
            threads: self.compile_threads.map(|number| number.get().into()),
            worker: isolated.then(|| Worker {
                // This executable, even if there is another file in its place now.
                program: "/proc/self/exe".into(),
                args: vec![WORKER_COMMAND.into()],
                memory: self.compile_memory,
            }),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images() {
        let image = |file: &str, guest: &str| Ok(ImageFile { file: file.into(), guest: guest.into() });
        assert_eq!(parse_image("a.tar"), image("a.tar", "/"));
        assert_eq!(parse_image("a.tar::/usr"), image("a.tar", "/usr"));
        for bad in ["", "::", "a::", "::b"] {
            assert!(parse_image(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn directories() {
        let dir = |host: &str, guest: &str, access| Dir { host: host.into(), guest: guest.into(), access };
        assert_eq!(parse_dir("a/b"), Ok(dir("a/b", "a/b", Access::ReadWrite)));
        assert_eq!(parse_dir("a::/:ro"), Ok(dir("a", "/", Access::ReadOnly)));
        assert_eq!(parse_dir("a:ro"), Ok(dir("a", "a", Access::ReadOnly)));
        for bad in ["", "::", "a::", "::b", ":ro", "a:::ro"] {
            assert!(parse_dir(bad).is_err(), "{bad}");
        }
    }
}
