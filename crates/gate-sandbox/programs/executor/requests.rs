//! The executor's work: requests of the host, and deaths of processes.

use crate::spawn::spawn;
use crate::table::Table;
use crate::{CONTROL_FD, POLL_FD};
use gate_wire::control::{Op, Report, Request};
use sys::fd::{EPOLLHUP, EPOLLIN, EPOLLOUT, Event};
use sys::number::{errno, signal};
use sys::process::exit;
use sys::{Errno, Result, fd, process};

/// Key of the control socket in the event queue. Those of processes are their ids.
pub(crate) const CONTROL_KEY: u64 = u64::MAX;

/// Stands in a refusal for the id when a message is so odd that it has none.
const NO_ID: u32 = u32::MAX;

/// Where the kernel puts a received call socket, the lowest number being free.
const CALL_FD: i32 = 0;

/// Largest message to the host.
const MESSAGE_SIZE: usize = 64 * Report::SIZE;

pub(crate) struct Executor {
    table: &'static mut Table,
    /// What the control socket did not take yet, apart from deaths. No request is accepted meanwhile.
    pending: Option<Report>,
    /// What is waited for on the control socket.
    interest: u32,
}

impl Executor {
    pub(crate) fn new(table: &'static mut Table) -> Self {
        Self { table, pending: Some(Report::Ready), interest: EPOLLIN }
    }

    /// Works until the host closes the control socket.
    pub(crate) fn run(mut self) -> ! {
        let mut buf = [Event { events: 0, key: 0 }; 32];
        loop {
            self.report();
            // Being interrupted (by a debugger, say) is no reason to stop.
            let Ok(events) = fd::wait_poll(POLL_FD, &mut buf) else { continue };
            for event in events {
                match event.key {
                    CONTROL_KEY => self.control_event(event.events),
                    id => self.death_event(id as u32),
                }
            }
        }
    }

    fn control_event(&mut self, events: u32) {
        if self.pending.is_some() {
            if events & EPOLLHUP != 0 {
                exit(0);
            }
            return;
        }
        let mut buf = [0; Request::SIZE];
        match fd::receive(CONTROL_FD, &mut buf, fd::MSG_DONTWAIT) {
            // An empty message looks the same as the end, but for this.
            Ok(message) if message.size == 0 && events & EPOLLHUP != 0 => exit(0),
            Ok(message) => self.request(buf.get(..message.size), &message),
            Err(Errno(errno::EAGAIN | errno::EINTR)) => {}
            // The host is gone.
            Err(_) => exit(0),
        }
    }

    fn request(&mut self, bytes: Option<&[u8]>, message: &fd::Received) {
        let request = bytes.and_then(Request::decode);
        let result = match request {
            // Too long, or there was no space for all of its descriptors. Whoever waits for the id is to know.
            _ if message.truncated => Err(Errno(errno::EBADMSG)),
            Some(Request { op: Op::Create, id }) => self.create(id, message.fds()),
            Some(_) if !message.fds().is_empty() => Err(Errno(errno::EBADMSG)),
            Some(Request { op: Op::Kill, id }) => self.signal(id, signal::SIGKILL),
            Some(Request { op: Op::Suspend, id }) => self.signal(id, signal::SIGUSR1),
            Some(Request { op: Op::CpuTime, id }) => self.cpu_time(id),
            None => Err(Errno(errno::EBADMSG)),
        };
        // A program process has its own by now.
        for &fd in message.fds() {
            fd::close(fd);
        }
        if let Err(Errno(errno)) = result {
            self.pending = Some(Report::Refused { id: request.map_or(NO_ID, |r| r.id), errno });
        }
    }

    fn create(&mut self, id: u32, fds: &[i32]) -> Result<()> {
        self.table.check_free(id)?;
        let cgroup = match fds {
            [CALL_FD] => None,
            [CALL_FD, cgroup] => Some(*cgroup),
            _ => return Err(Errno(errno::EBADMSG)),
        };
        let (pidfd, pid) = spawn(cgroup)?;
        if let Err(error) = fd::add_to_poll(POLL_FD, pidfd, EPOLLIN, u64::from(id)) {
            // Its death would never be noticed.
            abandon(pidfd);
            return Err(error);
        }
        self.table.insert(id, pidfd, pid);
        Ok(())
    }

    fn signal(&self, id: u32, signal: u32) -> Result<()> {
        match self.table.pidfd(id)? {
            // It may be dead and not reaped.
            Some(pidfd) => process::send_signal(pidfd, signal).or(Ok(())),
            None => Ok(()),
        }
    }

    fn cpu_time(&mut self, id: u32) -> Result<()> {
        // It may be dead and not reaped: then its death is the answer.
        if let Some(pid) = self.table.pid(id)?
            && let Ok(cpu_time) = process::cpu_time(pid)
        {
            self.pending = Some(Report::CpuTime { id, cpu_time });
        }
        Ok(())
    }

    fn death_event(&mut self, id: u32) {
        let Ok(Some(pidfd)) = self.table.pidfd(id) else { return };
        let death = match process::reap(pidfd) {
            Ok(Some(death)) => death,
            Ok(None) | Err(Errno(errno::EINTR)) => return,
            // Whatever became of it, it is not there any more.
            Err(_) => process::Death { status: signal::SIGKILL, cpu_time: 0 },
        };
        fd::close(pidfd);
        self.table.bury(id, &death);
    }

    /// Tells the host what there is to tell, as far as its socket takes it, and waits for requests or for
    /// space accordingly.
    fn report(&mut self) {
        let blocked = self.send_pending().and_then(|()| self.send_deaths()).is_err();
        // Requests are accepted even while deaths wait: the host may be about to kill something.
        let interest = match (blocked, &self.pending) {
            (false, _) => EPOLLIN,
            (true, None) => EPOLLIN | EPOLLOUT,
            (true, Some(_)) => EPOLLOUT,
        };
        if interest != self.interest && fd::modify_poll(POLL_FD, CONTROL_FD, interest, CONTROL_KEY).is_ok() {
            self.interest = interest;
        }
    }

    fn send_pending(&mut self) -> Result<()> {
        if let Some(report) = &self.pending {
            send(&report.encode())?;
            self.pending = None;
        }
        Ok(())
    }

    fn send_deaths(&mut self) -> Result<()> {
        while !self.table.all_reported() {
            let mut buf = [0; MESSAGE_SIZE];
            let size = self.table.encode_deaths(&mut buf);
            send(buf.get(..size).unwrap_or(&[]))?;
            self.table.free_reported(size);
        }
        Ok(())
    }
}

/// Sends a message, or fails if there is no space now.
fn send(message: &[u8]) -> Result<()> {
    match fd::send_now(CONTROL_FD, message) {
        Err(Errno(errno::EAGAIN | errno::EINTR | errno::ENOMEM | errno::ENOBUFS)) => {
            Err(Errno(errno::EAGAIN))
        }
        // The host is gone.
        Err(_) => exit(0),
        Ok(()) => Ok(()),
    }
}

/// Kills a process and waits for its end.
fn abandon(pidfd: i32) {
    let _ = process::send_signal(pidfd, signal::SIGKILL);
    process::wait(pidfd);
    fd::close(pidfd);
}
