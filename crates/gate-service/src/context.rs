//! What services know about an instance.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

/// Whose instance is served, and which one it is. Services decide by it what they do for it.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Who is responsible for the instance. `None` is nobody in particular.
    pub principal: Option<String>,
    /// The instance. Unique for ever; copies have others.
    pub instance: Option<[u8; 16]>,
    /// Which instances it can find, by name.
    pub group: Option<String>,
    /// What others in the group find it by.
    pub name: Option<String>,
    /// What it is allowed to do.
    pub scope: Scope,
}

/// Which services an instance may still begin to use. It can only become narrower. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Scope(Arc<RwLock<Option<BTreeSet<String>>>>);

impl Scope {
    /// Whether a service of this name may be used.
    pub fn allows(&self, name: &str) -> bool {
        let allowed = self.0.read().unwrap_or_else(PoisonError::into_inner);
        allowed.as_ref().is_none_or(|names| names.contains(name))
    }

    /// Allows nothing but what is named here, and has been allowed so far.
    pub fn restrict<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let mut allowed = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let names = names.into_iter().filter(|&name| allowed.as_ref().is_none_or(|old| old.contains(name)));
        *allowed = Some(names.map(str::to_owned).collect());
    }

    /// Names of what is allowed, ascending. `None` is everything.
    pub fn names(&self) -> Option<Vec<String>> {
        let allowed = self.0.read().unwrap_or_else(PoisonError::into_inner);
        allowed.as_ref().map(|names| names.iter().cloned().collect())
    }
}
