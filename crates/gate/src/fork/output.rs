//! What copies of a program write.

use crate::exit::{Problem, Status};
use gate_wasi::Builder;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// How much a copy can write before it waits for those who read it, and the longest line that is written as one.
const BUFFER: usize = 64 << 10;

/// What is to be done about a copy's output at its end.
pub(super) enum Output {
    File(File),
    Lines { prefix: String, to: Shared, tasks: [JoinHandle<io::Result<()>>; 2] },
}

impl Output {
    /// Waits until all is written, and writes the results of the copy's function behind it. The session must be gone.
    pub(super) async fn finish(self, results: &str) -> Result<Status, Problem> {
        let written = match self {
            Self::File(mut file) => file.write_all(results.as_bytes()),
            Self::Lines { prefix, to, tasks } => {
                for task in tasks {
                    // The program has been told.
                    let _ = task.await;
                }
                copy_lines(results.as_bytes(), to, prefix).await
            }
        };
        match written {
            Ok(()) => Ok(Status::Success),
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(Status::CLOSED_PIPE),
            Err(err) => Err(Problem::gate_failed(err).about("output")),
        }
    }
}

/// Lets a copy write to files of its own.
pub(super) fn to_files(streams: Builder, dir: &Path, number: u32) -> io::Result<(Builder, Output)> {
    let file = |extension| File::create(dir.join(format!("{number}.{extension}")));
    let stdout = file("out")?;
    let output = Output::File(stdout.try_clone()?);
    Ok((streams.stdout_fd(stdout.into()).stderr_fd(file("err")?.into()), output))
}

/// The command's own streams, to which copies write whole lines, each beginning with the number of the copy.
pub(super) struct Outputs {
    stdout: Shared,
    stderr: Shared,
}

type Shared = Arc<Mutex<Box<dyn AsyncWrite + Send + Unpin>>>;

impl Default for Outputs {
    fn default() -> Self {
        Self {
            stdout: Arc::new(Mutex::new(Box::new(tokio::io::stdout()))),
            stderr: Arc::new(Mutex::new(Box::new(tokio::io::stderr()))),
        }
    }
}

impl Outputs {
    /// Lets a copy write to the streams.
    pub(super) fn attach(&self, streams: Builder, number: u32) -> (Builder, Output) {
        let prefix = format!("[{number}] ");
        let pipe = |to: &Shared| {
            let (ours, theirs) = tokio::io::duplex(BUFFER);
            (theirs, tokio::spawn(copy_lines(ours, Arc::clone(to), prefix.clone())))
        };
        let (stdout, first) = pipe(&self.stdout);
        let (stderr, second) = pipe(&self.stderr);
        let to = Arc::clone(&self.stdout);
        (streams.stdout(stdout).stderr(stderr), Output::Lines { prefix, to, tasks: [first, second] })
    }
}

/// Writes lines with something in front of each. The last one gets an end if it has none.
async fn copy_lines(
    from: impl AsyncRead + Unpin,
    to: Arc<Mutex<impl AsyncWrite + Unpin + ?Sized>>,
    prefix: String,
) -> io::Result<()> {
    let mut from = BufReader::with_capacity(BUFFER, from);
    let mut line = Vec::new();
    loop {
        line.clear();
        line.extend_from_slice(prefix.as_bytes());
        (&mut from).take(BUFFER as u64).read_until(b'\n', &mut line).await?;
        if line.len() == prefix.len() {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        let mut to = to.lock().await;
        to.write_all(&line).await?;
        to.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_stay_whole() {
        let to = Arc::new(Mutex::new(Vec::new()));
        let long = "x".repeat(BUFFER + 1);
        for (number, text) in [(0, "a\n\nb"), (1, ""), (2, long.as_str())] {
            copy_lines(text.as_bytes(), Arc::clone(&to), format!("[{number}] ")).await.unwrap();
        }
        let written = String::from_utf8(to.lock().await.clone()).unwrap();
        let lines: Vec<_> = written.lines().collect();
        assert_eq!(lines[..3], ["[0] a", "[0] ", "[0] b"]);
        assert_eq!((lines[3].len(), lines[4], lines.len()), (BUFFER + 4, "[2] x", 5));
    }
}
