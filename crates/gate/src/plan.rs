//! What is still to be called when a function has returned, and what becomes of results.

use gate_compiler::Value;
use gate_runtime::{RestoreError, SavedService};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Name of the state of a [`Plan`] in a snapshot.
const SERVICE: &str = "gate.command";

/// Version of that state.
const VERSION: u8 = 1;

/// More functions are never called one after the other.
const MAX_CALLS: usize = 16;

/// What the command makes of a module's functions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Functions that have not been called.
    pub(crate) calls: VecDeque<Call>,
    /// The last function was asked for by name: it may return what it likes, and that is printed.
    pub(crate) prints_results: bool,
}

/// A function to call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Name of the export.
    pub(crate) name: String,
    pub(crate) args: Vec<Value>,
}

/// What is wrong with a saved plan.
#[derive(Debug, thiserror::Error)]
enum PlanError {
    #[error("version {0} is not known")]
    Version(u8),
    #[error("it cannot be decoded")]
    Invalid,
    #[error("it has {0} calls")]
    TooMany(usize),
}

impl Plan {
    pub(crate) fn save(&self) -> SavedService {
        let mut state = vec![VERSION];
        // Neither a vector's end nor anything in a plan makes this fail.
        state.extend(postcard::to_stdvec(self).unwrap_or_default());
        SavedService { name: SERVICE.into(), state }
    }

    /// Takes its own state out of a program's, leaving the services'. A program that was not started by this command has none:
    /// then nothing is to come.
    pub(crate) fn restore(services: &mut Vec<SavedService>) -> Result<Self, RestoreError> {
        let Some(index) = services.iter().position(|service| service.name == SERVICE) else {
            return Ok(Self::default());
        };
        let SavedService { name, state } = services.remove(index);
        Self::decode(&state).map_err(|error| RestoreError::State { name, source: error.into() })
    }

    fn decode(state: &[u8]) -> Result<Self, PlanError> {
        match state {
            [VERSION, rest @ ..] => match postcard::take_from_bytes::<Self>(rest) {
                Ok((plan, [])) if plan.calls.len() <= MAX_CALLS => Ok(plan),
                Ok((plan, [])) => Err(PlanError::TooMany(plan.calls.len())),
                _ => Err(PlanError::Invalid),
            },
            [version, ..] => Err(PlanError::Version(*version)),
            [] => Err(PlanError::Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let args = vec![Value::I32(-1), Value::V128(u128::MAX), Value::FuncRef(None)];
        Plan { calls: [Call { name: "f".into(), args }].into(), prints_results: true }
    }

    #[test]
    fn plans_travel() {
        let other = SavedService { name: "other".into(), state: vec![1] };
        let mut services = vec![plan().save(), other.clone()];
        assert_eq!(Plan::restore(&mut services).unwrap(), plan());
        assert_eq!(services, std::slice::from_ref(&other));
        assert_eq!(Plan::restore(&mut services).unwrap(), Plan::default());
    }

    #[test]
    fn damaged_plans_are_refused() {
        let state = plan().save().state;
        for end in 0..state.len() {
            assert!(Plan::decode(&state[..end]).is_err(), "{end}");
        }
        assert!(matches!(Plan::decode(&[2, 0, 0]), Err(PlanError::Version(2))));
        assert!(matches!(Plan::decode(&[state.as_slice(), &[0]].concat()), Err(PlanError::Invalid)));
        let call = Call { name: String::new(), args: Vec::new() };
        let many = Plan { calls: vec![call; 17].into(), prints_results: false };
        assert!(matches!(Plan::decode(&many.save().state), Err(PlanError::TooMany(17))));
    }
}
