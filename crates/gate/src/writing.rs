//! Writing of large files, beside everything else.

use crate::exit::{Problem, Status};
use crate::progress::Progress;
use crate::replace::{Cancel, Replacement};
use anyhow::anyhow;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Only the user can read the files: what programs have in their memories may be secret.
const MODE: u32 = 0o600;

/// How much is written at a time.
const BUFFER: usize = 256 << 10;

/// Writes a file as a whole or not at all; `-` is standard output. If it takes long, a terminal is told.
///
/// `contents` does the writing, on another thread. Success means that the file will still be there when the power fails.
pub(crate) async fn write(
    path: &Path,
    cancel: &Cancel,
    contents: impl FnOnce(&mut dyn Write) -> anyhow::Result<()> + Send + 'static,
) -> Result<Status, Problem> {
    let about = |problem: Problem| problem.about(format_args!("write {}", path.display()));
    let progress = Progress::counting(&format!("writing {}", path.display()));
    let bar = progress.bar();
    let task = tokio::task::spawn_blocking({
        let (path, cancel) = (PathBuf::from(path), cancel.clone());
        move || -> anyhow::Result<()> {
            let mut file = Replacement::create(&path, MODE, &cancel)?;
            let mut out = BufWriter::with_capacity(BUFFER, bar.wrap_write(&mut file));
            contents(&mut out)?;
            out.flush()?;
            drop(out);
            Ok(file.commit()?)
        }
    });
    match progress.wait(task).await {
        Ok(Ok(())) => Ok(Status::Success),
        Ok(Err(err)) if is_closed_pipe(&err) => Ok(Status::CLOSED_PIPE),
        Ok(Err(err)) => Err(about(Problem::gate_failed(err))),
        Err(err) => Err(about(Problem::gate_failed(anyhow!("writer: {err}")))),
    }
}

/// Who reads standard output may have had enough.
fn is_closed_pipe(err: &anyhow::Error) -> bool {
    let kinds = err.chain().filter_map(|err| err.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| kind == io::ErrorKind::BrokenPipe)
}
