//! The services of one instance.

use crate::{Registry, ServiceInstance};
use gate_runtime::{
    CreateServerError, InstanceServer, Packet, SavedService, ServiceConfig, ServiceError, ServiceState, Start,
};
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

/// Serves an instance by the services of a [`Registry`].
pub struct Server {
    registry: Registry,
    /// In the order of discovery.
    slots: Vec<Slot>,
    /// Whose turn it is to be asked for packets.
    next: usize,
    start: Option<Start>,
}

struct Slot {
    name: String,
    /// None if there is no such service. It may be elsewhere: its state is kept.
    instance: Option<Box<dyn ServiceInstance>>,
    /// Of a service that is not there.
    state: Vec<u8>,
    /// Services say nothing before they are told something.
    addressed: bool,
}

impl Server {
    pub(crate) fn new(
        registry: Registry,
        _: ServiceConfig,
        services: &[SavedService],
    ) -> Result<Self, CreateServerError> {
        let mut server = Self { registry, slots: Vec::new(), next: 0, start: None };
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
        // What a program has had before it restricted itself is still its own.
        let service = match restored {
            Some(_) => self.registry.find(name),
            None => self.registry.find_in_scope(name),
        };
        let create = || service.map(|service| service.create(&self.registry, restored)).transpose();
        let mut instance = guard(name, create).map_err(Box::new)??;
        if let (Some(instance), Some(start)) = (&mut instance, &self.start) {
            instance.begin(start);
        }
        self.slots.push(Slot {
            name: name.to_owned(),
            instance,
            state: restored.unwrap_or_default().to_vec(),
            // Who knows what it was told before.
            addressed: restored.is_some(),
        });
        Ok(())
    }
}

impl InstanceServer for Server {
    fn begin(&mut self, start: &Start) {
        self.start = Some(*start);
        for instance in self.slots.iter_mut().filter_map(|slot| slot.instance.as_mut()) {
            instance.begin(start);
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
        self.slots.iter().map(|slot| ServiceState { available: slot.instance.is_some() }).collect()
    }

    fn poll_ready(&mut self, service: usize, cx: &mut Context<'_>) -> Poll<()> {
        match self.slots.get_mut(service).and_then(|slot| slot.instance.as_mut()) {
            Some(instance) => instance.poll_ready(cx),
            None => Poll::Ready(()),
        }
    }

    fn handle(&mut self, service: usize, packet: Packet) -> Result<(), ServiceError> {
        let Some(slot) = self.slots.get_mut(service) else { return Ok(()) };
        let Some(instance) = &mut slot.instance else {
            let name = &slot.name;
            return Err(ServiceError::violation(format!(
                "service {name:?} was addressed, but is not available"
            )));
        };
        slot.addressed = true;
        guard(&slot.name, || instance.handle(packet))?
    }

    fn poll_packet(&mut self, cx: &mut Context<'_>) -> Poll<Result<(usize, Packet), ServiceError>> {
        let count = self.slots.len();
        for turn in 0..count {
            let index = (self.next + turn) % count;
            let slot = &mut self.slots[index];
            let Some(instance) = slot.instance.as_mut().filter(|_| slot.addressed) else { continue };
            match guard(&slot.name, || instance.poll_packet(cx))? {
                Poll::Pending => {}
                Poll::Ready(packet) => {
                    self.next = index + 1;
                    return Poll::Ready(Ok((index, packet?)));
                }
            }
        }
        Poll::Pending
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

    fn save(&self) -> Vec<SavedService> {
        let save = |slot: &Slot| match &slot.instance {
            Some(instance) => instance.save(),
            None => slot.state.clone(),
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
