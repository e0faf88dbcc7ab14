//! The control socket of an executor, and which process has which id.

use crate::error::ExecutorError;
use crate::spawn::Child;
use gate_wire::control::{Op, Report, Request};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SetOnce};

/// How a process ended, as the executor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was there, and has been reaped. The status is that of `waitpid`.
    Died { status: i32 },
    /// It could not be made.
    Refused { errno: i32 },
    /// The executor was closed, and the process is gone with it.
    Closed,
    /// The executor died, and the process is gone with it.
    ExecutorDied,
}

/// Something that has an id until the executor reports its end.
pub(crate) trait Tenant: Send + Sync {
    /// Where its end is announced.
    fn end(&self) -> &SetOnce<End>;
}

/// Connection to an executor.
pub(crate) struct Control {
    socket: AsyncFd<OwnedFd>,
    table: Mutex<Table>,
    /// There are messages in the queue.
    queued: Notify,
    /// The executor is to die.
    closed: Notify,
    ids: Arc<Semaphore>,
    dead: SetOnce<()>,
}

struct Table {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Messages that the socket did not take. At most one of each kind for each id.
    queue: VecDeque<Message>,
    closed: bool,
}

struct Slot {
    tenant: Arc<dyn Tenant>,
    _permit: OwnedSemaphorePermit,
}

struct Message {
    request: Request,
    fd: Option<OwnedFd>,
}

/// The right to have an id.
pub(crate) struct Vacancy(OwnedSemaphorePermit);

impl Control {
    pub(crate) fn new(socket: AsyncFd<OwnedFd>, max_procs: u32) -> Self {
        let table = Table {
            slots: (0..max_procs).map(|_| None).collect(),
            free: (0..max_procs).rev().collect(),
            queue: VecDeque::new(),
            closed: false,
        };
        Self {
            socket,
            table: Mutex::new(table),
            queued: Notify::new(),
            closed: Notify::new(),
            ids: Arc::new(Semaphore::new(max_procs as usize)),
            dead: SetOnce::new(),
        }
    }

    /// Waits until there is a free id.
    pub(crate) async fn vacancy(&self) -> Result<Vacancy, ExecutorError> {
        Arc::clone(&self.ids).acquire_owned().await.map(Vacancy).map_err(|_| ExecutorError::Dead)
    }

