//! Host calls of a program, and how it ended.

use crate::control::End;
use crate::custody::Custody;
use crate::error::{AbnormalExit, ProcessError};
use crate::host::HostFunctions;
use crate::look::Look;
use crate::process::{Phase, Process, Progress};
use crate::receive::{Received, receive};
use crate::result::{Outcome, Result};
use gate_image::Exit;
use gate_wire::call::{REPLY_SIZE, REQUEST_SIZE};
use gate_wire::trap::TrapId;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use tokio::io::unix::AsyncFd;
use tokio::task::consume_budget;

/// Why serving is over.
enum Over {
    Hangup,
    Violation,
    HostFault(crate::HostFault),
    /// It was to be suspended, and has not stopped for too long.
    Unstoppable,
}

impl Process {
    /// Serves the program until it ends.
    ///
    /// Returns as soon as the program cannot do anything any more, which can be shortly before its process is reaped. If
    /// the future is dropped, the program goes on until it needs the host, and can be served again.
    ///
    /// If the program is suspended, this returns with the trap [`TrapId::Suspended`], and if it has come to a
    /// breakpoint, with [`TrapId::Breakpoint`]: then the instance can be started again, and goes on where it was. If
    /// it does not stop within [`ProcessPolicy::suspend_allowance`](crate::ProcessPolicy::suspend_allowance), it
    /// is killed, and this returns [`ProcessError::Unstoppable`].
    ///
    /// Must be called within a tokio runtime that has its I/O driver and its time driver enabled.
    pub async fn serve(
        &mut self,
        host: &mut impl HostFunctions,
    ) -> std::result::Result<Outcome, ProcessError> {
        if let Phase::Stopped(trap) = self.phase {
            self.phase = Phase::Ended;
            return Ok(Outcome::trap(trap));
        }
        let overdue = self.shared.overdue();
        let over = tokio::select! {
            biased;
            over = self.serve_calls(host) => over?,
            () = overdue => Over::Unstoppable,
        };
        let outcome = self.conclude(over).await;
        self.phase = Phase::Ended;
        self.shared.life.concluded(&outcome);
        outcome
    }

    /// Serves the program until it ends, and suspends it when `cancelled` is ready.
    ///
    /// `cancelled` can be what a cancellation token's method of that name returns. Otherwise like [`Process::serve`].
    pub async fn serve_until(
        &mut self,
        host: &mut impl HostFunctions,
        cancelled: impl Future<Output = ()>,
    ) -> std::result::Result<Outcome, ProcessError> {
        let killer = self.killer();
        let mut serve = pin!(self.serve(host));
        tokio::select! {
            biased;
            outcome = &mut serve => return outcome,
            () = cancelled => killer.suspend(),
        }
        serve.await
    }

