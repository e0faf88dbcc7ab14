//! The functions by which programs exchange packets.

use crate::error::{HostFault, RestoreError};
use crate::host::{HostFunctions, Start};
use crate::packets::bytes::PacketBytes;
use crate::packets::iovec::{Buffers, Failure, store};
use crate::packets::pipe::PacketPipe;
use crate::packets::server::{InstanceServer, ServiceConfig, ServiceError, ServiceRegistry};
use crate::packets::state;
use gate_image::{GuestMemory, ServiceState as SavedService};
use gate_wire::call::{CallReply, CallRequest};
use gate_wire::gate::{GateFunction, IO_STARTED_OR_RESUMED};
use gate_wire::packet::MAX_PACKET_SIZE;
use gate_wire::trap::TrapId;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tracing::debug;

/// Most that one call sends, in bytes.
const MAX_SEND: usize = 4 * MAX_PACKET_SIZE;

/// Longest message that a program writes to the debug log at once, in bytes.
const MAX_MESSAGE: u64 = 4096;

/// Where what a program says for debugging goes.
pub type DebugLog = Box<dyn FnMut(&[u8]) + Send>;

/// Serves the functions for packets, and lets others be served by `inner`: those of WASI, for example.
pub struct PacketHost<R: ServiceRegistry, H> {
    /// Serves all other functions.
    pub inner: H,
    registry: R,
    pipe: Arc<Mutex<PacketPipe<R::Server>>>,
    debug_log: Option<DebugLog>,
    scratch: Vec<u8>,
    /// The program was started or resumed, and has not been told yet.
    started: bool,
    clock: Clock,
    wait: Option<state::Wait>,
}

/// The program's monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Clock {
    instant: Instant,
    time: u64,
}

impl Clock {
    fn now(&self) -> u64 {
        self.time.saturating_add(self.instant.elapsed().as_nanos() as u64)
    }
}

impl<R: ServiceRegistry, H: HostFunctions> PacketHost<R, H> {
    /// Begins with no service discovered.
    pub fn new(registry: R, inner: H) -> Result<Self, super::CreateServerError> {
        let server = registry.create_server(ServiceConfig::default(), &[])?;
        Ok(Self {
            inner,
            registry,
            pipe: Arc::new(Mutex::new(PacketPipe::new(server))),
            debug_log: None,
            scratch: Vec::new(),
            started: true,
            clock: Clock { instant: Instant::now(), time: 0 },
            wait: None,
        })
    }

    /// Where what the program says for debugging goes. Without, it is lost.
    pub fn set_debug_log(&mut self, log: DebugLog) {
        self.debug_log = Some(log);
    }

    /// What the program sends and receives, for those who offer it as a descriptor.
    pub fn bytes(&self) -> Arc<dyn PacketBytes>
    where
        R::Server: 'static,
    {
        Arc::clone(&self.pipe) as _
    }

    /// Waits until all that the program has sent is where it is to go. To be called when it has ended, not when it is
    /// suspended.
    pub async fn finish(&mut self) {
        let pipe = &self.pipe;
        poll_fn(|cx| lock(pipe).server.poll_finish(cx)).await;
    }

