//! Wasmtime, set up as it comes: the peer.

use crate::stats::Run;
use crate::wasi_shim::{self, Exit, Host};
use anyhow::Context;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;
use wasmtime::{Config, Engine, Linker, Module, Store};

/// An engine and the host functions.
pub(crate) struct Peer {
    engine: Engine,
}

impl Peer {
    /// Wasmtime's default configuration. Parallel compilation is not built in.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { engine: Engine::new(&Config::new())? })
    }

    pub(crate) fn compile(&self, wasm: &[u8]) -> anyhow::Result<Module> {
        Ok(Module::new(&self.engine, wasm)?)
    }

    /// Runs a WASI command, or any module that exports `_start`.
    pub(crate) fn run(&self, module: &Module, args: Vec<String>, stdin: Vec<u8>) -> anyhow::Result<Run> {
        let mut linker = Linker::new(&self.engine);
        wasi_shim::define(&mut linker)?;
        linker.define_unknown_imports_as_traps(module)?;
        let pre = linker.instantiate_pre(module)?;

        let start = Instant::now();
        let mut store = Store::new(&self.engine, Host::new(args, stdin));
        let instance = pre.instantiate(&mut store)?;
        let entry = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        let code = match entry.call(&mut store, ()) {
            Ok(()) => 0,
            Err(e) => e.downcast::<Exit>()?.0,
        };
        let time = start.elapsed();
        Ok(Run { stdout: store.into_data().stdout, code, time })
    }
}

/// Runs a program with the standard streams of this process, and returns its exit code.
pub(crate) fn run_file(file: &Path, mut args: Vec<String>) -> anyhow::Result<i32> {
    let wasm = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    args.insert(0, file.display().to_string());
    let mut stdin = Vec::new();
    std::io::stdin().read_to_end(&mut stdin).context("read standard input")?;
    let peer = Peer::new()?;
    let run = peer.run(&peer.compile(&wasm)?, args, stdin)?;
    std::io::stdout().write_all(&run.stdout).context("write standard output")?;
    Ok(run.code)
}
