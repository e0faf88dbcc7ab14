//! Instances in a directory.
//!
//! An instance which is stored in a [`Directory`] outlasts the host's process, and a power failure. Whatever happens, what is
//! found afterwards is the state that the last commit made permanent, or, if that was interrupted, the state of the
//! commit before it.
//!
//! ```text
//! DIRECTORY/NAME/          locked while somebody has the instance open
//!     meta                 says which of the others matter
//!     module.wasm          the module, as it was given
//!     memory.NUMBER        memories: the base
//!     state.NUMBER         stack, instance region, and chunks of memories that are not as in the base
//! ```
//!
//! A program never writes to what has been committed: it runs in a state file of its own, whose memories are copied on
//! write ([`gate_wire::cow`]) from the base. *Committing* waits until that file is on the disk, writes a new `meta` file under
//! another name, waits for that, renames it, and waits for the directory. Then the old state file is removed.
//!
//! Before it can run again, the chunks of the committed state file are *merged* into the base. That
//! needs no precaution: as long as `meta` names that state file, its chunks take precedence over the
//! base's, so that it makes no difference how many of them are there already. The merged base is on the disk before a
//! commit refers to it. If somebody else uses the base (instances which were forked from it), it is copied instead, as a
//! whole. So there are two files at rest and three during a run, each at most as large as the memories. Where the file system can
//! share blocks between files, merging and copying take no space at all.
//!
//! What a crash has left behind is removed when the instance, or the directory, is opened the next time.

mod build;
mod directory;
mod error;
mod files;
mod generation;
mod meta;
mod stored;
#[cfg(test)]
mod tests;

pub use directory::Directory;
pub use error::StorageError;
pub use meta::MetaDamage;
pub use stored::StoredInstance;

/// Greatest length of an instance's name, in bytes.
const MAX_NAME: usize = 200;

const META: &str = "meta";
const NEW_META: &str = "meta.new";
const MODULE: &str = "module.wasm";
const MEMORY_PREFIX: &str = "memory.";
const STATE_PREFIX: &str = "state.";
