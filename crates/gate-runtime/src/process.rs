//! Processes.

use crate::config::ProcessPolicy;
use crate::control::{Control, End, Tenant, Vacancy};
use crate::custody::Custody;
use crate::error::{ExecutorError, ProcessError};
use crate::host::Start;
use crate::life::Life;
use crate::limit;
use crate::program::{ProgramCode, ProgramState};
use crate::watch;
use gate_image::{GuestMemory, ImageError, InstanceError, Launch, ProgramError, Purpose};
use gate_sandbox::RT_SPAN;
use gate_wire::call::{CallReply, CallRequest};
use gate_wire::control::Op;
use gate_wire::load::{FLAG_THAW, LoadRequest};
use gate_wire::trap::TrapId;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use rustix::time::{ClockId, clock_gettime};
use std::future::Future;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::SetOnce;

/// Runs a program image once.
///
/// A process is idle until it is started. Dropping it kills the program and frees everything; the instance can be
/// looked at as soon as the process is dead.
pub struct Process {
    pub(crate) shared: Arc<Shared>,
    pub(crate) socket: Arc<AsyncFd<OwnedFd>>,
    pub(crate) phase: Phase,
}

/// What can be done with the process next.
pub(crate) enum Phase {
    Idle,
    Running(Run),
    /// It was killed or suspended before it was started, so that the instance is as it was.
    Stopped(TrapId),
    Ended,
}

/// A program that has been started.
pub(crate) struct Run {
    pub(crate) memory: GuestMemory,
    pub(crate) progress: Progress,
    resumed: bool,
    /// See [`LoadRequest::monotonic_origin`].
    monotonic_origin: u64,
    /// The host functions know.
    begun: bool,
}

impl Run {
    /// What the host functions are to be told, once.
    pub(crate) fn take_start(&mut self) -> Option<Start> {
        let first = !std::mem::replace(&mut self.begun, true);
        let monotonic_time = monotonic_now().wrapping_add(self.monotonic_origin);
        first.then_some(Start { resumed: self.resumed, monotonic_time })
    }
}

/// What has become of the program's host calls.
pub(crate) enum Progress {
    /// It has not made any in this process.
    None,
    /// The last one has not been answered.
    Received(CallRequest),
    /// The last one has been answered, but the program may not know yet.
    Answered(CallReply),
}

/// What a process's handles, and the executor's table, have in common.
pub(crate) struct Shared {
    id: u32,
    control: Arc<Control>,
    pub(crate) end: SetOnce<End>,
    /// Somebody has asked for it to be killed.
    pub(crate) killed: AtomicBool,
    pub(crate) life: Life,
    /// It has nothing left to do but to be reaped.
    exiting: AtomicBool,
    /// Somebody has asked for its suspension.
    suspended: SetOnce<()>,
    /// See [`ProcessPolicy::suspend_allowance`]. Set when the program is started.
    suspend_allowance: SetOnce<Duration>,
    custody: Mutex<Option<Custody>>,
}

impl Tenant for Shared {
    fn end(&self) -> &SetOnce<End> {
        &self.end
    }

    fn life(&self) -> &Life {
        &self.life
    }
}

impl Process {
    pub(crate) fn new(control: &Arc<Control>, vacancy: Vacancy) -> Result<Self, ExecutorError> {
        let action = "create a call socket";
        let (socket, program_socket) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(ExecutorError::system(action))?;
        let socket = watch::socket(socket, Interest::READABLE).map_err(ExecutorError::system(action))?;
        let shared = control.create(vacancy, program_socket, |id| Shared {
            id,
            control: Arc::clone(control),
            end: SetOnce::new(),
            killed: AtomicBool::new(false),
            life: control.life(id),
            exiting: AtomicBool::new(false),
            suspended: SetOnce::new(),
            suspend_allowance: SetOnce::new(),
            custody: Mutex::new(None),
        })?;
        Ok(Self { shared, socket: Arc::new(socket), phase: Phase::Idle })
    }

