//! How the runtime's programs reach their [`WasiCtx`].

use crate::{AccessError, LinearMemory, WasiCtx};
use gate_image::{GuestMemory, MemoryError, WaitingMemory};
use gate_runtime::{HostFault, HostFunctions, RestoreError, SavedService, Start};
use gate_wire::call::{CallReply, CallRequest};
use std::io;

impl LinearMemory for GuestMemory {
    fn size(&self) -> io::Result<u64> {
        GuestMemory::size(self)
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), AccessError> {
        Ok(GuestMemory::read(self, addr, buf)?)
    }

    fn write(&self, addr: u64, data: &[u8]) -> Result<(), AccessError> {
        Ok(GuestMemory::write(self, addr, data)?)
    }
}

impl LinearMemory for WaitingMemory<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(WaitingMemory::size(self))
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), AccessError> {
        Ok(WaitingMemory::read(self, addr, buf)?)
    }

    fn write(&self, addr: u64, data: &[u8]) -> Result<(), AccessError> {
        Ok(WaitingMemory::write(self, addr, data)?)
    }
}

impl From<MemoryError> for AccessError {
    fn from(err: MemoryError) -> Self {
        match err {
            MemoryError::OutOfBounds { .. } => Self::OutOfBounds,
            MemoryError::Host(err) => Self::Host(err),
        }
    }
}

/// Name of the service whose state a context is.
const SERVICE: &str = "wasi_snapshot_preview1";

impl HostFunctions for WasiCtx {
    async fn call(&mut self, request: &CallRequest, memory: &GuestMemory) -> Result<CallReply, HostFault> {
        let memory = memory.waiting().map_err(HostFault::new)?;
        WasiCtx::call(self, request, &memory).await.map_err(HostFault::new)
    }

    fn packet_descriptor(&self) -> u32 {
        WasiCtx::packet_descriptor(self)
    }

    fn begin(&mut self, start: &Start) {
        self.set_monotonic_time(start.monotonic_time);
        if !start.resumed {
            self.wait = None;
        }
    }

    fn save(&self) -> Vec<SavedService> {
        vec![SavedService { name: SERVICE.into(), state: WasiCtx::save(self) }]
    }

    fn restore(&mut self, services: &[SavedService]) -> Result<(), RestoreError> {
        for service in services {
            if service.name != SERVICE {
                return Err(RestoreError::Unknown(service.name.clone()));
            }
            WasiCtx::restore(self, &service.state)
                .map_err(|error| RestoreError::State { name: service.name.clone(), source: error.into() })?;
        }
        Ok(())
    }
}