    async fn serve_calls(
        &mut self,
        host: &mut impl HostFunctions,
    ) -> std::result::Result<Over, ProcessError> {
        let key = self.key();
        let run = match &mut self.phase {
            Phase::Idle => return Err(ProcessError::Order("has not been started")),
            Phase::Stopped(_) | Phase::Ended => return Err(ProcessError::Order("has ended")),
            Phase::Running(run) => run,
        };
        if let Some(start) = run.take_start() {
            host.begin(&start);
        }
        let mut look = Look::default();
        loop {
            let mut received = None;
            if let Progress::Received(call) = &run.progress {
                let memory = run.memory.during_call();
                let reply = tokio::select! {
                    biased;
                    reply = key.scope(host.call(call, &memory)) => reply,
                    _ = self.shared.end.wait() => return Ok(Over::Hangup),
                };
                let reply = match reply {
                    Ok(reply) => reply,
                    Err(fault) => return Ok(Over::HostFault(fault)),
                };
                // From here on the call is done, whether or not the program learns of it in this process.
                run.progress = Progress::Answered(reply);
                self.shared.life.called(REQUEST_SIZE, REPLY_SIZE);
                // If it is dead, receiving tells.
                let sent = send(&*self.socket, &reply.encode(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
                if sent == Err(Errno::AGAIN) {
                    // It has many replies already, so it has made calls without waiting for any.
                    return Ok(Over::Violation);
                }
                // It is a hint only.
                let _ = memory.announce_reply();
                // Not between receiving and noting what was received: the future may be dropped wherever it waits.
                take_turns(host).await;
                received = look.look(|| receive(self.socket.as_fd(), false));
            }
            let received = match received {
                Some(received) => received,
                None => wait_and_receive(&self.socket, host).await?,
            };
            match received {
                Ok(Received::Request(call)) => run.progress = Progress::Received(call),
                // In the second case it has not received everything that was sent to it.
                Ok(Received::Hangup) | Err(Errno::CONNRESET) => return Ok(Over::Hangup),
                Ok(Received::Violation) => return Ok(Over::Violation),
                Err(Errno::AGAIN) => {}
                Err(errno) => return Err(ProcessError::system("receive from the program")(errno)),
            }
        }
    }

    async fn conclude(&mut self, over: Over) -> std::result::Result<Outcome, ProcessError> {
        self.hand_over_progress();
        if !matches!(over, Over::Hangup) {
            self.shared.put_down();
        } else if !self.shared.killed.load(Ordering::SeqCst)
            && let Some(mut custody) = self.shared.take_custody()
        {
            // A program says itself how it ended. Whether it was killed before it could do so the executor knows. Its
            // memory was let go of before its descriptors, so that there is nothing more to come.
            match own_words(&mut custody)? {
                // A program which has not begun to go on says what it said last.
                Some(Outcome { trap: TrapId::Suspended | TrapId::Breakpoint, .. }) if custody.thawed => {}
                Some(outcome) => {
                    self.shared.set_exiting();
                    return Ok(outcome);
                }
                None => self.shared.set_exiting(),
            }
            self.shared.give_custody(custody);
        }
        let end = *self.shared.end.wait().await;
        let mut custody = self.shared.take_custody();
        match (over, end) {
            (Over::HostFault(fault), _) => Err(ProcessError::Host(fault)),
            (Over::Violation, _) => Ok(Outcome::trap(TrapId::AbiViolation)),
            (_, End::Closed) => Ok(Outcome::trap(TrapId::Killed)),
            (_, End::ExecutorDied) => Err(ProcessError::ExecutorDied),
            (_, End::Refused { errno }) => Err(ProcessError::Refused(io::Error::from_raw_os_error(errno))),
            (over, End::Died { status }) if libc::WIFSIGNALED(status) => match libc::WTERMSIG(status) {
                libc::SIGKILL if matches!(over, Over::Unstoppable) && !self.shared.is_killed() => {
                    Err(ProcessError::Unstoppable)
                }
                // If it was not this host, it was the kernel, out of memory, or an administrator.
                libc::SIGKILL => Ok(Outcome::trap(TrapId::Killed)),
                libc::SIGSYS => Err(ProcessError::Abnormal(AbnormalExit::ForbiddenSystemCall)),
                signal => Err(ProcessError::Abnormal(AbnormalExit::Signal(signal))),
            },
            (_, End::Died { status }) => {
                // A program that has come to its end leaves with zero. If it was frozen and could not be loaded, its last
                // words are old.
                let code = libc::WEXITSTATUS(status);
                let old = code != 0 && custody.as_ref().is_some_and(|custody| custody.thawed);
                let words = custody.as_mut().filter(|_| !old).map(own_words).transpose()?.flatten();
                words.ok_or(ProcessError::Abnormal(AbnormalExit::Code(code)))
            }
        }
    }
}

/// Sleeps until there is something to receive, or seems to be.
async fn wait_and_receive(
    socket: &AsyncFd<OwnedFd>,
    host: &mut impl HostFunctions,
) -> std::result::Result<std::result::Result<Received, Errno>, ProcessError> {
    let readable = tokio::select! {
        biased;
        readable = socket.readable() => readable,
        () = background(host) => return Ok(Err(Errno::AGAIN)),
    };
    let mut guard = readable.map_err(ProcessError::system("watch the call socket"))?;
    let received = receive(guard.get_inner().as_fd(), guard.ready().is_read_closed());
    if matches!(received, Ok(Received::Request(_)) | Err(Errno::AGAIN)) {
        // The next request cannot come before this one is answered, and a hang-up remains visible.
        guard.clear_ready();
    }
    Ok(received)
}

/// Lets the host do what it has to do, and other tasks have their turn now and then, though nothing is waited for.
async fn take_turns(host: &mut impl HostFunctions) {
    poll_fn(|cx| {
        host.poll_background(cx);
        Poll::Ready(())
    })
    .await;
    consume_budget().await;
}

/// Lets the host do what it has to do, for ever.
async fn background(host: &mut impl HostFunctions) {
    poll_fn(|cx| {
        host.poll_background(cx);
        Poll::Pending
    })
    .await
}

/// How the program itself says it ended, if it does. What it needs to go on is left in order.
fn own_words(custody: &mut Custody) -> std::result::Result<Option<Outcome>, ProcessError> {
    custody.settle()?;
    let mutation = &custody.mutation;
    Ok(match mutation.exit().map_err(ProcessError::Unexplained)? {
        Exit::None => None,
        Exit::Returned => Some(Outcome::exit(Result::halted(mutation.return_value()?.unwrap_or(0)))),
        Exit::Terminated { code } => Some(Outcome::exit(Result::terminated_with(code as i32))),
        Exit::Trapped(trap) => Some(Outcome::trap(trap)),
        Exit::Frozen if mutation.is_at_breakpoint()? => Some(Outcome::trap(TrapId::Breakpoint)),
        Exit::Frozen => Some(Outcome::trap(TrapId::Suspended)),
    })
}