    /// Starts the program, or lets it go on where it was suspended. Its state changes until the process is dead.
    ///
    /// `code` must be the program of which `state` is an instance. If the process does not exist, or not any more,
    /// [`Process::serve`] tells. If it has been killed or suspended already, the program is not started, and its
    /// state stays as it is.
    pub fn start(
        &mut self,
        code: &impl ProgramCode,
        state: &mut impl ProgramState,
        policy: ProcessPolicy,
    ) -> Result<(), ProcessError> {
        if !matches!(self.phase, Phase::Idle) {
            return Err(ProcessError::Order("has been started before"));
        }
        if let Some(trap) = self.shared.stopped_before_start() {
            // Nothing is to come for what the process waits for.
            self.shared.put_down();
            self.phase = Phase::Stopped(trap);
            return Ok(());
        }
        let monotonic_origin = state.monotonic_time().wrapping_sub(monotonic_now());
        let resolution = u64::try_from(policy.time_resolution.as_nanos()).unwrap_or(u64::MAX);
        let mut launch = match state.launch(RT_SPAN, Purpose::Run) {
            Err(InstanceError::Program(ProgramError::NoFunction)) => return Err(ProcessError::NoFunction),
            Err(InstanceError::Host(ImageError::AddressSpace)) => return Err(ProcessError::AddressSpace),
            result => result?,
        };
        if launch.request.text_size != code.text_size() {
            return Err(ProcessError::Order("got an instance of another program"));
        }
        launch.request.monotonic_origin = monotonic_origin;
        launch.request.time_resolution = resolution.max(1);
        let (buf, size) = encode(&launch)?;
        let result = self.send_image(&buf[..size], &launch.files());
        let thawed = launch.request.flags & FLAG_THAW != 0;
        let resumed = thawed || launch.request.frames_size > 0;
        let memory = launch.mutation.memory();
        let socket = Arc::clone(&self.socket);
        self.shared.give_custody(Custody::new(launch.mutation, monotonic_origin, thawed, socket));
        let progress = Progress::None;
        self.phase = Phase::Running(Run { memory, progress, resumed, monotonic_origin, begun: false });
        // It is set here only, and this is done once.
        let _ = self.shared.suspend_allowance.set(policy.suspend_allowance);
        match result {
            // If it is dead already, it has a reason, which is told when it is served.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED) => {
                self.shared.life.started();
                limit::enforce(&self.shared, &policy);
                Ok(())
            }
            Err(errno) => {
                self.kill();
                Err(ProcessError::system("send the program to its process")(errno))
            }
        }
    }

    /// Kills the program, and waits until its process is gone.
    pub async fn close(self) {
        self.kill();
        self.shared.end.wait().await;
    }

    /// Kills the program, if it is still running: then serving it ends with the trap
    /// [`TrapId::Killed`](crate::TrapId::Killed).
    ///
    /// Can be done at any time, any number of times.
    pub fn kill(&self) {
        self.shared.kill();
    }

    /// Suspends the program, if it is still running: then serving it ends with the trap
    /// [`TrapId::Suspended`](crate::TrapId::Suspended).
    ///
    /// Can be done at any time, any number of times, concurrently with everything else. The program need not do anything
    /// for it. A host call that it waits for is dropped, and made again when it goes on. If it comes to its end, or to
    /// a trap, before the request reaches it, that is how it has ended; and a program that is killed too may end either
    /// way.
    pub fn suspend(&self) {
        self.shared.suspend();
    }

    /// A handle for killing and suspending the program from elsewhere.
    pub fn killer(&self) -> Killer {
        Killer { shared: Arc::downgrade(&self.shared) }
    }

    pub(crate) fn send_image(&self, message: &[u8], files: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(files));
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::io::retry_on_intr(|| sendmsg(&*self.socket, &[IoSlice::new(message)], &mut control, flags))?;
        Ok(())
    }
}

impl Process {
    /// Leaves it to who has the state to settle the host call in which the program stops.
    pub(crate) fn hand_over_progress(&self) {
        if let Phase::Running(Run { progress: Progress::Answered(reply), .. }) = self.phase
            && let Some(custody) = &mut *self.shared.custody()
        {
            custody.last_reply = Some(reply);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.hand_over_progress();
        self.kill();
    }
}

/// Kills or suspends a program from elsewhere. Does not keep its process.
#[derive(Clone)]
pub struct Killer {
    shared: Weak<Shared>,
}

impl Killer {
    /// See [`Process::kill`].
    pub fn kill(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.kill();
        }
    }

    /// See [`Process::suspend`].
    pub fn suspend(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.suspend();
        }
    }
}

impl Shared {
    pub(crate) fn kill(&self) {
        if !self.killed.swap(true, Ordering::SeqCst) {
            self.signal(Op::Kill);
        }
    }

    /// Kills without saying that it was asked for.
    pub(crate) fn put_down(&self) {
        self.signal(Op::Kill);
    }

    /// Killing it makes no difference any more.
    pub(crate) fn set_exiting(&self) {
        self.exiting.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }

    pub(crate) fn give_custody(&self, custody: Custody) {
        *self.custody() = Some(custody);
    }

    pub(crate) fn take_custody(&self) -> Option<Custody> {
        self.custody().take()
    }

    /// Becomes ready when the program should have stopped long ago.
    pub(crate) fn overdue(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::clone(self);
        async move {
            shared.suspended.wait().await;
            let allowance = *shared.suspend_allowance.wait().await;
            sleep_in_steps(allowance).await;
        }
    }

    pub(crate) fn suspend(&self) {
        if self.suspended.set(()).is_ok() {
            self.life.suspending();
            self.signal(Op::Suspend);
        }
    }

    fn stopped_before_start(&self) -> Option<TrapId> {
        if self.is_killed() { Some(TrapId::Killed) } else { self.suspended.get().map(|_| TrapId::Suspended) }
    }

    pub(crate) fn signal(&self, op: Op) {
        if self.end.get().is_none() && !self.exiting.load(Ordering::SeqCst) {
            self.control.signal(op, self.id, self);
        }
    }

    fn custody(&self) -> MutexGuard<'_, Option<Custody>> {
        self.custody.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The message that starts a program.
///
/// Gives a buffer, and how much of it the message is.
pub(crate) fn encode(launch: &Launch) -> Result<([u8; LoadRequest::MAX_SIZE], usize), ProcessError> {
    let mut buf = [0; LoadRequest::MAX_SIZE];
    let size = launch
        .request
        .encode(&launch.memories, &mut buf)
        .ok_or(ProcessError::Order("cannot have so many memories"))?;
    Ok((buf, size))
}

/// The host's monotonic clock, in nanoseconds.
pub(crate) fn monotonic_now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// Sleeps in ten steps, so that when the whole machine has stood still for a while, a program that could not run
/// meanwhile still has nearly all of the time that it is given.
pub(crate) async fn sleep_in_steps(duration: Duration) {
    const STEPS: u32 = 10;
    for _ in 0..STEPS {
        tokio::time::sleep(duration / STEPS).await;
    }
}
