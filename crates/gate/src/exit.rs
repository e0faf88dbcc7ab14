//! Exit codes, and errors that lead to them.

use std::fmt;
use std::process::ExitCode;

/// What the exit code means, as the help tells it.
pub(crate) const HELP: &str = "\
Exit codes:
  0..255  the program's own exit code
  2       wrong usage of the command
  75      the program was suspended, and its state was written (EX_TEMPFAIL): `gate resume` goes on
  124     the program was stopped because of --timeout
  125     Gate itself failed: for instance, the sandbox cannot be set up
  126     the module cannot be run: it is invalid, imports what does not exist, has no fitting
          entry function, or needs more memory than --max-memory
  127     the file cannot be found or read
  130     interrupted (SIGINT); likewise 129 after SIGHUP, and 143 after SIGTERM. With --snapshot, the
          first SIGINT or SIGTERM suspends the program, and a second one interrupts that
  134     the program trapped, or aborted (128 + SIGABRT)
  137     the program was killed by somebody else (128 + SIGKILL)
  141     the program wrote to a closed pipe (128 + SIGPIPE)";

/// What the exit code of commands that run nothing means, as the help tells it.
pub(crate) const LOOK_HELP: &str = "\
Exit codes:
  0       it was written
  2       wrong usage of the command, or what is to be shown does not exist
  125     Gate itself failed: for instance, the program cannot be compiled, or the file cannot be written
  126     it is not a valid snapshot
  127     the file cannot be found or read";

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Success,
    Usage,
    /// The program's own code.
    Program(u8),
    Suspended,
    Timeout,
    GateFailed,
    CannotRun,
    NotReadable,
    Trapped,
    /// As if the signal had ended the command.
    Signal(u8),
}

impl Status {
    pub(crate) const KILLED: Self = Self::Signal(9);
    pub(crate) const CLOSED_PIPE: Self = Self::Signal(13);

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Usage => 2,
            Self::Program(code) => code,
            Self::Suspended => 75,
            Self::Timeout => 124,
            Self::GateFailed => 125,
            Self::CannotRun => 126,
            Self::NotReadable => 127,
            Self::Trapped => 128 + 6,
            Self::Signal(number) => 128_u8.wrapping_add(number),
        }
    }
}

impl fmt::Display for Status {
    /// What has become of a program.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success | Self::Program(_) => write!(f, "exited with {}", self.code()),
            Self::Suspended => f.write_str("suspended"),
            Self::Timeout => f.write_str("stopped after the time limit"),
            Self::Trapped => f.write_str("trapped"),
            Self::Signal(number) => write!(f, "ended by signal {number}"),
            Self::Usage | Self::GateFailed | Self::CannotRun | Self::NotReadable => f.write_str("failed"),
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        status.code().into()
    }
}

/// Why the command cannot do what it was asked to do.
#[derive(Debug)]
pub(crate) struct Problem {
    status: Status,
    cause: anyhow::Error,
}

impl Problem {
    /// The command line makes no sense.
    pub(crate) fn usage(cause: impl Into<anyhow::Error>) -> Self {
        Self { status: Status::Usage, cause: cause.into() }
    }

    /// The module is not one that can be run.
    pub(crate) fn cannot_run(cause: impl Into<anyhow::Error>) -> Self {
        Self { status: Status::CannotRun, cause: cause.into() }
    }

    /// A file cannot be read.
    pub(crate) fn not_readable(cause: impl Into<anyhow::Error>) -> Self {
        Self { status: Status::NotReadable, cause: cause.into() }
    }

    /// It is Gate's fault, or the host's.
    pub(crate) fn gate_failed(cause: impl Into<anyhow::Error>) -> Self {
        Self { status: Status::GateFailed, cause: cause.into() }
    }

    /// Says which file it is about.
    pub(crate) fn about(self, subject: impl fmt::Display) -> Self {
        Self { cause: self.cause.context(subject.to_string()), ..self }
    }

    pub(crate) fn status(&self) -> Status {
        self.status
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = String::new();
        for cause in self.cause.chain() {
            let cause = cause.to_string();
            // Some errors tell their causes themselves.
            if told.contains(&cause) {
                continue;
            }
            let separator = if told.is_empty() { "" } else { ": " };
            write!(f, "{separator}{cause}")?;
            told.push_str(&cause);
        }
        Ok(())
    }
}

/// Replaces what would be more than one line, or what a terminal would obey.
pub(crate) fn one_line(text: &str) -> String {
    let joined = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    joined.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn problems_are_one_line() {
        let problem = Problem::cannot_run(anyhow!("a\n  b\x1b[31m")).about("x.wasm");
        assert_eq!(one_line(&problem.to_string()), "x.wasm: a; b\u{fffd}[31m");
        assert_eq!(problem.status(), Status::CannotRun);
    }

    #[test]
    fn causes_are_told_once() {
        let cause = anyhow!("no space").context("make a container: no space (a hint)");
        assert_eq!(
            Problem::gate_failed(cause).about("x").to_string(),
            "x: make a container: no space (a hint)"
        );
        let cause = anyhow!("no space").context("write y");
        assert_eq!(Problem::gate_failed(cause).to_string(), "write y: no space");
    }

    #[test]
    fn signals_are_told_as_shells_do() {
        assert_eq!(Status::Signal(2).code(), 130);
        assert_eq!(Status::CLOSED_PIPE.code(), 141);
        assert_eq!(Status::KILLED.code(), 137);
    }
}
