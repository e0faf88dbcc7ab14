//! What services know about an instance.

use std::collections::BTreeSet;

/// Whose instance is served, and which one it is. Services decide by it what they do for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Who is responsible for the instance. `None` is nobody in particular.
    pub principal: Option<String>,
    /// The instance. Unique for ever; copies have others.
    pub instance: Option<[u8; 16]>,
    /// Which instances it can find, by name.
    pub group: Option<String>,
    /// What others in the group find it by.
    pub name: Option<String>,
    /// What it is allowed to do. `None` is everything.
    pub scope: Option<BTreeSet<String>>,
}
