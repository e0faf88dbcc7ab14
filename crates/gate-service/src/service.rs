//! What a service is.

use crate::{Context, Registry};
use gate_runtime::{Packet, ServiceError, Start};
use std::error::Error;
use std::task;

/// What came with a program that was suspended.
pub type Restored<'a> = Option<&'a [u8]>;

/// Something that programs discover by name.
pub trait Service: Send + Sync + 'static {
    /// Name: 1 to 127 bytes of letters, digits and punctuation, without `-`, `.` and `:` before the first slash unless it begins with
    /// a domain name.
    fn name(&self) -> &str;

    /// Version of its protocol: 1 to 127 bytes.
    fn revision(&self) -> &str {
        "0"
    }

    /// Whether it is there for the instance.
    fn is_discoverable(&self, _context: &Context) -> bool {
        true
    }

    /// Begins to serve an instance, of which the registry knows what it is and which services it has. `restored` is what [`ServiceInstance::save`] has given, maybe on another host, or what
    /// someone malicious has made up.
    fn create(
        &self,
        registry: &Registry,
        restored: Restored<'_>,
    ) -> Result<Box<dyn ServiceInstance>, Box<dyn Error + Send + Sync>>;
}

/// A service as one instance sees it.
///
/// All methods return soon. Those with a context wake its task when something that was pending is not any more. If one
/// panics or fails, the instance is stopped, and others go on.
pub trait ServiceInstance: Send {
    /// Tells that the program begins to run, or goes on.
    fn begin(&mut self, _start: &Start) {}

    /// Whether it is there for the program now: programs are told when that changes. Wakes the context's task then.
    ///
    /// Packets come all the same: the program may not know it yet.
    fn poll_available(&mut self, _cx: &mut task::Context<'_>) -> bool {
        true
    }

    /// Waits until it takes another packet.
    fn poll_ready(&mut self, _cx: &mut task::Context<'_>) -> task::Poll<()> {
        task::Poll::Ready(())
    }

    /// Takes a packet from the program. Each call is to be answered by one packet of the same domain.
    ///
    /// Contents of flow and data packets are well-formed.
    fn handle(&mut self, packet: Packet) -> Result<(), ServiceError>;

    /// Waits for a packet for the program. It is taken only if there is room for it.
    fn poll_packet(&mut self, cx: &mut task::Context<'_>) -> task::Poll<Result<Packet, ServiceError>>;

    /// Waits until all that the program has sent is where it is to go. The program has ended: nothing more comes from it.
    fn poll_finish(&mut self, _cx: &mut task::Context<'_>) -> task::Poll<()> {
        task::Poll::Ready(())
    }

    /// Waits until it can be saved, but not for long. The program is suspended: it takes nothing and sends nothing until it
    /// goes on, which is told by [`ServiceInstance::begin`] if it happens here.
    fn poll_suspend(&mut self, _cx: &mut task::Context<'_>) -> task::Poll<Result<(), ServiceError>> {
        task::Poll::Ready(Ok(()))
    }

    /// What has to be known to let the program go on elsewhere: packets that were taken, but not dealt with, above all.
    /// Deterministic.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }
}
