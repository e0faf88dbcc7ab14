//! The services of one instance.

use crate::{Registry, ServiceInstance};
use gate_runtime::{
    CreateServerError, InstanceServer, Packet, SavedService, ServiceConfig, ServiceError, ServiceState, Start,
};
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

/// Serves an instance by the services of a [`Registry`].
///
/// A service that panics, whatever it was doing, is a fault of that service, which stops its instance.
pub struct Server {
    registry: Registry,
    /// In the order of discovery.
    slots: Vec<Slot>,
    /// Whose turn it is to be asked for packets.
    next: usize,
    start: Option<Start>,
    /// What went wrong where nobody could be told.
    failure: Option<ServiceError>,
    /// Something is there now that was not, or the other way round.
    changed: bool,
}

struct Slot {
    name: String,
    /// None if there is no such service. It may be elsewhere: its state is kept.
    instance: Option<Box<dyn ServiceInstance>>,
    available: bool,
    /// Of a service that is not there, or of one that waits to be saved.
    state: Option<Vec<u8>>,
    /// Services say nothing before they are told something.
    addressed: bool,
}

impl Server {
    pub(crate) fn new(
        registry: Registry,
        _: ServiceConfig,
        services: &[SavedService],
    ) -> Result<Self, CreateServerError> {
        let mut server =
            Self { registry, slots: Vec::new(), next: 0, start: None, failure: None, changed: false };
        for service in services {
            server
                .add(&service.name, Some(&service.state))
                .map_err(|source| CreateServerError { name: service.name.clone(), source })?;
        }
        Ok(server)
    }

    fn add(
        &mut self,
        name: &str,
        restored: Option<&[u8]>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (registry, start) = (&self.registry, &self.start);
        let create = || {
            // What a program has had before it restricted itself is still its own.
            let service = match restored {
                Some(_) => registry.find(name),
                None => registry.find_in_scope(name),
            };
            let mut instance = service.map(|service| service.create(registry, restored)).transpose()?;
            if let (Some(instance), Some(start)) = (&mut instance, start) {
                instance.begin(start);
            }
            let look = |instance: &mut Box<dyn ServiceInstance>| {
                instance.poll_available(&mut Context::from_waker(Waker::noop()))
            };
            let available = instance.as_mut().is_some_and(look);
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((instance, available))
        };
        let (instance, available) = guard(name, create).map_err(Box::new)??;
        self.slots.push(Slot {
            name: name.to_owned(),
            state: restored.filter(|_| instance.is_none()).map(<[u8]>::to_vec),
            instance,
            available,
            // Who knows what it was told before.
            addressed: restored.is_some(),
        });
        Ok(())
    }

    /// Has services do something, of which those that are not there know nothing. The first failure is kept.
    fn for_each(&mut self, mut work: impl FnMut(&mut dyn ServiceInstance)) {
        for slot in &mut self.slots {
            let Some(instance) = &mut slot.instance else { continue };
            if let Err(failure) = guard(&slot.name, || work(&mut **instance)) {
                self.failure.get_or_insert(failure);
            }
        }
    }
}

impl InstanceServer for Server {
    fn begin(&mut self, start: &Start) {
        self.start = Some(*start);
        self.for_each(|instance| instance.begin(start));
        for slot in self.slots.iter_mut().filter(|slot| slot.instance.is_some()) {
            slot.state = None;
        }
    }

    fn discover(&mut self, names: &[&str]) -> Result<(), ServiceError> {
        for &name in names {
            if self.slots.iter().any(|slot| slot.name == name) {
                return Err(ServiceError::violation(format!("duplicate service {name:?}")));
            }
            self.add(name, None)
                .map_err(|error| ServiceError::fault(format!("service {name:?} cannot be had: {error}")))?;
        }
        Ok(())
    }

    fn services(&self) -> Vec<ServiceState> {
        self.slots.iter().map(|slot| ServiceState { available: slot.available }).collect()
    }

    fn poll_ready(&mut self, service: usize, cx: &mut Context<'_>) -> Poll<()> {
        let Some(slot) = self.slots.get_mut(service) else { return Poll::Ready(()) };
        let Some(instance) = &mut slot.instance else { return Poll::Ready(()) };
        guard(&slot.name, || instance.poll_ready(cx)).unwrap_or_else(|failure| {
            self.failure.get_or_insert(failure);
            Poll::Ready(())
        })
    }

    fn handle(&mut self, service: usize, packet: Packet) -> Result<(), ServiceError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let Some(slot) = self.slots.get_mut(service) else { return Ok(()) };
        let Some(instance) = &mut slot.instance else {
            let name = &slot.name;
            return Err(ServiceError::violation(format!(
                "service {name:?} was addressed, but is not available"
            )));
        };
        slot.addressed = true;
        slot.state = None;
        guard(&slot.name, || instance.handle(packet))?
    }

    fn poll_packet(&mut self, cx: &mut Context<'_>) -> Poll<Result<(usize, Packet), ServiceError>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Err(failure));
        }
        let count = self.slots.len();
        for turn in 0..count {
            let index = (self.next + turn) % count;
            let slot = &mut self.slots[index];
            let Some(instance) = &mut slot.instance else { continue };
            let addressed = slot.addressed;
            slot.state = None;
            let (poll, available) = guard(&slot.name, || {
                let poll = if addressed { instance.poll_packet(cx) } else { Poll::Pending };
                // Which may have just turned out.
                (poll, instance.poll_available(cx))
            })?;
            if slot.available != available {
                slot.available = available;
                self.changed = true;
            }
            if let Poll::Ready(packet) = poll {
                self.next = index + 1;
                return Poll::Ready(Ok((index, packet?)));
            }
        }
        Poll::Pending
    }

    fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut finished = true;
        for slot in &mut self.slots {
            let Some(instance) = &mut slot.instance else { continue };
            // One that panics has nothing more to do.
            finished &= guard(&slot.name, || instance.poll_finish(cx)).map_or(true, |poll| poll.is_ready());
        }
        if finished { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_suspend(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ServiceError>> {
        let mut ready = true;
        for slot in &mut self.slots {
            let Some(instance) = slot.instance.as_mut().filter(|_| slot.state.is_none()) else { continue };
            // Saved at once, so that it is known to be possible.
            let save = || instance.poll_suspend(cx).map_ok(|()| instance.save());
            match guard(&slot.name, save)? {
                Poll::Ready(state) => slot.state = Some(state?),
                Poll::Pending => ready = false,
            }
        }
        if ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn save(&self) -> Vec<SavedService> {
        let save = |slot: &Slot| match (&slot.state, &slot.instance) {
            (Some(state), _) => state.clone(),
            (None, Some(instance)) => instance.save(),
            (None, None) => Vec::new(),
        };
        self.slots.iter().map(|slot| SavedService { name: slot.name.clone(), state: save(slot) }).collect()
    }
}

/// Makes an error of a panic.
fn guard<T>(name: &str, work: impl FnOnce() -> T) -> Result<T, ServiceError> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| ServiceError::fault(format!("service {name:?} has panicked: {}", message(&*panic))))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.slots.iter().map(|slot| (&slot.name, slot.instance.is_some())).collect();
        f.debug_struct("Server").field("services", &names).finish()
    }
}
