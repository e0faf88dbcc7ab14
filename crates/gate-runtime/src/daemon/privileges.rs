//! What a daemon need not be able to do.

use super::DaemonError;
use crate::config::{ContainerCgroup, ContainerConfig, ContainerIds};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use std::io;

/// Gives up all capabilities of this thread but those that making containers takes. They are gone for good, for threads and
/// processes that it makes, too.
pub(super) fn drop_unneeded(config: &ContainerConfig) -> Result<(), DaemonError> {
    let failed = |action| {
        move |errno: rustix::io::Errno| DaemonError::Privileges { action, source: io::Error::from(errno) }
    };
    let had = capabilities(None).map_err(failed("look at capabilities"))?.permitted;
    if had.is_empty() {
        // An ordinary user has nothing to give up, and new privileges are what newuidmap works with.
        return Ok(());
    }
    let kept = needed(config) & had;
    clear_ambient_capability_set().map_err(failed("clear the ambient set"))?;
    for capability in had.difference(kept).iter() {
        remove_capability_from_bounding_set(capability).map_err(failed("reduce the bounding set"))?;
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(failed("reduce the capabilities"))?;
    if kept.contains(CapabilitySet::SETUID | CapabilitySet::SETGID) || config.ids == ContainerIds::Own {
        set_no_new_privs(true).map_err(failed("forbid new ones"))?;
    }
    Ok(())
}

fn needed(config: &ContainerConfig) -> CapabilitySet {
    let mut needed = CapabilitySet::empty();
    if config.ids != ContainerIds::Own {
        // To map ids that are not its own.
        needed |= CapabilitySet::SETUID | CapabilitySet::SETGID;
    }
    if config.cgroup.container != ContainerCgroup::Inherit || config.cgroup.process.is_some() {
        // To give executors access to groups.
        needed |= CapabilitySet::CHOWN;
    }
    if !config.namespaces {
        // To kill processes of others, and for executors to give up what they have.
        needed |= CapabilitySet::KILL | CapabilitySet::SETPCAP;
    }
    needed
}
