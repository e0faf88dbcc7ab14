//! Running the compiler.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Compiler {
    rustc: OsString,
    linker: Option<OsString>,
    target: String,
    script: PathBuf,
    out: PathBuf,
}

impl Compiler {
    /// For the given target, with a linker script for programs, and a directory for what comes out.
    pub(crate) fn new(target: String, script: PathBuf, out: PathBuf) -> Result<Self, Box<dyn Error>> {
        let rustc = env::var_os("RUSTC").ok_or("cargo did not set RUSTC")?;
        Ok(Self { rustc, linker: env::var_os("RUSTC_LINKER"), target, script, out })
    }

    /// Compiles a library that other crates find by its name, as it finds these.
    pub(crate) fn library(&self, name: &str, main: &Path, libraries: &[&str]) -> Result<(), Box<dyn Error>> {
        let mut command = self.command(name, main);
        for library in libraries {
            command.arg("--extern").arg(library);
        }
        command.arg("--crate-type=rlib").arg("--out-dir").arg(&self.out);
        run(name, command)
    }

    /// Compiles and links a program whose image begins at `start`. Gives the linker's output.
    pub(crate) fn program(
        &self,
        name: &str,
        main: &Path,
        start: usize,
        variables: &[(&str, &str)],
    ) -> Result<PathBuf, Box<dyn Error>> {
        let output = self.out.join(format!("{name}.linked"));
        let mut command = self.command(name, main);
        command.arg("--crate-type=bin").arg("-o").arg(&output);
        command.arg("-Clto=thin");
        for library in ["gate_wire", "handover", "sys"] {
            command.arg("--extern").arg(library);
        }
        if let Some(linker) = &self.linker {
            let mut argument = OsString::from("-Clinker=");
            argument.push(linker);
            command.arg(argument);
        }
        let mut script = OsString::from("-Clink-arg=-Wl,-T,");
        script.push(&self.script);
        command.arg(script);
        for argument in [
            "-nostdlib",
            "-nostartfiles",
            "-static-pie",
            "-Wl,--build-id=none",
            "-Wl,--no-dynamic-linker",
            "-Wl,--no-eh-frame-hdr",
            "-Wl,-z,noexecstack",
        ] {
            command.arg(format!("-Clink-arg={argument}"));
        }
        command.arg(format!("-Clink-arg=-Wl,--defsym=IMAGE_START={start}"));
        command.envs(variables.iter().copied());
        run(name, command)?;
        Ok(output)
    }

    fn command(&self, name: &str, main: &Path) -> Command {
        let mut command = Command::new(&self.rustc);
        // What is set for the host's crates does not apply here.
        for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
            command.env_remove(variable);
        }
        command.arg(main);
        command.arg("--crate-name").arg(name).arg("--target").arg(&self.target);
        command.arg("-L").arg(&self.out);
        // With full protection of relocations (the default), the compiler's calls of memory functions go through a
        // table of addresses.
        command.arg("-Crelro-level=off");
        // Nothing is linked but our own libraries; with a static C library, not every target could be
        // position-independent.
        command.arg("-Ctarget-feature=-crt-static");
        command.args([
            "--edition=2024",
            "-Copt-level=2",
            "-Cpanic=abort",
            "-Ccodegen-units=1",
            "-Crelocation-model=pie",
            "-Cforce-unwind-tables=no",
            "-Cdebuginfo=0",
        ]);
        command
    }
}

fn run(name: &str, mut command: Command) -> Result<(), Box<dyn Error>> {
    let output = command.output().map_err(|e| format!("run {:?}: {e}", command.get_program()))?;
    let messages = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("compile {name}: {}\n{messages}", output.status).into());
    }
    for line in messages.lines() {
        println!("cargo::warning={line}");
    }
    Ok(())
}
