//! The caller's side: starts a worker, writes to it, reads from it, and ends it.

use super::Worker;
use crate::error::{CompileError, ErrorKind};
use crate::options::Options;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How much larger than the text may be what comes with it: maps.
const MAPS_FACTOR: u64 = 8;
const MAPS_MIN: u64 = 64 << 20;

/// How much later than by itself a worker is ended because of the time.
const GRACE: Duration = Duration::from_millis(100);

/// How long a worker may take to end when it has nothing more to say.
const MAX_END: Duration = Duration::from_secs(5);

/// How much of a worker's complaints is read.
const MAX_COMPLAINT: u64 = 4096;

/// Starts a worker, and gives its answer to a request.
pub(super) fn exchange(worker: &Worker, request: &[u8], options: &Options) -> Result<Vec<u8>, CompileError> {
    let name = worker.program.display();
    let mut child = Command::new(&worker.program)
        .args(&worker.args)
        .env_clear()
        // Memory that is only reserved counts, too.
        .env("MALLOC_ARENA_MAX", "2")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            CompileError::internal(format!("cannot start the compiler's process {name}: {error}"))
        })?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        unreachable!("they are pipes")
    };
    let max_size = MAPS_MIN.saturating_add((options.limits.text_size as u64).saturating_mul(MAPS_FACTOR));
    let child = Mutex::new(child);
    let kill = || {
        // It may have ended already.
        let _ = lock(&child).kill();
    };
    let (timed_out, written, answer, complaint, status) = thread::scope(|scope| {
        let writer = scope.spawn(move || stdin.write_all(request));
        let complaints = scope.spawn(|| {
            let mut complaint = Vec::new();
            let _ = stderr.take(MAX_COMPLAINT).read_to_end(&mut complaint);
            complaint
        });
        let (done, ended) = mpsc::channel::<()>();
        let watch = options.timeout.map(|timeout| {
            scope.spawn(move || {
                let late = matches!(ended.recv_timeout(timeout + GRACE), Err(RecvTimeoutError::Timeout));
                if late {
                    kill();
                }
                late
            })
        });
        let mut answer = Vec::new();
        let read = stdout.take(max_size + 1).read_to_end(&mut answer);
        if read.is_err() || answer.len() as u64 > max_size {
            kill();
        }
        // It has nothing more to say.
        let status = wait(&child);
        drop(done);
        let timed_out = watch.is_some_and(|watch| watch.join().unwrap_or(false));
        let written = writer.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        (timed_out, written, read.map(|_| answer), complaints.join().unwrap_or_default(), status)
    });
    let cannot = |action: &str, error: io::Error| {
        CompileError::internal(format!("cannot {action} the compiler's process: {error}"))
    };
    if let (true, Some(timeout)) = (timed_out, options.timeout) {
        return Err(CompileError::timeout(timeout));
    }
    if answer.as_ref().is_ok_and(|answer| answer.len() as u64 > max_size) {
        let message = format!("the compiler's answer exceeds the limit of {max_size} bytes");
        return Err(CompileError::new(ErrorKind::Limit, None, message));
    }
    let status = status.map_err(|error| cannot("wait for", error))?;
    if !status.success() {
        return Err(failure(worker, options, status, &complaint));
    }
    written.map_err(|error| cannot("write to", error))?;
    answer.map_err(|error| cannot("read from", error))
}

/// Waits for the end of a worker, which somebody else may kill meanwhile, and which is killed if it takes too long.
fn wait(child: &Mutex<Child>) -> io::Result<ExitStatus> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(50);
    loop {
        let mut child = lock(child);
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if start.elapsed() > MAX_END {
            child.kill()?;
            return child.wait();
        }
        drop(child);
        thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(10));
    }
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a worker ended without an answer.
fn failure(worker: &Worker, options: &Options, status: ExitStatus, complaint: &[u8]) -> CompileError {
    match (status.signal(), worker.memory, options.timeout) {
        (Some(libc::SIGXCPU | libc::SIGKILL), _, Some(timeout)) => return CompileError::timeout(timeout),
        // That is how a process ends that is given no more memory.
        (Some(libc::SIGABRT | libc::SIGSEGV | libc::SIGKILL), Some(memory), _) => {
            let message = format!("compilation needs more memory than the limit of {memory} bytes");
            return CompileError::new(ErrorKind::Limit, None, message);
        }
        _ => {}
    }
    let complaint = String::from_utf8_lossy(complaint);
    let complaint: String = complaint.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    CompileError::internal(format!("the compiler's process has failed: {status} {complaint}").trim_end())
}
