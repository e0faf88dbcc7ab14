//! Wasmtime with its own WASI, in a process of its own that runs one program after another.
//!
//! It is the package for Python which `tools/fetch-programs` installs. What is timed is within that process: loading the
//! compiled module, linking, and running; neither the start of the process nor that of Python.

use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Where `tools/fetch-programs` puts what it fetches.
pub(crate) const FETCHED: &str = "target/programs/fetched";

/// The process.
pub(crate) struct PeerProcess {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

/// What is to be run.
pub(crate) struct Request<'a> {
    pub(crate) file: &'a Path,
    pub(crate) args: &'a [&'a str],
    pub(crate) dirs: &'a [&'a Path],
    pub(crate) stdout: &'a Path,
}

/// How long it took.
pub(crate) struct Times {
    /// From loading the compiled module to the program's end.
    pub(crate) total: Duration,
    /// Of the program alone.
    pub(crate) program: Duration,
    /// Processor time of all.
    pub(crate) cpu: Duration,
}

impl PeerProcess {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let python = fetched("venv/bin/python")?;
        let mut child = Command::new(python)
            .args(["-c", include_str!("wasmtime.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start Wasmtime for Python")?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (requests, replies) = pipes.context("talk to Wasmtime for Python")?;
        Ok(Self { child, requests, replies: BufReader::new(replies) })
    }

    /// Runs a program to its end, which must be a success.
    pub(crate) fn run(&mut self, request: &Request<'_>) -> anyhow::Result<Times> {
        let Request { file, args, dirs, stdout } = request;
        let line = serde_json::json!({ "file": file, "args": args, "dirs": dirs, "stdout": stdout });
        writeln!(self.requests, "{line}").context("ask Wasmtime for Python")?;
        let mut reply = String::new();
        self.replies.read_line(&mut reply).context("listen to Wasmtime for Python")?;
        let reply: serde_json::Value =
            serde_json::from_str(&reply).context("understand Wasmtime for Python")?;
        let number = |name: &str| reply[name].as_u64().with_context(|| format!("no {name:?} in {reply}"));
        match number("code")? {
            0 => Ok(Times {
                total: Duration::from_nanos(number("total")?),
                program: Duration::from_nanos(number("program")?),
                cpu: Duration::from_nanos(number("cpu")?),
            }),
            code => bail!("{} exited with {code} in Wasmtime", file.display()),
        }
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        // It has nothing to lose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of something that was fetched.
pub(crate) fn fetched(name: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(FETCHED).join(name);
    match path.exists() {
        true => Ok(std::path::absolute(path)?),
        false => bail!("{} is missing: run tools/fetch-programs", path.display()),
    }
}