    /// What the program did wrong, if it was stopped for that.
    pub fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    fn lock(&self) -> MutexGuard<'_, PacketPipe<R::Server>> {
        lock(&self.pipe)
    }

    async fn call_packets(
        &mut self,
        function: GateFunction,
        args: &[u64],
        memory: &GuestMemory,
    ) -> Result<u64, Failure> {
        match function {
            GateFunction::Fd => Ok(self.inner.packet_descriptor().into()),
            GateFunction::Io => self.io(memory, args, args[7]).await,
            GateFunction::IoWithoutFlags => self.io(memory, args, 0).await,
            GateFunction::Read8 => {
                let pipe = &self.pipe;
                poll_fn(|cx| {
                    let mut pipe = lock(pipe);
                    let Poll::Ready(output) = pipe.poll_readable(cx)? else { return Poll::Pending };
                    let mut value = [0; 8];
                    if output.size() < value.len() {
                        return Poll::Ready(Err(unaligned()));
                    }
                    output.take(&mut value);
                    Poll::Ready(Ok(u64::from_le_bytes(value)))
                })
                .await
            }
            GateFunction::Write8 => {
                let pipe = &self.pipe;
                let bytes = args[0].to_le_bytes();
                poll_fn(|cx| {
                    lock(pipe).poll_write(cx, &bytes).map(|taken| match taken? {
                        taken if taken == bytes.len() => Ok(0),
                        _ => Err(unaligned()),
                    })
                })
                .await
            }
            GateFunction::Trap => match TrapId::from_number(args[0] as u32) {
                Some(trap) if !matches!(trap, TrapId::Exit | TrapId::Suspended) => {
                    Err(Failure::Trap(trap, "the program asked for it".into()))
                }
                _ => Err(violation(format!("trap {} cannot be asked for", args[0]))),
            },
            GateFunction::Debug => {
                memory.check(args[0], args[1])?;
                let mut message = vec![0; args[1].min(MAX_MESSAGE) as usize];
                memory.read(args[0], &mut message)?;
                if let Some(log) = &mut self.debug_log {
                    log(&message);
                }
                Ok(0)
            }
        }
    }

    /// `io_N`: sends and receives what can be without waiting, or waits until something can be.
    ///
    /// All that has an effect happens in the poll which completes this.
    async fn io(&mut self, memory: &GuestMemory, args: &[u64], flags_ptr: u64) -> Result<u64, Failure> {
        let [receive, send] = Buffers::read_pair(memory, [(args[0], args[1]), (args[3], args[4])])?;
        for (pointer, size) in [(args[2], 4), (args[5], 4), (flags_ptr, 8)] {
            memory.check(pointer, if pointer == 0 { 0 } else { size })?;
        }
        let deadline = self.deadline(args);
        let mut sleep = pin!(deadline.map(tokio::time::sleep_until));
        let data = send.gather(memory, &mut self.scratch, MAX_SEND)?;
        let pipe = &self.pipe;
        let (received, sent) = poll_fn(|cx| {
            let mut pipe = lock(pipe);
            let sent = match pipe.poll_write(cx, data)? {
                Poll::Ready(sent) => sent,
                Poll::Pending => 0,
            };
            let received = match pipe.poll_readable(cx)? {
                Poll::Ready(output) if !receive.is_empty() => {
                    let received = receive.scatter(memory, output.pieces())?;
                    output.consume(received);
                    received
                }
                _ => 0,
            };
            if received + sent > 0 {
                return Poll::Ready(Ok::<_, Failure>((received, sent)));
            }
            match sleep.as_mut().as_pin_mut() {
                Some(sleep) => sleep.poll(cx).map(|()| Ok((0, 0))),
                None => Poll::Pending,
            }
        })
        .await?;
        self.wait = None;
        let started = if std::mem::take(&mut self.started) { IO_STARTED_OR_RESUMED } else { 0 };
        let (received, sent) = ((received as u32).to_le_bytes(), (sent as u32).to_le_bytes());
        store(memory, [(args[2], &received), (args[5], &sent), (flags_ptr, &started.to_le_bytes())])?;
        Ok(0)
    }

    /// When the call is over at the latest. What the program has waited before it was suspended counts.
    fn deadline(&mut self, args: &[u64]) -> Option<Instant> {
        let timeout = u64::try_from(args[6].cast_signed()).ok()?;
        let now = self.clock.now();
        let key = [args[0], args[1], args[3], args[4], args[6]];
        let began = match self.wait {
            Some(wait) if wait.key == key => wait.began.min(now),
            _ => now,
        };
        self.wait = Some(state::Wait { key, began });
        // Too short to wait.
        let timeout = if timeout < 1000 { 0 } else { timeout };
        let left = began.saturating_add(timeout).saturating_sub(now);
        Instant::now().checked_add(Duration::from_nanos(left))
    }
}

impl<R: ServiceRegistry, H: HostFunctions> HostFunctions for PacketHost<R, H> {
    async fn call(&mut self, request: &CallRequest, memory: &GuestMemory) -> Result<CallReply, HostFault> {
        let Some(function) = GateFunction::from_number(request.func) else {
            return self.inner.call(request, memory).await;
        };
        match self.call_packets(function, &request.args, memory).await {
            Ok(value) => Ok(CallReply::Return(value)),
            Err(Failure::Fault(fault)) => Err(fault),
            Err(Failure::Trap(trap, why)) => {
                debug!(%trap, why, "the program is stopped");
                self.lock().violation = Some(why);
                Ok(CallReply::Trap(trap as u32))
            }
        }
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) {
        self.lock().poll_background(cx);
        self.inner.poll_background(cx);
    }

    fn begin(&mut self, start: &Start) {
        self.started = true;
        self.clock = Clock { instant: Instant::now(), time: start.monotonic_time };
        self.lock().begin(start);
        self.inner.begin(start);
    }

    async fn suspend(&mut self) -> Result<(), HostFault> {
        let pipe = &self.pipe;
        poll_fn(|cx| lock(pipe).server.poll_suspend(cx)).await.map_err(|error| match error {
            ServiceError::Fault(fault) => fault,
            ServiceError::Violation(_) => HostFault::new(error),
        })?;
        self.inner.suspend().await
    }

    fn save(&self) -> Vec<SavedService> {
        let mut services = self.inner.save();
        services.extend(state::save(&self.lock(), self.wait));
        services
    }

    fn restore(&mut self, services: &[SavedService]) -> Result<(), RestoreError> {
        let (ours, others): (Vec<_>, Vec<_>) =
            services.iter().cloned().partition(|service| state::is_ours(&service.name));
        self.inner.restore(&others)?;
        if let Some((pipe, wait)) = state::restore(&self.registry, &ours)? {
            *self.lock() = pipe;
            self.wait = wait;
        }
        Ok(())
    }
}

impl<R: ServiceRegistry, H: fmt::Debug> fmt::Debug for PacketHost<R, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketHost").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Violation(why) => violation(why),
            ServiceError::Fault(fault) => Self::Fault(fault),
        }
    }
}

/// Packets are padded, so that there are always eight bytes for a program which does not mix the functions.
fn unaligned() -> Failure {
    violation("eight bytes are to be transferred after a number which is no multiple of it".into())
}

fn violation(why: String) -> Failure {
    Failure::Trap(TrapId::AbiViolation, why)
}

fn lock<S>(pipe: &Mutex<PacketPipe<S>>) -> MutexGuard<'_, PacketPipe<S>> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}
