//! `gate coredump`: from a snapshot to a core dump.

use crate::cli::CoredumpArgs;
use crate::exit::{Problem, Status};
use crate::load::CachePlace;
use crate::module::Source;
use crate::replace::Cancel;
use crate::signals::Signals;
use crate::snapshot;
use crate::{runtime, writing};
use gate_image::Inspector;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

/// How long an interrupted write may take to notice.
const GRACE: Duration = Duration::from_secs(2);

/// What to dump, and where to.
#[derive(Debug)]
pub(crate) struct Coredump {
    source: Source,
    output: PathBuf,
    cache: CachePlace,
}

impl From<CoredumpArgs> for Coredump {
    fn from(args: CoredumpArgs) -> Self {
        Self { source: Source::new(args.snapshot), output: args.output, cache: args.cache.into() }
    }
}

/// Writes a core dump.
pub(crate) fn run(coredump: Coredump) -> Result<Status, Problem> {
    runtime::block_on(coredump.run())
}

impl Coredump {
    async fn run(self) -> Result<Status, Problem> {
        let mut signals = Signals::new()?;
        let purpose = snapshot::Purpose::Look;
        let saved = tokio::select! {
            saved = snapshot::restore(self.source.clone(), snapshot::look_options(), self.cache, purpose) => saved?,
            signal = signals.next() => return Ok(Status::Signal(signal)),
        };
        let subject = self.source.to_string();
        let cancel = Cancel::default();
        let wasm = saved.wasm.get()?;
        let mut write = pin!(writing::write(&self.output, &cancel, move |out| {
            let inspector = Inspector::new(&saved.instance, &wasm);
            let name = inspector.module_name().unwrap_or(&subject);
            let frames = saved.instance.frames();
            Ok(saved.instance.write_core_dump(name, frames.as_deref(), out)?)
        }));
        tokio::select! {
            result = &mut write => result,
            signal = signals.next() => {
                cancel.cancel();
                let _ = tokio::time::timeout(GRACE, write).await;
                Ok(Status::Signal(signal))
            }
        }
    }
}
