//! Host calls of a program, and how it ended.

use crate::control::End;
use crate::error::{AbnormalExit, ProcessError};
use crate::host::HostFunctions;
use crate::process::{Phase, Process, monotonic_now};
use crate::result::{Outcome, Result};
use gate_image::{Exit, Mutation};
use gate_wire::call::{CallRequest, REQUEST_SIZE};
use gate_wire::trap::TrapId;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::time::Timespec;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

/// What has come from the program.
enum Received {
    Request(CallRequest),
    /// Its end of the socket is closed: it is dead, or about to be.
    Hangup,
    /// Something that rt does not send.
    Violation,
}

/// Why serving is over.
enum Over {
    Hangup,
    Violation,
    HostFault(crate::HostFault),
}

impl Process {
    /// Serves the program until it ends.
    ///
    /// Returns as soon as the program cannot do anything any more, which can be shortly before its process is reaped. If
    /// the future is dropped, the program goes on until it needs the host, and can be served again.
    pub async fn serve(
        &mut self,
        host: &mut impl HostFunctions,
    ) -> std::result::Result<Outcome, ProcessError> {
        let over = self.serve_calls(host).await?;
        let outcome = self.conclude(over).await;
        self.phase = Phase::Ended;
        outcome
    }

    async fn serve_calls(
        &mut self,
        host: &mut impl HostFunctions,
    ) -> std::result::Result<Over, ProcessError> {
        let (memory, request) = match &mut self.phase {
            Phase::Idle => return Err(ProcessError::Order("has not been started")),
            Phase::Ended => return Err(ProcessError::Order("has ended")),
            Phase::Running { memory, request, .. } => (&*memory, request),
        };
        loop {
            if let Some(call) = request {
                let reply = tokio::select! {
                    biased;
                    reply = host.call(call, memory) => reply,
                    _ = self.shared.end.wait() => return Ok(Over::Hangup),
                };
                let reply = match reply {
                    Ok(reply) => reply,
                    Err(fault) => return Ok(Over::HostFault(fault)),
                };
                *request = None;
                // If it is dead, receiving tells.
                let sent = send(&self.socket, &reply.encode(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
                if sent == Err(Errno::AGAIN) {
                    // It has many replies already, so it has made calls without waiting for any.
                    return Ok(Over::Violation);
                }
            }
            let mut guard =
                self.socket.readable().await.map_err(ProcessError::system("watch the call socket"))?;
            let closed = guard.ready().is_read_closed();
            match receive(guard.get_inner().as_fd(), closed) {
                Ok(Received::Request(call)) => {
                    // The next one cannot come before this one is answered, and a hang-up remains visible.
                    guard.clear_ready();
                    *request = Some(call);
                }
                Ok(Received::Hangup) => return Ok(Over::Hangup),
                Ok(Received::Violation) => return Ok(Over::Violation),
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(errno) => return Err(ProcessError::system("receive from the program")(errno)),
            }
        }
    }

    async fn conclude(&mut self, over: Over) -> std::result::Result<Outcome, ProcessError> {
        let unfinished = match over {
            Over::Hangup => None,
            Over::Violation => Some(Ok(Outcome::trap(TrapId::AbiViolation))),
            Over::HostFault(fault) => Some(Err(ProcessError::Host(fault))),
        };
        if let Some(outcome) = unfinished {
            self.shared.put_down();
            self.shared.end.wait().await;
            drop(self.take_mutation());
            return outcome;
        }
        // A program says itself how it ended. Whether it was killed before it could do so the executor knows.
        if !self.shared.killed.load(Ordering::SeqCst)
            && let Some(mutation) = self.take_mutation()
        {
            // Its memory was let go of before its descriptors, so that there is nothing more to come.
            self.shared.set_exiting();
            if let Some(outcome) = own_words(&mutation)? {
                return Ok(outcome);
            }
        }
        let end = *self.shared.end.wait().await;
        let mutation = self.take_mutation();
        match end {
            End::Closed => Ok(Outcome::trap(TrapId::Killed)),
            End::ExecutorDied => Err(ProcessError::ExecutorDied),
            End::Refused { errno } => Err(ProcessError::Refused(io::Error::from_raw_os_error(errno))),
            End::Died { status } if libc::WIFSIGNALED(status) => match libc::WTERMSIG(status) {
                // If it was not this host, it was the kernel, out of memory, or an administrator.
                libc::SIGKILL => Ok(Outcome::trap(TrapId::Killed)),
                libc::SIGSYS => Err(ProcessError::Abnormal(AbnormalExit::ForbiddenSystemCall)),
                signal => Err(ProcessError::Abnormal(AbnormalExit::Signal(signal))),
            },
            End::Died { status } => {
                let words = mutation.as_ref().map(own_words).transpose()?.flatten();
                words.ok_or(ProcessError::Abnormal(AbnormalExit::Code(libc::WEXITSTATUS(status))))
            }
        }
    }

    /// Takes the state out of the process's hands.
    fn take_mutation(&self) -> Option<Mutation> {
        let mutation = self.shared.take_mutation()?;
        if let Phase::Running { monotonic_origin, .. } = self.phase {
            mutation.set_monotonic_time(monotonic_now().wrapping_add(monotonic_origin));
        }
        Some(mutation)
    }
}

/// How the program itself says it ended, if it does.
fn own_words(mutation: &Mutation) -> std::result::Result<Option<Outcome>, ProcessError> {
    Ok(match mutation.exit().map_err(ProcessError::Unexplained)? {
        Exit::None => None,
        Exit::Returned => Some(Outcome::exit(Result::halted(mutation.return_value()?.unwrap_or(0)))),
        Exit::Terminated { code } => Some(Outcome::exit(Result::terminated_with(code as i32))),
        Exit::Trapped(trap) => Some(Outcome::trap(trap)),
        Exit::Frozen => Some(Outcome::trap(TrapId::Suspended)),
    })
}

fn receive(socket: BorrowedFd<'_>, closed: bool) -> std::result::Result<Received, Errno> {
    // One byte more shows that a message is too long.
    let mut buf = [0; REQUEST_SIZE + 1];
    match rustix::io::retry_on_intr(|| recv(socket, &mut buf[..], RecvFlags::DONTWAIT)) {
        // An empty message looks the same as the end, but for this.
        Ok((0, _)) if !closed && !hung_up(socket)? => Ok(Received::Violation),
        // What the host had sent was not received by the program.
        Ok((0, _)) | Err(Errno::CONNRESET) => Ok(Received::Hangup),
        Ok((size, _)) => Ok(CallRequest::decode(&buf[..size]).map_or(Received::Violation, Received::Request)),
        Err(errno) => Err(errno),
    }
}

fn hung_up(socket: BorrowedFd<'_>) -> std::result::Result<bool, Errno> {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(fds[0].revents().contains(PollFlags::HUP))
}
