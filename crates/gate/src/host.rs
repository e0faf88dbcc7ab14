//! What programs can reach.

use crate::session::Stopper;
use gate_image::GuestMemory;
use gate_runtime::{
    CreateServerError, HostFault, HostFunctions, PacketHost, RestoreError, SavedService, Start,
};
use gate_service::Registry;
use gate_wasi::WasiCtx;
use gate_wire::call::{CallReply, CallRequest};
use std::task::Context;

/// Answers the program's calls.
#[derive(Debug)]
pub(crate) struct Host {
    packets: PacketHost<Registry, WasiCtx>,
    /// Who stops the program when it wants to read its standard input.
    at_input: Option<Stopper>,
}

impl Host {
    pub(crate) fn new(wasi: WasiCtx, registry: Registry) -> Result<Self, CreateServerError> {
        let mut packets = PacketHost::new(registry, wasi)?;
        let bytes = packets.bytes();
        packets.inner.attach_packets(bytes);
        packets.set_debug_log(Box::new(|message| {
            tracing::debug!(target: "gate::guest", "{}", String::from_utf8_lossy(message));
        }));
        Ok(Self { packets, at_input: None })
    }

    /// Has the program stopped when it first wants to read its standard input.
    pub(crate) fn stop_at_input(&mut self, stopper: Stopper) {
        self.at_input = Some(stopper);
    }

    pub(crate) fn wasi(&self) -> &WasiCtx {
        &self.packets.inner
    }

    /// What the program did wrong, if it was stopped for that.
    pub(crate) fn violation(&self) -> Option<String> {
        self.packets.violation()
    }

    /// Waits until what the program has sent to services is where it is to go.
    pub(crate) async fn finish(&mut self) {
        self.packets.finish().await;
    }
}

impl HostFunctions for Host {
    /// Ends the program where the operating system would end a native one.
    async fn call(&mut self, request: &CallRequest, memory: &GuestMemory) -> Result<CallReply, HostFault> {
        if let Some(stopper) = &self.at_input
            && self.wasi().wants_input(request, memory)
        {
            stopper.stop();
            // It makes the call again when it goes on.
            std::future::pending::<()>().await;
        }
        let reply = self.packets.call(request, memory).await?;
        if self.wasi().closed_pipe() {
            return Err(HostFault::new("a pipe is closed"));
        }
        if self.wasi().raised().is_some() {
            return Err(HostFault::new("the program raised a signal"));
        }
        Ok(reply)
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) {
        self.packets.poll_background(cx);
    }

    fn begin(&mut self, start: &Start) {
        self.packets.begin(start);
    }

    async fn suspend(&mut self) -> Result<(), HostFault> {
        self.packets.suspend().await
    }

    fn save(&self) -> Vec<SavedService> {
        self.packets.save()
    }

    fn restore(&mut self, services: &[SavedService]) -> Result<(), RestoreError> {
        self.packets.restore(services)
    }
}
