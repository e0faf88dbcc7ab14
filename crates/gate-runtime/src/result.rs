//! How a program ended.

use gate_wire::trap::TrapId;
use std::fmt;

/// [`Result::value`] which means success.
pub const RESULT_SUCCESS: i32 = 0;

/// What a program which ended by itself says of its success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Result {
    terminated: bool,
    value: i32,
}

impl Result {
    /// The entry function returned; the instance can be given another one.
    pub const fn halted(value: i32) -> Self {
        Self { terminated: false, value }
    }

    /// The program asked for its termination; the instance cannot run any more.
    pub const fn terminated_with(value: i32) -> Self {
        Self { terminated: true, value }
    }

    /// Whether the program asked for its termination, instead of returning.
    pub const fn terminated(self) -> bool {
        self.terminated
    }

    /// The exit code, or what an entry function of the type `() -> i32` returned. [`RESULT_SUCCESS`] if it was
    /// another one.
    pub const fn value(self) -> i32 {
        self.value
    }
}

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.terminated { "terminated" } else { "halted" };
        match self.value {
            RESULT_SUCCESS => write!(f, "{how}: success"),
            value => write!(f, "{how}: failure ({value})"),
        }
    }
}

/// Why a program does not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// [`TrapId::Exit`] if it ended by itself.
    pub trap: TrapId,
    /// Meaningful if it ended by itself.
    pub result: Result,
}

impl Outcome {
    pub(crate) const fn exit(result: Result) -> Self {
        Self { trap: TrapId::Exit, result }
    }

    pub(crate) fn trap(trap: TrapId) -> Self {
        Self { trap, result: Result::default() }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.trap {
            TrapId::Exit => self.result.fmt(f),
            trap => trap.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_told_in_words() {
        assert_eq!(Outcome::exit(Result::halted(0)).to_string(), "halted: success");
        assert_eq!(Outcome::exit(Result::terminated_with(3)).to_string(), "terminated: failure (3)");
        assert_eq!(Outcome::trap(TrapId::Killed).to_string(), "killed");
    }
}
