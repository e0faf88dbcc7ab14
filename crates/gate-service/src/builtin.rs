//! Services that are there already. `docs/services.md` has their protocols.
//!
//! | name | what programs get from it |
//! |---|---|
//! | `catalog` | which services there are |
//! | `clock` | the time, and timers |
//! | `identity` | who they are |
//! | `kv` | keys and values that are kept |
//! | `localhost` | HTTP requests to origins that the host names |
//! | `logger` | a log for the host's operator |
//! | `origin` | streams to whoever is attached to them |
//! | `peer` | streams to other programs of the same group |
//! | `random` | random bytes |
//! | `scope` | the possibility to do without services from now on |

mod catalog;
mod clock;
mod identity;
mod input;
mod kv;
mod localhost;
mod logger;
mod origin;
mod peer;
mod pump;
mod random;
mod scope;

pub use catalog::Catalog;
pub use clock::Clock;
pub use identity::Identity;
pub use kv::{Kv, KvLimits, KvNamespace, OpenStoreError};
pub use localhost::{HttpLimits, HttpOriginError, Localhost};
pub use logger::{Level, Logger};
pub use origin::{Connection, Connector, Origin, Reattach};
pub use peer::{Peer, PeerHub};
pub use random::Random;
pub use scope::Scoping;

use crate::{RegisterError, Registry};

impl Registry {
    /// Adds the services that every program may have: `catalog`, `clock`, `identity`, `logger`, `random`, `scope`.
    pub fn register_common(&mut self) -> Result<(), RegisterError> {
        self.register(Catalog)?;
        self.register(Clock)?;
        self.register_calls(Identity)?;
        self.register_calls(Logger::default())?;
        self.register(Random::default())?;
        self.register(Scoping)
    }
}
