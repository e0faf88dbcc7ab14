//! The control socket of an executor, and which process has which id.

use crate::daemon::RemoteExecutor;
use crate::error::ExecutorError;
use crate::group::ProcessGroup;
use crate::life::{Life, Log};
use crate::metrics;
use crate::spawn::Child;
use gate_wire::control::{Op, Report, Request};
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, recv, sendmsg, shutdown,
};
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
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

    /// Where what is known of it is told.
    fn life(&self) -> &Life;
}

/// For how long messages are kept whose descriptors are too many.
const CONGESTION: Duration = Duration::from_secs(5);

/// Connection to an executor.
pub(crate) struct Control {
    /// Tells executors apart.
    serial: u64,
    log: Log,
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
    /// Since when this user has had too many descriptors on the way.
    congested: Option<Instant>,
    closed: bool,
}

struct Slot {
    tenant: Arc<dyn Tenant>,
    _permit: OwnedSemaphorePermit,
}

struct Message {
    request: Request,
    fd: Option<OwnedFd>,
    group: Option<ProcessGroup>,
}

/// The right to have an id, and where the process will be.
pub(crate) struct Vacancy {
    permit: OwnedSemaphorePermit,
    pub(crate) group: Option<ProcessGroup>,
}

impl Control {
    pub(crate) fn new(socket: AsyncFd<OwnedFd>, max_procs: u32, log: Log) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let table = Table {
            slots: (0..max_procs).map(|_| None).collect(),
            free: (0..max_procs).rev().collect(),
            queue: VecDeque::new(),
            congested: None,
            closed: false,
        };
        Self {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            log,
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
        let permit = Arc::clone(&self.ids).acquire_owned().await.map_err(|_| ExecutorError::Dead)?;
        Ok(Vacancy { permit, group: None })
    }

    /// How many more processes there may be now.
    pub(crate) fn vacancies(&self) -> usize {
        self.ids.available_permits()
    }

    /// Whether no more processes can be made.
    pub(crate) fn is_closed(&self) -> bool {
        self.ids.is_closed()
    }

    /// Begins to tell of a process.
    pub(crate) fn life(&self, id: u32) -> Life {
        Life::begin(self.serial, id, &self.log)
    }

    /// Asks for a process. `make` gets its id, and `fd` becomes its call socket.
    pub(crate) fn create<T: Tenant + 'static>(
        &self,
        Vacancy { permit, group }: Vacancy,
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
        let message = Message { request: Request { op: Op::Create, id }, fd: Some(fd), group };
        let result = self.send(&mut table, message);
        match result {
            Ok(()) => Ok(tenant),
            Err(errno) => {
                table.vacate(id);
                match errno {
                    // It is dead, and whoever watches it will know in a moment.
                    Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED | Errno::NOTCONN => {
                        self.ids.close();
                        Err(ExecutorError::Dead)
                    }
                    errno => Err(ExecutorError::system("ask for a process")(errno)),
                }
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
            let _ = self.send(&mut table, Message { request: Request { op, id }, fd: None, group: None });
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
    pub(crate) fn run(
        self: Arc<Self>,
        executor: AsyncFd<ExecutorProcess>,
    ) -> impl Future<Output = ()> + Send {
        // If the task is dropped, with its tokio runtime, the processes are gone all the same: even if it has never been
        // polled.
        let guard = EndGuard { control: self, executor: Some(executor), end: End::Closed };
        async move { guard.run().await }
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
                Some(Report::CpuTime { id, cpu_time }) => {
                    if let Some(slot) = table.slots.get(id as usize).and_then(Option::as_ref) {
                        slot.tenant.life().cpu.tell(cpu_time);
                    }
                    continue;
                }
                Some(Report::Died { id, status, cpu_time }) => {
                    if let Some(slot) = table.slots.get(id as usize).and_then(Option::as_ref) {
                        slot.tenant.life().cpu.tell(cpu_time);
                    }
                    (id, End::Died { status: status as i32 })
                }
                Some(Report::Refused { id, errno }) => (id, End::Refused { errno: errno as i32 }),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            };
            if let Some(slot) = table.vacate(id) {
                slot.announce(end);
            }
        }
        Ok(())
    }

    /// Makes an executor end, whosever child it is.
    fn stop(&self, executor: &ExecutorProcess) {
        // It exits by itself when its host is gone. If there is no connection any more, it knows.
        let _ = shutdown(&self.socket, Shutdown::Both);
        executor.kill();
    }

    fn has_queue(&self) -> bool {
        !self.table().queue.is_empty()
    }

