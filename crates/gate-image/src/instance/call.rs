//! The host call that a stopped program was making.

use crate::error::ImageError;
use crate::state::State;
use gate_wire::call::CallReply;
use gate_wire::context::{CallRecord, CallState, MAX_CALL_ARGS};
use gate_wire::context_offset;
use gate_wire::record::{Reader, Writer};
use serde::{Deserialize, Serialize};

/// A host call which a stopped program was making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingCall {
    /// Number of the host function.
    pub function: u32,
    /// Arguments; 32-bit ones are zero-extended.
    pub args: [u64; MAX_CALL_ARGS],
    /// The call's outcome which the program has not received yet. Without one the call is made again.
    pub reply: Option<CallOutcome>,
}

/// Outcome of a host call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallOutcome {
    /// It returned the value: zero-extended, or zero.
    Returned(u64),
    /// It ended in the trap with the number.
    Refused(u32),
}

impl From<CallReply> for CallOutcome {
    fn from(reply: CallReply) -> Self {
        match reply {
            CallReply::Return(value) => Self::Returned(value),
            CallReply::Trap(trap) => Self::Refused(trap),
        }
    }
}

const STATE_OFFSET: i32 = context_offset!(call.state);
const RESULT_OFFSET: i32 = context_offset!(call.result);

/// Notes in the state of a stopped program what has become of the request that the host has.
pub(super) fn settle(state: &State, reply: Option<CallOutcome>) -> Result<(), ImageError> {
    let error = ImageError::system("settle a host call");
    let mut buf = [0; 4];
    state.read(state.context_field(STATE_OFFSET), &mut buf).map_err(&error)?;
    if u32::from_le_bytes(buf) != CallState::Sent as u32 {
        return Ok(());
    }
    let (call_state, result) = match reply {
        None => (CallState::Unsent, 0),
        Some(CallOutcome::Returned(value)) => (CallState::Answered, value),
        Some(CallOutcome::Refused(trap)) => (CallState::Refused, trap.into()),
    };
    state.write(state.context_field(RESULT_OFFSET), &result.to_le_bytes()).map_err(&error)?;
    state.write(state.context_field(STATE_OFFSET), &(call_state as u32).to_le_bytes()).map_err(&error)
}

/// The call in the state of a stopped program. What has not been settled has had no effect.
pub(crate) fn read(state: &State) -> Result<Option<PendingCall>, ImageError> {
    let mut buf = [0; size_of::<CallRecord>()];
    state
        .read(state.context_field(context_offset!(call)), &mut buf)
        .map_err(ImageError::system("read a host call"))?;
    let mut r = Reader::new(&buf);
    let (call_state, function) = (r.u32().unwrap_or_default(), r.u32().unwrap_or_default());
    let result = r.u64().unwrap_or_default();
    let reply = match call_state {
        s if s == CallState::Unsent as u32 || s == CallState::Sent as u32 => None,
        s if s == CallState::Answered as u32 => Some(CallOutcome::Returned(result)),
        s if s == CallState::Refused as u32 => Some(CallOutcome::Refused(result as u32)),
        _ => return Ok(None),
    };
    let args = std::array::from_fn(|_| r.u64().unwrap_or_default());
    Ok(Some(PendingCall { function, args, reply }))
}

/// Writes the call to the state of a program which is to go on in it.
pub(crate) fn write(state: &State, call: Option<&PendingCall>) -> Result<(), ImageError> {
    let mut buf = [0; size_of::<CallRecord>()];
    if let Some(call) = call {
        let (call_state, result) = match call.reply {
            None => (CallState::Unsent, 0),
            Some(CallOutcome::Returned(value)) => (CallState::Answered, value),
            Some(CallOutcome::Refused(trap)) => (CallState::Refused, trap.into()),
        };
        let mut w = Writer::new(&mut buf);
        w.u32(call_state as u32).u32(call.function).u64(result);
        for arg in call.args {
            w.u64(arg);
        }
    }
    state
        .write(state.context_field(context_offset!(call)), &buf)
        .map_err(ImageError::system("write a host call"))
}
