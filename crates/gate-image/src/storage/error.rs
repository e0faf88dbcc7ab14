//! What can be wrong with stored instances.

use super::meta::MetaDamage;
use crate::error::{ImageError, InstanceError, ProgramError};
use crate::snapshot::SnapshotError;
use std::io;
use std::path::PathBuf;

/// Why an instance could not be stored, found or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A file or a directory could not be accessed.
    #[error("{action} {}: {source}", .path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Somebody else could change what is stored.
    #[error("storage directory {} belongs to somebody else, or others may write to it", .dir.display())]
    NotPrivate {
        /// The directory.
        dir: PathBuf,
    },
    /// An instance can't have the name.
    #[error("invalid instance name {name:?}: 1 to {max} letters, digits, '-', '_' and '.', not beginning with '.'", max = super::MAX_NAME)]
    InvalidName {
        /// The name.
        name: String,
    },
    /// There is an instance of the name already.
    #[error("there is an instance {name:?} already")]
    Exists {
        /// The name.
        name: String,
    },
    /// There is no such instance.
    #[error("there is no instance {name:?}")]
    NotFound {
        /// The name.
        name: String,
    },
    /// A process on the host, maybe this one, has the instance open.
    #[error("instance {name:?} is in use")]
    InUse {
        /// The name.
        name: String,
    },
    /// The description of the instance is damaged. Nothing has been changed or removed.
    #[error("instance {name:?}: {}: {damage}", .path.display())]
    Damaged {
        /// The name.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: MetaDamage,
    },
    /// A file of the instance is not what it should be. Nothing has been changed or removed.
    #[error("instance {name:?}: {} is damaged: {what}", .path.display())]
    DamagedFile {
        /// The name.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An earlier commit failed half-way, so that it is not known which state is stored.
    #[error("instance {name:?} must be opened again, because storing it has failed")]
    Uncertain {
        /// The name.
        name: String,
    },
    /// The instance is not the one which is stored, or has been changed since.
    #[error("the instance is not what is stored as {name:?}")]
    NotStored {
        /// The name.
        name: String,
    },
    /// The instance was stored by another build of Gate, or of another program.
    #[error("instance {name:?} has to be restored: {reason}")]
    OtherBuild {
        /// The name.
        name: String,
        /// What is different.
        reason: &'static str,
    },
    /// The instance cannot be written down, or read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Something is wrong with the program, or with what is asked of it.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Something is wrong with the host.
    #[error(transparent)]
    Host(#[from] ImageError),
}

impl StorageError {
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}

impl From<InstanceError> for StorageError {
    fn from(error: InstanceError) -> Self {
        match error {
            InstanceError::Program(error) => Self::Program(error),
            InstanceError::Host(error) => Self::Host(error),
        }
    }
}
