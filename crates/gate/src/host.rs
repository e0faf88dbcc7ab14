//! What programs can reach.

use gate_image::GuestMemory;
use gate_runtime::{HostFault, HostFunctions, RestoreError, SavedService, Start};
use gate_wasi::WasiCtx;
use gate_wire::call::{CallReply, CallRequest};

/// Answers the program's calls.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) wasi: WasiCtx,
}

impl HostFunctions for Host {
    /// Ends the program where the operating system would end a native one.
    async fn call(&mut self, request: &CallRequest, memory: &GuestMemory) -> Result<CallReply, HostFault> {
        let reply = HostFunctions::call(&mut self.wasi, request, memory).await?;
        if self.wasi.closed_pipe() {
            return Err(HostFault::new("a pipe is closed"));
        }
        if self.wasi.raised().is_some() {
            return Err(HostFault::new("the program raised a signal"));
        }
        Ok(reply)
    }

    fn begin(&mut self, start: &Start) {
        self.wasi.begin(start);
    }

    fn save(&self) -> Vec<SavedService> {
        HostFunctions::save(&self.wasi)
    }

    fn restore(&mut self, services: &[SavedService]) -> Result<(), RestoreError> {
        HostFunctions::restore(&mut self.wasi, services)
    }
}
