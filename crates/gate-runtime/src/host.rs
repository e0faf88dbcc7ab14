//! Functions of the host that programs call.

use crate::error::HostFault;
use gate_image::GuestMemory;
use gate_wire::call::{CallReply, CallRequest};
use gate_wire::trap::TrapId;
use std::future::{self, Future};

/// Serves a program's host calls.
pub trait HostFunctions: Send {
    /// Makes a call. The program waits until it is done.
    ///
    /// Everything in the request comes from the program: the function's number may be one that it does not import.
    /// Addresses are to be looked up in `memory`, the program's first linear memory.
    ///
    /// The future is dropped when the program dies meanwhile. If [`Process::serve`](crate::Process::serve) is dropped
    /// instead and then called again, the call is made again.
    fn call(
        &mut self,
        request: &CallRequest,
        memory: &GuestMemory,
    ) -> impl Future<Output = std::result::Result<CallReply, HostFault>> + Send;
}

/// No functions: a program that calls one violates the ABI.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHostFunctions;

impl HostFunctions for NoHostFunctions {
    fn call(
        &mut self,
        _: &CallRequest,
        _: &GuestMemory,
    ) -> impl Future<Output = std::result::Result<CallReply, HostFault>> + Send {
        future::ready(Ok(CallReply::Trap(TrapId::AbiViolation as u32)))
    }
}
