//! Where an instance is in its life.

use crate::placement::Placement;
use serde::{Deserialize, Serialize};

/// Where an instance is in its life, as far as its state file doesn't tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Nothing of it has run.
    #[default]
    Fresh,
    /// It was given to a process. The exit record tells how that ended: if it froze, it goes on with the same text at the
    /// same addresses.
    Run {
        /// Where it is, or was. Of no meaning if it was not here.
        placement: Placement,
        /// What it was to do.
        activity: Activity,
    },
    /// It was suspended, and goes on by the frames that it was written down as, with whatever text.
    Suspended {
        /// What it was doing.
        activity: Activity,
    },
}

/// What a run consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Activity {
    /// The module's start function comes first. Of a program that was suspended by its frames: it is running.
    pub(crate) start: bool,
    /// The entry function.
    pub(crate) entry: Option<u32>,
}

impl Phase {
    /// What the last run consisted of, if there was one.
    pub(crate) fn activity(&self) -> Option<Activity> {
        match *self {
            Self::Fresh => None,
            Self::Run { activity, .. } | Self::Suspended { activity } => Some(activity),
        }
    }
}
