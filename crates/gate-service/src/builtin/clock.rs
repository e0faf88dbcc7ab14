//! `clock`: the time, and timers.

use crate::{Registry, Restored, Service, ServiceError, ServiceInstance};
use gate_runtime::Packet;
use gate_wire::fields::Fields;
use gate_wire::packet::Domain;
use std::collections::VecDeque;
use std::error::Error;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, Sleep, sleep_until};

/// Calls that are not answered yet: as many as a reply's index can tell apart.
const MAX_CALLS: usize = 256;

/// Asks for the time.
const TIME: u8 = 0;

/// Asks for the time, but only when some has passed.
const TIMER: u8 = 1;

/// Longest that a timer waits: what is longer is as good as for ever.
const MAX_WAIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Tells the time, at once or later. What has passed of a timer when a program is suspended has passed when it goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Service for Clock {
    fn name(&self) -> &str {
        "clock"
    }

    fn create(
        &self,
        _: &Registry,
        restored: Restored<'_>,
    ) -> Result<Box<dyn ServiceInstance>, Box<dyn Error + Send + Sync>> {
        let mut instance = ClockInstance { calls: VecDeque::new(), sleep: None, waiting: None };
        let mut fields = Fields::new(restored.unwrap_or_default());
        let now = Instant::now();
        while !fields.is_empty() {
            let call = match fields.u64()? {
                u64::MAX => Call::Unknown,
                left => Call::Timer(now + Duration::from_nanos(left).min(MAX_WAIT)),
            };
            if instance.calls.len() == MAX_CALLS {
                return Err("there are too many timers".into());
            }
            instance.calls.push_back(call);
        }
        Ok(Box::new(instance))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Timer(Instant),
    /// Gets an empty reply.
    Unknown,
}

struct ClockInstance {
    /// In the order in which they came.
    calls: VecDeque<Call>,
    /// Until the next of the timers is over.
    sleep: Option<Pin<Box<Sleep>>>,
    /// Of whom wants to make another call.
    waiting: Option<task::Waker>,
}

impl ClockInstance {
    /// A call that can be answered now.
    fn ready(&self) -> Option<usize> {
        let now = Instant::now();
        self.calls.iter().position(|call| match *call {
            Call::Timer(end) => end <= now,
            Call::Unknown => true,
        })
    }

    fn next_end(&self) -> Option<Instant> {
        let ends = self.calls.iter().filter_map(|call| match *call {
            Call::Timer(end) => Some(end),
            Call::Unknown => None,
        });
        ends.min()
    }
}

impl ServiceInstance for ClockInstance {
    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        if self.calls.len() < MAX_CALLS {
            return Poll::Ready(());
        }
        self.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn handle(&mut self, packet: Packet) -> Result<(), ServiceError> {
        if packet.domain == Domain::Call {
            let now = Instant::now();
            self.calls.push_back(match packet.content[..] {
                [TIME] => Call::Timer(now),
                [TIMER, ref time @ ..] if time.len() == 8 => {
                    let nanos = time.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
                    Call::Timer(now + Duration::from_nanos(nanos).min(MAX_WAIT))
                }
                _ => Call::Unknown,
            });
        }
        Ok(())
    }

    fn poll_packet(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Packet, ServiceError>> {
        loop {
            if let Some(index) = self.ready() {
                let call = self.calls.remove(index);
                if let Some(waker) = self.waiting.take() {
                    waker.wake();
                }
                let content = if call == Some(Call::Unknown) { Vec::new() } else { time() };
                return Poll::Ready(Ok(Packet { domain: Domain::Call, index: index as u8, content }));
            }
            let Some(end) = self.next_end() else { return Poll::Pending };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(end)));
            if sleep.deadline() != end {
                sleep.as_mut().reset(end);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
        }
    }

    fn save(&self) -> Vec<u8> {
        let now = Instant::now();
        let left = |call: &Call| match call {
            Call::Timer(end) => end.saturating_duration_since(now).as_nanos() as u64,
            Call::Unknown => u64::MAX,
        };
        self.calls.iter().flat_map(|call| left(call).to_le_bytes()).collect()
    }
}

/// Nanoseconds since the beginning of 1970.
fn time() -> Vec<u8> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (time.as_nanos() as u64).to_le_bytes().to_vec()
}
