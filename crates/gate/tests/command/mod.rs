//! The command, as a user has it.
#![allow(dead_code, reason = "each test uses some of it")]

pub(crate) mod chain;
pub(crate) mod fetched;
pub(crate) mod server;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Path of a program of the tests.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

/// The command with arguments, and with a cache that is not the user's.
pub(crate) fn gate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gate"));
    command.args(args).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")).env_remove("GATE_LOG");
    command
}

/// `gate run` with options, a program of the tests, and arguments.
pub(crate) fn run(options: &[&str], name: &str, args: &[&str]) -> Command {
    let mut command = gate(&["run"]);
    command.args(options).arg(program(name)).args(args);
    command
}

/// How a command ended, which must not take longer than a test may.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn stdout(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text on standard output")
    }

    /// Fails unless the command ended with this code, and said nothing on standard error.
    #[track_caller]
    pub(crate) fn quietly(self, code: i32) -> Self {
        assert_eq!((self.code, self.stderr.as_str()), (Some(code), ""), "{self:?}");
        self
    }

    /// Fails unless the command ended with this code and one line on standard error that contains all of these texts.
    #[track_caller]
    pub(crate) fn with_line(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.starts_with("gate: ") && self.stderr.ends_with('\n'), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is missing: {self:?}");
        }
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), stdout: output.stdout, stderr }
    }
}

/// Runs a command with this on its standard input.
pub(crate) fn finish(command: &mut Command, input: &[u8]) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start gate");
    let mut stdin = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // The command need not read it all.
        scope.spawn(move || stdin.write_all(input).ok());
        child.wait_with_output().expect("wait for gate").into()
    })
}

/// Waits for a command's end.
#[track_caller]
pub(crate) fn wait_within(child: &mut Child, limit: Duration) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait for gate") {
            return status.code();
        }
        if start.elapsed() > limit {
            child.kill().ok();
            panic!("the command does not end");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Processes that descend from the given one.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(child) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            // The name, in parentheses, may contain anything.
            let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            if fields.get(1).and_then(|ppid| ppid.parse().ok()) == Some(parent) {
                found.push(child);
                parents.push(child);
            }
        }
    }
    found
}

/// Waits until none of the processes exists, other than as one that nobody has waited for.
pub(crate) fn all_gone(pids: &[u32], limit: Duration) -> bool {
    let start = Instant::now();
    let exists = |pid: &u32| match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'),
        Err(_) => false,
    };
    while pids.iter().any(exists) {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}
