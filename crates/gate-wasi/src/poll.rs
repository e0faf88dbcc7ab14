//! Waiting for several things at once.

use crate::abi::{Event, Rights, Subscription, SubscriptionKind};
use crate::clock::{Deadline, HostTimer};
use crate::descriptors::Descriptors;
use crate::errno::Errno;
use crate::layout::{self, Layout};
use crate::memory::{Guest, LinearMemory};
use crate::stdio::Readiness;
use crate::stream::Object;
use crate::{Failure, HostError, WasiCtx};
use gate_wire::call::CallRequest;
use gate_wire::wasi::WasiFunction;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// Largest number of subscriptions.
const MAX_SUBSCRIPTIONS: u32 = 1024;

/// A wait that has begun. If it is interrupted, the program makes the same call again when it goes on, and what it has waited
/// so far counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// Arguments of the call.
    pub(crate) args: [u32; 4],
    /// What the program's monotonic clock showed.
    pub(crate) began: u64,
}

/// A subscription whose time, if it is one of time, is the host's.
struct Watch {
    subscription: Subscription,
    deadline: Option<Deadline>,
}

impl WasiCtx {
    /// `poll_oneoff`: waits until at least one subscription has an event. Stores the events of all that have one.
    pub(crate) async fn poll_oneoff(
        &mut self,
        guest: Guest<'_>,
        args: [u32; 4],
        layout: Layout,
        interrupted: Option<Wait>,
    ) -> Result<(), Failure> {
        let [addr, events, count, nevents] = args;
        let subscriptions = subscriptions(guest, addr, count, layout)?;
        guest.check(events, u64::from(count) * Event::SIZE as u64)?;
        guest.check(nevents, 4)?;

        let wait = match interrupted {
            Some(wait) if wait.args == args => wait,
            _ => Wait { args, began: self.clocks.monotonic_time() },
        };
        let mut watches = Vec::with_capacity(count as usize);
        for mut subscription in subscriptions {
            let mut deadline = None;
            if let Ok(SubscriptionKind::Clock { clock, timeout, absolute }) = subscription.kind {
                match self.clocks.deadline(clock, timeout, absolute, wait.began) {
                    Ok(end) => deadline = Some(end),
                    Err(errno) => subscription.kind = Err(errno),
                }
            }
            watches.push(Watch { subscription, deadline });
        }

        self.wait = Some(wait);
        self.flush().await;
        let ready = self.first_events(&watches).await?;
        self.wait = None;

        let mut records = Vec::with_capacity(ready.len() * Event::SIZE);
        for event in &ready {
            records.extend_from_slice(&event.encode());
        }
        guest.write(events, &records)?;
        guest.write_u32(nevents, ready.len() as u32)
    }

    /// Whether a call reads standard input, or waits for it.
    pub fn wants_input(&self, request: &CallRequest, memory: &dyn LinearMemory) -> bool {
        let is_input = |fd| self.descriptors.get(fd).is_ok_and(|descriptor| descriptor.stream == 0);
        let [a, _, count, ..] = request.args.map(|arg| arg as u32);
        match layout::function(request.func) {
            Some((WasiFunction::FdRead, _)) => is_input(a),
            Some((WasiFunction::PollOneoff, layout)) => Guest::new(memory)
                .map_err(Failure::from)
                .and_then(|guest| subscriptions(guest, a, count, layout))
                .is_ok_and(|all| {
                    all.iter().any(|one| matches!(one.kind, Ok(SubscriptionKind::FdRead(fd)) if is_input(fd)))
                }),
            _ => false,
        }
    }

