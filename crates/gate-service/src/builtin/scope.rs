//! `scope`: the possibility to do without services from now on.

use crate::calls::Calls;
use crate::{CallService, Context, Registry, Restored, Service, ServiceError, ServiceInstance};
use gate_runtime::Packet;
use gate_wire::fields::{Fields, put_bytes};
use gate_wire::packet::MAX_NAME_SIZE;
use std::error::Error;
use std::task::{self, Poll};

/// Lets programs restrict themselves: afterwards they can only discover the services that they have named.
/// What they have discovered before stays theirs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scoping;

const NAME: &str = "scope";

/// Restricts the instance.
const RESTRICT: u8 = 0;

/// The instance is restricted.
const DONE: i16 = 0;

/// The call cannot be understood.
const INVALID: i16 = -1;

impl Service for Scoping {
    fn name(&self) -> &str {
        NAME
    }

    fn create(
        &self,
        registry: &Registry,
        restored: Restored<'_>,
    ) -> Result<Box<dyn ServiceInstance>, Box<dyn Error + Send + Sync>> {
        let context = registry.context().clone();
        let mut calls = None;
        if let Some(state) = restored.filter(|state| !state.is_empty()) {
            let mut fields = Fields::new(state);
            calls = Some(fields.bytes()?);
            let mut names = Vec::new();
            let restricted = !fields.is_empty();
            while !fields.is_empty() {
                names.push(std::str::from_utf8(fields.bytes()?)?);
            }
            if restricted {
                // An empty name stands for nothing: that a restriction to nothing can be told from none.
                context.scope.restrict(names);
            }
        }
        let inner = Calls::new(Restricting).create(registry, calls)?;
        Ok(Box::new(ScopeInstance { inner, context }))
    }
}

struct Restricting;

impl CallService for Restricting {
    fn name(&self) -> &str {
        NAME
    }

    async fn call(&self, context: &Context, content: &[u8]) -> Result<Vec<u8>, ServiceError> {
        let [RESTRICT, content @ ..] = content else { return Ok(Vec::new()) };
        let answer = match names(content) {
            Some(names) => {
                context.scope.restrict(names);
                DONE
            }
            None => INVALID,
        };
        Ok(answer.to_le_bytes().to_vec())
    }
}

/// Names after their number, each after its size.
fn names(content: &[u8]) -> Option<Vec<&str>> {
    let (&count, mut rest) = content.split_first()?;
    let mut names = Vec::new();
    for _ in 0..count {
        let (&size, tail) = rest.split_first()?;
        let (name, tail) = tail.split_at_checked(size.into())?;
        if !(1..=MAX_NAME_SIZE).contains(&name.len()) {
            return None;
        }
        names.push(std::str::from_utf8(name).ok()?);
        rest = tail;
    }
    rest.is_empty().then_some(names)
}

/// The restriction goes along with the program.
struct ScopeInstance {
    inner: Box<dyn ServiceInstance>,
    context: Context,
}

impl ServiceInstance for ScopeInstance {
    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        self.inner.poll_ready(cx)
    }

    fn handle(&mut self, packet: Packet) -> Result<(), ServiceError> {
        self.inner.handle(packet)
    }

    fn poll_packet(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Packet, ServiceError>> {
        self.inner.poll_packet(cx)
    }

    fn save(&self) -> Vec<u8> {
        let mut state = Vec::new();
        put_bytes(&mut state, &self.inner.save());
        if let Some(names) = self.context.scope.names() {
            put_bytes(&mut state, b"");
            names.iter().for_each(|name| put_bytes(&mut state, name.as_bytes()));
        }
        state
    }
}
