//! The programs that are run, with the arguments that make them run for some tenths of a second.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::{fs, process};

/// A program to run.
pub(crate) struct Workload {
    /// Name of the program in `programs`.
    pub(crate) name: &'static str,
    /// Whether the target of speed is about it.
    pub(crate) core: bool,
    args: &'static str,
    input: Input,
}

enum Input {
    None,
    /// A file in `programs/inputs`.
    Own(&'static str),
    /// A file in `target/programs/data`.
    Fetched(&'static str),
}

const fn core(name: &'static str, args: &'static str) -> Workload {
    Workload { name, core: true, args, input: Input::None }
}

const fn other(name: &'static str, args: &'static str, input: Input) -> Workload {
    Workload { name, core: false, args, input }
}

/// Small programs that do one thing each, then large ones.
pub(crate) const WORKLOADS: &[Workload] = &[
    core("fib", "37"),
    core("matmul", "512"),
    core("sieve", "5000000 8"),
    core("sha256", "400"),
    core("quicksort", "1200000"),
    core("trees", "18"),
    core("indirect", "6000000"),
    core("coremark", "4000"),
    other("nbody", "2500000", Input::None),
    other("mandelbrot", "1000", Input::None),
    other("fannkuch", "10", Input::None),
    other("stencil", "400", Input::None),
    other("kernels", "420", Input::None),
    other("image", "1600", Input::None),
    other("filter", "4000", Input::None),
    other("blake3", "600", Input::Fetched("sample2")),
    other("bzip2", "9 12", Input::Fetched("sample2")),
    other("zstd", "9 25", Input::Fetched("sample2")),
    other("lua", "40", Input::Own("workload.lua")),
    other("quickjs", "60", Input::Own("workload.js")),
    other("sqlite", "20", Input::Own("workload.sql")),
    other("wasm3", "30", Input::None),
    other("json", "8000", Input::None),
    other("regex", "40", Input::Fetched("manual.xml")),
    other("markdown", "20000", Input::Fetched("readme.md")),
];

impl Workload {
    /// The module.
    pub(crate) fn wasm(&self) -> anyhow::Result<Vec<u8>> {
        let path = built().join("wasm").join(format!("{}.wasm", self.name));
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    }

    /// Name and arguments.
    pub(crate) fn args(&self) -> Vec<String> {
        [self.name].into_iter().chain(self.args.split_whitespace()).map(String::from).collect()
    }

    /// Standard input.
    pub(crate) fn input(&self) -> anyhow::Result<Vec<u8>> {
        let path = match self.input {
            Input::None => return Ok(Vec::new()),
            Input::Own(name) => root().join("programs/inputs").join(name),
            Input::Fetched(name) => built().join("data").join(name),
        };
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    }
}

/// Builds the programs that are not there yet.
pub(crate) fn build() -> anyhow::Result<()> {
    let script = root().join("tools/build-programs");
    let status =
        process::Command::new(&script).status().with_context(|| format!("run {}", script.display()))?;
    if !status.success() {
        bail!("{} failed", script.display());
    }
    Ok(())
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn built() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from).join("programs")
}