    /// Asks for a process. `make` gets its id, and `fd` becomes its call socket.
    pub(crate) fn create<T: Tenant + 'static>(
        &self,
        Vacancy(permit): Vacancy,
        fd: OwnedFd,
        make: impl FnOnce(u32) -> T,
    ) -> Result<Arc<T>, ExecutorError> {
        let mut table = self.table();
        if table.closed {
            return Err(ExecutorError::Dead);
        }
        // There are as many ids as permits, and an id is freed before its permit.
        let id = table.free.pop().ok_or(ExecutorError::Dead)?;
        let tenant = Arc::new(make(id));
        table.slots[id as usize] =
            Some(Slot { tenant: Arc::clone(&tenant) as Arc<dyn Tenant>, _permit: permit });
        let result = self.send(&mut table, Message { request: Request { op: Op::Create, id }, fd: Some(fd) });
        match result {
            Ok(()) => Ok(tenant),
            Err(errno) => {
                table.vacate(id);
                Err(ExecutorError::system("ask for a process")(errno))
            }
        }
    }

    /// Asks for a process's death or suspension. Nothing happens if it is dead.
    pub(crate) fn signal(&self, op: Op, id: u32, tenant: &dyn Tenant) {
        let mut table = self.table();
        let slot = table.slots.get(id as usize).and_then(Option::as_ref);
        // With the table locked the id cannot become another process's before the message is on its way.
        let same = slot.is_some_and(|s| std::ptr::addr_eq(Arc::as_ptr(&s.tenant), tenant));
        if same && !table.closed {
            // An executor that cannot be reached takes the process with it.
            let _ = self.send(&mut table, Message { request: Request { op, id }, fd: None });
        }
    }

    /// Makes [`Control::run`] kill the executor.
    pub(crate) fn close(&self) {
        self.table().closed = true;
        self.ids.close();
        self.closed.notify_one();
    }

    /// Waits until nothing is left of the executor.
    pub(crate) async fn dead(&self) {
        self.dead.wait().await;
    }

    /// Works until the executor is dead and has been reaped.
    pub(crate) async fn run(self: Arc<Self>, executor: AsyncFd<ExecutorProcess>) {
        // If the task is dropped, with its tokio runtime, the processes are gone all the same.
        let mut guard = EndGuard { control: &self, executor: Some(executor), end: End::Closed };
        let executor = guard.executor.as_ref().expect("taken in drop only");
        let mut gone = false;
        loop {
            tokio::select! {
                _ = executor.readable() => break,
                () = self.closed.notified() => executor.get_ref().0.kill(),
                () = self.queued.notified() => {}
                result = self.receive(), if !gone => {
                    if result.is_err() {
                        // It has hung up, or is of no more use: its death follows.
                        gone = true;
                        executor.get_ref().0.kill();
                    }
                }
                result = self.flush(), if !gone && self.has_queue() => {
                    if result.is_err() {
                        gone = true;
                        executor.get_ref().0.kill();
                    }
                }
            }
        }
        // What the executor has told before its death still counts.
        while !gone && self.receive_now().is_ok() {}
        if !self.table().closed {
            guard.end = End::ExecutorDied;
        }
    }

    /// Waits for reports and takes them in.
    async fn receive(&self) -> io::Result<()> {
        let mut guard = self.socket.readable().await?;
        match guard.try_io(|_| self.receive_now()) {
            Ok(result) => result,
            Err(_would_block) => Ok(()),
        }
    }

    fn receive_now(&self) -> io::Result<()> {
        let mut buf = [0; 64 * Report::SIZE];
        let (size, _) = recv(&self.socket, &mut buf[..], RecvFlags::DONTWAIT)?;
        if size == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut table = self.table();
        for report in buf[..size].as_chunks::<{ Report::SIZE }>().0 {
            let (id, end) = match Report::decode(report) {
                Some(Report::Died { id, status, .. }) => (id, End::Died { status: status as i32 }),
                Some(Report::Refused { id, errno }) => (id, End::Refused { errno: errno as i32 }),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            };
            if let Some(slot) = table.vacate(id) {
                // Nobody else announces it: the slot was there.
                let _ = slot.tenant.end().set(end);
            }
        }
        Ok(())
    }

    fn has_queue(&self) -> bool {
        !self.table().queue.is_empty()
    }

    /// Waits for space in the socket and sends from the queue.
    async fn flush(&self) -> io::Result<()> {
        let mut guard = self.socket.ready(Interest::WRITABLE).await?;
        let result = guard.try_io(|_| {
            let mut table = self.table();
            while let Some(message) = table.queue.front() {
                let id = message.request.id;
                match self.send_now(message) {
                    Ok(()) => {}
                    // This user has too many descriptors on the way to somebody. Other messages have none.
                    Err(Errno::TOOMANYREFS) => {
                        if let Some(slot) = table.vacate(id) {
                            let _ = slot
                                .tenant
                                .end()
                                .set(End::Refused { errno: Errno::TOOMANYREFS.raw_os_error() });
                        }
                    }
                    Err(errno) => return Err(errno.into()),
                }
                table.queue.pop_front();
            }
            Ok(())
        });
        result.unwrap_or(Ok(()))
    }

    /// Sends a message, or puts it into the queue if the socket does not take it now.
    fn send(&self, table: &mut Table, message: Message) -> Result<(), Errno> {
        if table.queue.is_empty() {
            match self.send_now(&message) {
                // What lacks memory now is tried once more, and then given up with the executor.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => {}
                result => return result,
            }
        }
        table.queue.push_back(message);
        self.queued.notify_one();
        Ok(())
    }

    fn send_now(&self, message: &Message) -> Result<(), Errno> {
        let bytes = message.request.encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = message.fd.as_ref().map(|fd| [fd.as_fd()]);
        if let Some(fds) = &fds {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::io::retry_on_intr(|| sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, flags))?;
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing that is done with the table panics half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn vacate(&mut self, id: u32) -> Option<Slot> {
        let slot = self.slots.get_mut(id as usize)?.take()?;
        self.free.push(id);
        Some(slot)
    }
}

/// The executor's process, whose descriptor becomes readable when it is dead.
pub(crate) struct ExecutorProcess(pub(crate) Child);

impl AsRawFd for ExecutorProcess {
    fn as_raw_fd(&self) -> RawFd {
        self.0.pidfd().as_raw_fd()
    }
}

/// Announces the end of everything.
struct EndGuard<'a> {
    control: &'a Control,
    executor: Option<AsyncFd<ExecutorProcess>>,
    end: End,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        // Dead or not: this kills, waits and reaps. As it is process 1 of its namespace, nothing outlives it there.
        drop(self.executor.take());
        self.control.ids.close();
        let mut table = self.control.table();
        table.closed = true;
        table.queue.clear();
        for slot in table.slots.iter_mut().filter_map(Option::take) {
            let _ = slot.tenant.end().set(self.end);
        }
        drop(table);
        let _ = self.control.dead.set(());
    }
}