    /// Waits for space in the socket and sends from the queue.
    async fn flush(&self) -> io::Result<()> {
        let mut guard = self.socket.ready(Interest::WRITABLE).await?;
        match guard.try_io(|_| self.flush_now()) {
            Ok(Err(error)) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => {
                // Somebody takes them out some time: nothing tells when.
                tokio::time::sleep(Duration::from_millis(2)).await;
                Ok(())
            }
            Ok(result) => result,
            Err(_would_block) => Ok(()),
        }
    }

    fn flush_now(&self) -> io::Result<()> {
        let mut table = self.table();
        while let Some(message) = table.queue.front() {
            let id = message.request.id;
            match self.send_now(message) {
                Ok(()) => table.congested = None,
                // This user has too many descriptors on the way to somebody. Other messages have none.
                Err(errno @ Errno::TOOMANYREFS) => {
                    let since = *table.congested.get_or_insert_with(Instant::now);
                    if since.elapsed() < CONGESTION {
                        return Err(errno.into());
                    }
                    if let Some(slot) = table.vacate(id) {
                        slot.announce(End::Refused { errno: errno.raw_os_error() });
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
            table.queue.pop_front();
        }
        Ok(())
    }

    /// Sends a message, or puts it into the queue if the socket does not take it now.
    fn send(&self, table: &mut Table, message: Message) -> Result<(), Errno> {
        if table.queue.is_empty() {
            match self.send_now(&message) {
                // What lacks memory now is tried once more, and then given up with the executor.
                // Of too many descriptors on the way, some are taken out in the meantime.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::TOOMANYREFS) => {}
                result => return result,
            }
        }
        table.queue.push_back(message);
        self.queued.notify_one();
        Ok(())
    }

    fn send_now(&self, message: &Message) -> Result<(), Errno> {
        let bytes = message.request.encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fd = message.fd.as_ref().map(AsFd::as_fd);
        let pair = fd.map(|fd| [fd, message.group.as_ref().map_or(fd, AsFd::as_fd)]);
        if let Some(pair) = &pair {
            let count = if message.group.is_some() { 2 } else { 1 };
            control.push(SendAncillaryMessage::ScmRights(&pair[..count]));
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

impl Slot {
    fn announce(&self, end: End) {
        // Nobody else announces it: the slot was in the table.
        if self.tenant.end().set(end).is_ok() {
            self.tenant.life().ended(end);
        }
    }
}

/// The executor's process, whose descriptor becomes readable when it is dead. It is killed when dropped.
pub(crate) enum ExecutorProcess {
    /// A child of this process.
    Child(Child),
    /// A daemon's.
    Remote(RemoteExecutor),
}

impl ExecutorProcess {
    /// The descriptor that becomes readable when it is dead.
    pub(crate) fn pidfd(&self) -> &OwnedFd {
        match self {
            Self::Child(child) => child.pidfd(),
            Self::Remote(remote) => remote.pidfd(),
        }
    }

    fn kill(&self) {
        match self {
            Self::Child(child) => child.kill(),
            Self::Remote(remote) => remote.kill(),
        }
    }
}

impl AsRawFd for ExecutorProcess {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd().as_raw_fd()
    }
}

/// Announces the end of everything.
struct EndGuard {
    control: Arc<Control>,
    executor: Option<AsyncFd<ExecutorProcess>>,
    end: End,
}

impl EndGuard {
    async fn run(mut self) {
        let Some(executor) = &self.executor else { return };
        let control = &self.control;
        let mut gone = false;
        loop {
            tokio::select! {
                _ = executor.readable() => break,
                () = control.closed.notified() => control.stop(executor.get_ref()),
                () = control.queued.notified() => {}
                result = control.receive(), if !gone => {
                    if result.is_err() {
                        // It has hung up, or is of no more use: its death follows.
                        gone = true;
                        control.stop(executor.get_ref());
                    }
                }
                result = control.flush(), if !gone && control.has_queue() => {
                    if result.is_err() {
                        gone = true;
                        control.stop(executor.get_ref());
                    }
                }
            }
        }
        // What the executor has told before its death still counts.
        while !gone && control.receive_now().is_ok() {}
        if !control.table().closed {
            self.end = End::ExecutorDied;
        }
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let control = &self.control;
        // Dead or not: this kills, waits and reaps. As it is process 1 of its namespace, nothing outlives it there.
        if let Some(executor) = self.executor.take() {
            control.stop(executor.get_ref());
        }
        control.ids.close();
        let mut table = control.table();
        table.closed = true;
        table.queue.clear();
        let slots: Vec<_> = table.slots.iter_mut().filter_map(Option::take).collect();
        drop(table);
        for slot in slots {
            slot.announce(self.end);
        }
        if self.end == End::ExecutorDied {
            metrics::executor_died();
            control.log.with(|| tracing::error!(executor = control.serial, "an executor died"));
        }
        let _ = control.dead.set(());
    }
}
