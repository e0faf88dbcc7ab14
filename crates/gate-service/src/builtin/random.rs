//! `random`: random bytes, not too many of them.

use crate::{Registry, Restored, Service, ServiceError, ServiceInstance};
use gate_runtime::Packet;
use gate_wire::fields::Fields;
use gate_wire::packet::Domain;
use std::collections::VecDeque;
use std::error::Error;
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Calls that are taken before the first of them is answered.
const MAX_CALLS: usize = 8;

/// Most that a call asks for, in bytes.
const MAX_SIZE: u32 = 255;

/// Gives random bytes at a limited rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    bytes_per_second: u32,
}

impl Random {
    /// With another rate than 16 bytes per second. Zero is taken for one.
    pub fn with_rate(bytes_per_second: u32) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1) }
    }

    /// How long the next call has to wait after one for so many bytes.
    fn pause(self, size: u32) -> Duration {
        Duration::from_secs(size.into()) / self.bytes_per_second
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::with_rate(16)
    }
}

impl Service for Random {
    fn name(&self) -> &str {
        "random"
    }

    fn create(
        &self,
        _: &Registry,
        restored: Restored<'_>,
    ) -> Result<Box<dyn ServiceInstance>, Box<dyn Error + Send + Sync>> {
        let mut instance =
            RandomInstance { service: *self, calls: VecDeque::new(), next: Instant::now(), sleep: None };
        if let Some(state) = restored.filter(|state| !state.is_empty()) {
            let mut fields = Fields::new(state);
            let debt = Duration::from_nanos(fields.u64()?);
            instance.next += debt.min(self.pause(MAX_SIZE));
            while !fields.is_empty() {
                let call = match fields.u32()? {
                    0 => Call::Refused,
                    size @ 1..=MAX_SIZE => Call::Bytes(size),
                    _ => return Err("a call is for too many bytes".into()),
                };
                instance.calls.push_back(call);
            }
            if instance.calls.len() > MAX_CALLS {
                return Err("there are too many calls".into());
            }
        }
        Ok(Box::new(instance))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Gets so many bytes.
    Bytes(u32),
    /// Gets an empty reply.
    Refused,
}

struct RandomInstance {
    service: Random,
    /// In the order in which they came. At most one of them is for bytes.
    calls: VecDeque<Call>,
    /// When there are random bytes again.
    next: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl ServiceInstance for RandomInstance {
    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<()> {
        // Refusals are on their way to the program: they do not have to be waited for.
        if self.calls.len() < MAX_CALLS { Poll::Ready(()) } else { Poll::Pending }
    }

    fn handle(&mut self, packet: Packet) -> Result<(), ServiceError> {
        if packet.domain != Domain::Call {
            return Ok(());
        }
        let busy = self.calls.iter().any(|call| matches!(call, Call::Bytes(_)));
        self.calls.push_back(match packet.content[..] {
            [size] if size > 0 && !busy => Call::Bytes(size.into()),
            _ => Call::Refused,
        });
        Ok(())
    }

    fn poll_packet(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Packet, ServiceError>> {
        if let Some(index) = self.calls.iter().position(|&call| call == Call::Refused) {
            self.calls.remove(index);
            return Poll::Ready(Ok(Packet { domain: Domain::Call, index: index as u8, content: Vec::new() }));
        }
        let Some(&Call::Bytes(size)) = self.calls.front() else { return Poll::Pending };
        let next = self.next;
        ready!(self.sleep.get_or_insert_with(|| Box::pin(sleep_until(next))).as_mut().poll(cx));
        let mut content = vec![0; size as usize];
        fill(&mut content).map_err(ServiceError::fault)?;
        self.sleep = None;
        self.calls.pop_front();
        self.next = Instant::now() + self.service.pause(size);
        Poll::Ready(Ok(Packet::new(Domain::Call, content)))
    }

    fn save(&self) -> Vec<u8> {
        let debt = self.next.saturating_duration_since(Instant::now());
        let mut state = (debt.as_nanos() as u64).to_le_bytes().to_vec();
        for call in &self.calls {
            let size = if let Call::Bytes(size) = call { *size } else { 0 };
            state.extend(size.to_le_bytes());
        }
        state
    }
}

fn fill(mut buf: &mut [u8]) -> std::io::Result<()> {
    while !buf.is_empty() {
        match rustix::rand::getrandom(&mut *buf, rustix::rand::GetRandomFlags::empty()) {
            Ok(size) => buf = &mut buf[size..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
