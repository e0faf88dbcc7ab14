//! From a program that is suspended to a snapshot.

use crate::error::{ExportError, HostFault};
use crate::executor::Executor;
use crate::host::HostFunctions;
use gate_image::{Exit, Instance, Snapshot, SnapshotError};
use std::io::Write;

/// Why an instance was not written down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotFailure {
    /// Its frames could not be had.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A service cannot be saved.
    #[error(transparent)]
    Host(#[from] HostFault),
    /// The snapshot could not be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl Executor {
    /// Writes down everything that the instance needs to go on elsewhere, what the host's services know included.
    ///
    /// `wasm` is the module from which the instance's program was compiled. If the program is suspended, a process is needed
    /// for a moment, see [`Executor::export`]. Writing blocks the thread; whoever has large memories to write can export
    /// first, and write a [`Snapshot`] where that does not matter.
    ///
    /// The instance stays as it is. [`Restored`](gate_image::Restored) reads snapshots, and [`HostFunctions::restore`] takes the
    /// services' part over.
    pub async fn snapshot(
        &self,
        instance: &mut Instance,
        wasm: &[u8],
        host: &mut impl HostFunctions,
        out: impl Write,
    ) -> Result<(), SnapshotFailure> {
        if let Ok(Exit::Frozen) = instance.exit() {
            self.export(instance).await?;
        }
        host.suspend().await?;
        let services = host.save();
        Ok(Snapshot::new(instance, wasm, &services)?.write(out)?)
    }
}
