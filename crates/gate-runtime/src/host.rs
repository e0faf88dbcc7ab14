//! Functions of the host that programs call.

use crate::error::{HostFault, RestoreError};
use gate_image::{GuestMemory, ServiceState};
use gate_wire::call::{CallReply, CallRequest};
use gate_wire::trap::TrapId;
use std::future::{self, Future};
use std::task::Context;

/// Serves a program's host calls.
pub trait HostFunctions: Send {
    /// Makes a call. The program waits until it is done.
    ///
    /// Everything in the request comes from the program: the function's number may be one that it does not import.
    /// Addresses are to be looked up in `memory`, the program's first linear memory.
    ///
    /// # Cancellation
    ///
    /// The future is dropped when the program is suspended or dies meanwhile, or when
    /// [`Process::serve`](crate::Process::serve) is dropped. A call that was dropped must have had no effect, because the
    /// program makes it again when it goes on: with the same function and arguments, and before any other call. So what
    /// cannot be undone has to happen in the poll which completes the future; and what was taken from somewhere, but not yet
    /// given to the program, has to be kept in `self`. A future that is complete is answered exactly once, even if the
    /// program was stopped before it could receive the reply.
    fn call(
        &mut self,
        request: &CallRequest,
        memory: &GuestMemory,
    ) -> impl Future<Output = std::result::Result<CallReply, HostFault>> + Send;

    /// Makes progress with what does not depend on the program, while that does something else than call. Wakes the
    /// context's task when there is more to do.
    fn poll_background(&mut self, _cx: &mut Context<'_>) {}

    /// Number of the descriptor by which the program exchanges packets through functions that this serves.
    fn packet_descriptor(&self) -> u32 {
        gate_wire::gate::PACKET_FD
    }

    /// Tells that the program begins to run, or goes on. Comes before the first call of each process.
    fn begin(&mut self, _start: &Start) {}

    /// Prepares for [`HostFunctions::save`]: waits for what others have to tell first, but not for long. To be called when the
    /// program is suspended. It can go on here all the same.
    ///
    /// If this fails, the program's state cannot be written down as a whole.
    fn suspend(&mut self) -> impl Future<Output = std::result::Result<(), HostFault>> + Send {
        future::ready(Ok(()))
    }

    /// What has to be known about this, besides the program's own state, for the program to go on elsewhere.
    ///
    /// To be called when the program is suspended, after [`HostFunctions::suspend`]. Deterministic: the same state gives the
    /// same bytes.
    fn save(&self) -> Vec<ServiceState> {
        Vec::new()
    }

    /// Takes over what [`HostFunctions::save`] has given, maybe of another host, another version, or by someone
    /// malicious. To be called before the program goes on. If it fails, this is to be thrown away.
    fn restore(&mut self, services: &[ServiceState]) -> std::result::Result<(), RestoreError> {
        match services.first() {
            Some(service) => Err(RestoreError::Unknown(service.name.clone())),
            None => Ok(()),
        }
    }
}

/// How a program comes to run in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The program has been suspended before, and goes on: here or elsewhere, perhaps as one of several copies.
    pub resumed: bool,
    /// What its monotonic clock shows, in nanoseconds.
    pub monotonic_time: u64,
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