    async fn first_events(&mut self, watches: &[Watch]) -> Result<Vec<Event>, Failure> {
        let mut armed = Vec::new();
        for clock in [HostTimer::Realtime, HostTimer::Monotonic] {
            let first =
                watches.iter().filter_map(|w| w.deadline).filter(|d| d.clock == clock).min_by_key(|d| d.time);
            if let Some(deadline) = first {
                // A timer costs system calls, which a wait for zero time can do without.
                if !deadline.is_over() {
                    self.timers.set(deadline).map_err(HostError::Timer)?;
                    armed.push(clock);
                }
            }
        }
        poll_fn(|cx| {
            loop {
                let events: Vec<_> =
                    watches.iter().filter_map(|watch| watch.event(&mut self.descriptors, cx)).collect();
                if !events.is_empty() {
                    return Poll::Ready(Ok::<_, Failure>(events));
                }
                let mut expired = false;
                for &clock in &armed {
                    if let Poll::Ready(result) = self.timers.poll_expired(clock, cx) {
                        result.map_err(HostError::Timer)?;
                        expired = true;
                    }
                }
                if !expired {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}

/// The subscriptions of a call.
fn subscriptions(
    guest: Guest<'_>,
    addr: u32,
    count: u32,
    layout: Layout,
) -> Result<Vec<Subscription>, Failure> {
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Err(Errno::Inval.into());
    }
    let mut records = vec![0; count as usize * layout.subscription_size()];
    guest.read(addr, &mut records)?;
    Ok(layout.subscriptions(&records))
}

impl Watch {
    /// The event, if there is one, else the task is woken when there may be.
    fn event(&self, descriptors: &mut Descriptors, cx: &mut Context<'_>) -> Option<Event> {
        let outcome = match self.subscription.kind {
            Ok(SubscriptionKind::Clock { .. }) => {
                let over = self.deadline.is_some_and(Deadline::is_over);
                over.then_some(Ok(Readiness { nbytes: 0, hangup: false }))
            }
            Ok(kind @ (SubscriptionKind::FdRead(fd) | SubscriptionKind::FdWrite(fd))) => {
                match fd_readiness(descriptors, fd, kind, cx) {
                    Ok(Poll::Pending) => None,
                    Ok(Poll::Ready(readiness)) => Some(Ok(readiness)),
                    Err(errno) => Some(Err(errno)),
                }
            }
            Err(errno) => Some(Err(errno)),
        };
        let (error, readiness) = match outcome? {
            Ok(readiness) => (Errno::Success, readiness),
            Err(errno) => (errno, Readiness { nbytes: 0, hangup: false }),
        };
        Some(Event {
            userdata: self.subscription.userdata,
            error,
            tag: self.subscription.tag,
            nbytes: readiness.nbytes,
            hangup: readiness.hangup,
        })
    }
}

fn fd_readiness(
    descriptors: &mut Descriptors,
    fd: u32,
    kind: SubscriptionKind,
    cx: &mut Context<'_>,
) -> Result<Poll<Readiness>, Errno> {
    let descriptor = descriptors.get_mut(fd)?;
    descriptor.require(Rights::POLL_FD_READWRITE)?;
    if let Object::File(file) = &descriptor.object {
        return Ok(Poll::Ready(file.readiness()));
    }
    if let Object::Packets(packets) = &descriptor.object {
        return Ok(match kind {
            SubscriptionKind::FdWrite(_) => packets.poll_writable(cx),
            _ => packets.poll_readable(cx),
        });
    }
    let poll = match (&mut descriptor.object, kind) {
        // As elsewhere: nothing can ever be written to it.
        (Object::Listener(_), SubscriptionKind::FdWrite(_)) => return Ok(Poll::Pending),
        (Object::Listener(listener), _) => listener.poll_ready(cx),
        (Object::Connection(connection), SubscriptionKind::FdWrite(_)) => connection.poll_writable(cx),
        (Object::Connection(connection), _) => connection.poll_readable(cx),
        (_, SubscriptionKind::FdWrite(_)) => descriptor.output(Rights::FD_WRITE)?.poll_ready(cx),
        (_, _) => descriptor.input(Rights::FD_READ)?.poll_ready(cx),
    };
    match poll {
        Poll::Pending => Ok(Poll::Pending),
        Poll::Ready(Ok(readiness)) => Ok(Poll::Ready(readiness)),
        Poll::Ready(Err(err)) => Err(Errno::from(&err)),
    }
}
