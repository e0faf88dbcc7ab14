//! `kv`: a small store of keys and values.

mod protocol;
mod store;

use crate::calls::Calls;
use crate::{CallService, Context, Registry, Restored, Service, ServiceError, ServiceInstance};
use gate_runtime::Packet;
use gate_wire::fields::{Fields, put_bytes};
use protocol::{Error as Refusal, Request};
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll};
use store::Store;

pub use store::OpenStoreError;

const NAME: &str = "kv";

/// Whose keys a program sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvNamespace {
    /// Those of whoever is responsible for the instance ([`Context::principal`]). Without one, there is no service.
    Principal,
    /// Those of the instance ([`Context::instance`]). Who lets one go on has to give it the same id again. Without one, there
    /// is no service.
    Instance,
    /// Those of a name that the host chooses.
    Shared(String),
}

impl KvNamespace {
    /// Its name in the store. Names of different kinds are different.
    fn name(&self, context: &Context) -> Option<String> {
        match self {
            Self::Principal => context.principal.as_ref().map(|id| format!("principal:{id}")),
            Self::Instance => context.instance.map(|id| format!("instance:{:032x}", u128::from_be_bytes(id))),
            Self::Shared(name) => Some(format!("shared:{name}")),
        }
    }
}

/// How much there can be in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLimits {
    /// Number of keys.
    pub max_entries: u32,
    /// Size of keys and values together, in bytes.
    pub max_bytes: u64,
}

impl Default for KvLimits {
    /// 100,000 keys, and 64 MiB.
    fn default() -> Self {
        Self { max_entries: 100_000, max_bytes: 64 << 20 }
    }
}

/// Keeps keys and values in a SQLite database.
///
/// # Suspension
///
/// Each change has an id, which is kept in the database together with the change, and goes along with a program that is
/// suspended before it has the reply. When it goes on, the change is asked for again, and is not made again if it had been
/// made: so each is made exactly once, also if there are several copies of the program by then. The ids of such changes are
/// kept for 30 days, those of others until the program makes its next change.
#[derive(Clone, Debug)]
pub struct Kv {
    store: Arc<Store>,
    namespace: KvNamespace,
}

impl Kv {
    /// Opens a database, or makes one. The path `:memory:` stands for one that is gone with the last clone of this.
    pub async fn open(path: &Path, namespace: KvNamespace, limits: KvLimits) -> Result<Self, OpenStoreError> {
        Ok(Self { store: Arc::new(Store::open(path, limits).await?), namespace })
    }
}

impl Service for Kv {
    fn name(&self) -> &str {
        NAME
    }

    fn is_discoverable(&self, context: &Context) -> bool {
        self.namespace.name(context).is_some()
    }

    fn create(
        &self,
        registry: &Registry,
        restored: Restored<'_>,
    ) -> Result<Box<dyn ServiceInstance>, Box<dyn Error + Send + Sync>> {
        let namespace = self.namespace.name(registry.context()).ok_or("nobody's keys can be seen")?;
        let mut calls = None;
        let mut current = None;
        if let Some(state) = restored.filter(|state| !state.is_empty()) {
            let mut fields = Fields::new(state);
            calls = Some(fields.bytes()?);
            if !fields.is_empty() {
                current = Some(Current { id: ChangeId::try_from(fields.bytes()?)?, saved: true });
            }
            fields.end()?;
        }
        let changes = Arc::new(Mutex::new(Changes { current, previous: None }));
        let calling = Calling { store: Arc::clone(&self.store), namespace, changes: Arc::clone(&changes) };
        let inner = Calls::new(calling).create(registry, calls)?;
        Ok(Box::new(KvInstance { inner, changes }))
    }
}

/// Tells changes apart. Random, so that nobody has another one's.
type ChangeId = [u8; 16];

/// Which changes an instance is making. It makes one after the other.
#[derive(Debug, Default)]
struct Changes {
    /// Not answered yet.
    current: Option<Current>,
    /// Answered, and never to be asked for again.
    previous: Option<ChangeId>,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    id: ChangeId,
    /// It is part of a state. So it can be asked for again by any number of copies.
    saved: bool,
}

fn lock(changes: &Mutex<Changes>) -> MutexGuard<'_, Changes> {
    changes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the calls of one instance.
struct Calling {
    store: Arc<Store>,
    namespace: String,
    changes: Arc<Mutex<Changes>>,
}

impl Calling {
    /// The id of the change that is to be made now, and that of the one before.
    fn begin(&self) -> Result<(ChangeId, Option<ChangeId>), ServiceError> {
        let mut changes = lock(&self.changes);
        if let Some(Current { id, .. }) = changes.current {
            return Ok((id, changes.previous));
        }
        let mut id = ChangeId::default();
        // So few bytes come all at once.
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| ServiceError::fault(std::io::Error::from(errno)))?;
        changes.current = Some(Current { id, saved: false });
        Ok((id, changes.previous))
    }
}

impl CallService for Calling {
    fn name(&self) -> &str {
        NAME
    }

    async fn call(&self, _: &Context, content: &[u8]) -> Result<Vec<u8>, ServiceError> {
        let request = match Request::decode(content) {
            Some(Ok(request)) => request,
            Some(Err(refusal)) => return Ok(refusal.reply()),
            None => return Ok(Vec::new()),
        };
        let (store, namespace) = (&self.store, &self.namespace);
        let result = match request {
            Request::Get { key } => store.get(namespace, key).await,
            Request::List(listing) => store.list(namespace, listing).await,
            Request::Change(changes) => {
                let (id, previous) = self.begin()?;
                let (store, namespace) = (Arc::clone(store), namespace.clone());
                // What has begun is brought to its end, also if nobody waits for it any more.
                let change = async move { store.change(&namespace, changes, id, previous).await };
                let result = tokio::spawn(change).await.map_err(ServiceError::fault)?;
                // In the same poll the call is over.
                let mut changes = lock(&self.changes);
                changes.previous = changes.current.take().filter(|c| !c.saved).map(|current| current.id);
                result
            }
        };
        Ok(result.unwrap_or_else(|error| {
            tracing::warn!(namespace, "kv: {error}");
            Refusal::Broken.reply()
        }))
    }
}

struct KvInstance {
    inner: Box<dyn ServiceInstance>,
    changes: Arc<Mutex<Changes>>,
}

impl fmt::Debug for KvInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvInstance").field("changes", &self.changes).finish_non_exhaustive()
    }
}

impl ServiceInstance for KvInstance {
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
        let calls = self.inner.save();
        let mut state = Vec::new();
        put_bytes(&mut state, &calls);
        if let Some(current) = &mut lock(&self.changes).current {
            current.saved = true;
            put_bytes(&mut state, &current.id);
        }
        state
    }
}
