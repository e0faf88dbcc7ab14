//! Runs a session with all that comes from outside: signals, time, and the writing of its state.

use crate::exit::{Problem, Status};
use crate::inspect::print_stack;
use crate::output::report;
use crate::replace::Cancel;
use crate::session::{Ended, Session, Stopper};
use crate::signals::Signals;
use crate::snapshot;
use crate::wasm::Wasm;
use gate_runtime::Executor;
use std::cell::Cell;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

/// How long the end of the sandbox, or of a snapshot's writing, is waited for when the command is interrupted.
const GRACE: Duration = Duration::from_secs(2);

/// How long after the program's unexplained end a signal may come that explains it: an interrupt from the terminal goes
/// to all processes at once.
const EXPLANATION: Duration = Duration::from_millis(20);

/// When a module is read that was not needed to start the program, but will be to write it down.
const KEEP_AFTER: Duration = Duration::from_millis(100);

/// What makes an end of a program before its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    /// It is killed after this time.
    pub(crate) timeout: Option<Duration>,
    /// It is suspended after this time.
    pub(crate) suspend_after: Option<Duration>,
    /// It is suspended when it first wants to read its standard input.
    pub(crate) suspend_at_input: bool,
    /// Where its state goes then.
    pub(crate) snapshot: Option<PathBuf>,
}

/// Runs the session, writes a snapshot if it is suspended, and closes the executor.
///
/// `wasm` is the module, which is part of a snapshot.
pub(crate) async fn drive(
    session: Session,
    wasm: Wasm,
    limits: Limits,
    executor: Executor,
    mut signals: Signals,
) -> Result<Status, Problem> {
    if limits.snapshot.is_some() {
        keep(wasm.clone());
    }
    let cancel = Cancel::default();
    let stopper = Stopper::default();
    let is_profiled = session.profile.is_some();
    let interrupted = Cell::new(None);
    let begin = Instant::now();
    let mut suspend = pin!(sleep_until(limits.suspend_after.map(|after| begin + after)));
    let result = {
        let mut work = pin!(async {
            let mut session = session;
            if limits.suspend_at_input {
                session.host.stop_at_input(stopper.clone());
            }
            let deadline = limits.timeout.map(|timeout| begin + timeout);
            let ended = session.run(&executor, &stopper, deadline).await;
            if let Some(profile) = &mut session.profile {
                profile.write(&session.subject)?;
            }
            let ended = ended?;
            match (&ended, &limits.snapshot) {
                (Ended::Stopped(stop), Some(path)) => {
                    let why = format!("{}: {stop}", session.subject);
                    let status = snapshot::take(session, wasm, &executor, path, &cancel).await?;
                    if status == Status::Suspended {
                        let place = match path.as_os_str() == "-" {
                            true => "standard output".into(),
                            false => path.to_string_lossy(),
                        };
                        report(format_args!("{why}; its state is in {place}"));
                    }
                    Ok(status)
                }
                (Ended::Stopped(_), None) if let Some(signal) = interrupted.get() => {
                    Ok(Status::Signal(signal))
                }
                (Ended::Stopped(_), None) => {
                    let status = ended.tell(&session.subject)?;
                    let frames = executor.export(&mut session.instance).await;
                    print_stack(&session.instance, &wasm.get()?, &*frames.map_err(Problem::gate_failed)?);
                    Ok(status)
                }
                _ => ended.tell(&session.subject),
            }
        });
        let mut asked = false;
        loop {
            tokio::select! {
                biased;
                result = &mut work => break result,
                signal = signals.next() => {
                    // The first one suspends, if there is something to be written. Who hangs up does not wait for it.
                    if (limits.snapshot.is_some() || is_profiled) && !asked && signal != Signals::HANGUP {
                        asked = true;
                        interrupted.set(Some(signal));
                        stopper.stop();
                        continue;
                    }
                    cancel.cancel();
                    if cancel.is_noticed() {
                        // A file that is being written is not left behind.
                        let _ = tokio::time::timeout(GRACE, &mut work).await;
                    }
                    break Ok(Status::Signal(signal));
                }
                () = &mut suspend, if !asked => {
                    asked = true;
                    stopper.stop();
                }
            }
        }
    };
    let result = match result {
        Ok(Status::KILLED) | Err(_) => match tokio::time::timeout(EXPLANATION, signals.next()).await {
            Ok(signal) => Ok(Status::Signal(signal)),
            Err(_) => result,
        },
        result => result,
    };
    if let Ok(Status::Signal(_) | Status::Timeout) = result {
        // Who interrupts a program wants it to be gone when the prompt comes back.
        let _ = tokio::time::timeout(GRACE, executor.close()).await;
    }
    result
}

/// Reads the module if the program goes on for some time: what its file is replaced by then does not matter any more.
fn keep(wasm: Wasm) {
    tokio::spawn(async move {
        tokio::time::sleep(KEEP_AFTER).await;
        // Whoever needs it will be told.
        tokio::task::spawn_blocking(move || drop(wasm.get()));
    });
}

/// Never, without a time.
pub(crate) async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
