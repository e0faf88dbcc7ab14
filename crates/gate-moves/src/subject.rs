//! The programs.

use crate::generated;
use anyhow::Context;
use std::fs;
use std::path::Path;

/// A program to run.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What reports call it.
    pub name: String,
    /// Its module.
    pub wasm: Vec<u8>,
    pub(crate) entry: Entry,
    /// What it leaves in its memory depends on when it is run.
    pub(crate) keeps_time: bool,
    /// How it ends depends on the host.
    pub(crate) tests_host: bool,
}

/// How a program is run.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// An exported function without parameters is called.
    Function(&'static str),
    /// It is a WASI command.
    Command { args: Vec<&'static str>, stdin: Vec<u8> },
}

macro_rules! written {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!("../programs/", $name, ".wat")))),*]
    };
}

/// Programs which stop at places of every kind with values of every type.
const HAND_WRITTEN: &[(&str, &str)] = written!["bulk", "deep", "floats", "start", "values"];

/// A WASI command that is stopped in host calls.
const CALLS: (&str, &str) = ("calls", include_str!("../programs/calls.wat"));

/// The programs in this crate's directory `programs`.
pub fn hand_written() -> anyhow::Result<Vec<Subject>> {
    let subject = |&(name, text): &(&str, &str), entry: Entry| {
        let wasm = wat::parse_str(text).with_context(|| format!("parse {name}.wat"))?;
        let tests_host = matches!(entry, Entry::Command { .. });
        Ok(Subject { name: name.into(), wasm, entry, keeps_time: false, tests_host })
    };
    let input = (0..=255).cycle().take(10_000).collect();
    let command = Entry::Command { args: vec!["calls"], stdin: input };
    let functions = HAND_WRITTEN.iter().map(|program| subject(program, Entry::Function("driver")));
    functions.chain([subject(&CALLS, command)]).collect()
}

/// Of these, programs that keep what the clock shows in their memory: as a measurement, or as a seed.
const KEEP_TIME: [&str; 3] = ["coremark", "lua", "quickjs"];

/// Names, arguments, and standard input within the repository, of programs that take some milliseconds.
const REAL: &[(&str, &[&str], Option<&str>)] = &[
    ("coremark", &["20"], None),
    ("fannkuch", &["8"], None),
    ("fib", &["25"], None),
    ("json", &["40"], None),
    ("lua", &["1"], Some("programs/inputs/workload.lua")),
    ("matmul", &["64"], None),
    ("nbody", &["20000"], None),
    ("quickjs", &["1"], Some("programs/inputs/workload.js")),
    ("quicksort", &["30000"], None),
    ("sha256", &["4"], None),
    ("sqlite", &["1"], Some("programs/inputs/workload.sql")),
    ("trees", &["10"], None),
    ("wasm3", &["15"], None),
    ("zstd", &["3", "1"], Some("programs/inputs/workload.js")),
];

/// Programs in C and Rust, which `tools/build-programs` has built in the directory `built`. `repository` is where their
/// input comes from.
pub fn real(built: &Path, repository: &Path) -> anyhow::Result<Vec<Subject>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    REAL.iter()
        .map(|&(name, args, stdin)| {
            let wasm = read(&built.join("wasm").join(format!("{name}.wasm")))?;
            let stdin = stdin.map_or(Ok(Vec::new()), |path| read(&repository.join(path)))?;
            let args = [&[name], args].concat();
            let entry = Entry::Command { args, stdin };
            let keeps_time = KEEP_TIME.contains(&name);
            Ok(Subject { name: name.into(), wasm, entry, keeps_time, tests_host: false })
        })
        .collect()
}

impl Subject {
    /// A random module. Every other one may trap.
    pub fn generated(seed: u64) -> anyhow::Result<Self> {
        Ok(Self::driven(format!("generated {seed}"), generated::module(seed)?))
    }

    /// A module of which the bytes decide, as a fuzzer varies them. `None` if they make none with a function.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::driven("fuzzed".into(), generated::module_of(bytes)?))
    }

    /// A module that was generated before.
    pub fn saved(name: &str, wasm: Vec<u8>) -> Self {
        Self::driven(name.into(), wasm)
    }

    fn driven(name: String, wasm: Vec<u8>) -> Self {
        let entry = Entry::Function(generated::DRIVER);
        Self { name, wasm, entry, keeps_time: false, tests_host: false }
    }
}
