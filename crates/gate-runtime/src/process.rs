//! Processes.

use crate::config::ProcessPolicy;
use crate::control::{Control, End, Tenant, Vacancy};
use crate::error::{ExecutorError, ProcessError};
use crate::program::{ProgramCode, ProgramState};
use crate::watch;
use gate_image::{GuestMemory, Mutation, Placement};
use gate_sandbox::RT_SPAN;
use gate_wire::call::CallRequest;
use gate_wire::control::Op;
use gate_wire::load::{LoadRequest, MAX_MEMORIES, NO_ENTRY};
use gate_wire::{MEMORY_RESERVATION, PAGE_SIZE};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use rustix::time::{ClockId, clock_gettime};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::SetOnce;

/// Runs a program image once.
///
/// A process is idle until it is started. Dropping it kills the program and frees everything; the instance can be
/// looked at as soon as the process is dead.
pub struct Process {
    pub(crate) shared: Arc<Shared>,
    pub(crate) socket: AsyncFd<OwnedFd>,
    pub(crate) phase: Phase,
}

/// What can be done with the process next.
pub(crate) enum Phase {
    Idle,
    Running {
        memory: GuestMemory,
        /// A host call which has not been answered.
        request: Option<CallRequest>,
        /// See [`LoadRequest::monotonic_origin`].
        monotonic_origin: u64,
    },
    Ended,
}

/// What a process's handles, and the executor's table, have in common.
pub(crate) struct Shared {
    id: u32,
    control: Arc<Control>,
    pub(crate) end: SetOnce<End>,
    /// Somebody has asked for it to be killed.
    pub(crate) killed: AtomicBool,
    /// It has nothing left to do but to be reaped.
    exiting: AtomicBool,
    suspended: AtomicBool,
    /// Kept until the process is dead, even if nobody is interested in it any more.
    mutation: Mutex<Option<Mutation>>,
}

impl Tenant for Shared {
    fn end(&self) -> &SetOnce<End> {
        &self.end
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
            exiting: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            mutation: Mutex::new(None),
        })?;
        Ok(Self { shared, socket, phase: Phase::Idle })
    }

    /// Starts the program. Its state changes until the process is dead.
    ///
    /// `code` must be the program of which `state` is an instance. If the process does not exist, or not any more,
    /// [`Process::serve`] tells.
    pub fn start(
        &mut self,
        code: &impl ProgramCode,
        state: &mut impl ProgramState,
        policy: ProcessPolicy,
    ) -> Result<(), ProcessError> {
        if !matches!(self.phase, Phase::Idle) {
            return Err(ProcessError::Order("has been started before"));
        }
        let (start, entry) = (state.start(), state.entry());
        if start.is_none() && entry.is_none() {
            return Err(ProcessError::NoFunction);
        }
        let memories = state.memory_maps()?;
        let (stack_size, instance_size) = (state.stack_size(), state.instance_size());
        let span = PAGE_SIZE + stack_size + instance_size + MEMORY_RESERVATION * memories.len() as u64;
        let placement = Placement::random(RT_SPAN, code.text_size(), span)
            .map(|p| Placement { state_addr: p.state_addr + PAGE_SIZE, ..p })
            .ok_or(ProcessError::AddressSpace)?;
        let monotonic_origin = state.monotonic_time().wrapping_sub(monotonic_now());
        let resolution = u64::try_from(policy.time_resolution.as_nanos()).unwrap_or(u64::MAX);
        let request = LoadRequest {
            flags: 0,
            rt_addr: placement.rt_addr,
            text_addr: placement.text_addr,
            text_size: code.text_size(),
            state_addr: placement.state_addr,
            stack_size,
            instance_size,
            start: start.unwrap_or(NO_ENTRY),
            entry: entry.unwrap_or(NO_ENTRY),
            monotonic_origin,
            time_resolution: resolution.max(1),
            ..Default::default()
        };
        let mut buf = [0; LoadRequest::MAX_SIZE];
        let size =
            request.encode(&memories, &mut buf).ok_or(ProcessError::Order("cannot have so many memories"))?;
        debug_assert!(memories.len() <= MAX_MEMORIES);

        let mutation = state.begin_mutation(placement)?;
        let result = self.send_image(&buf[..size], code.text(), mutation.file());
        let memory = mutation.memory();
        *self.shared.mutation() = Some(mutation);
        self.phase = Phase::Running { memory, request: None, monotonic_origin };
        match result {
            // If it is dead already, it has a reason, which is told when it is served.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED) => Ok(()),
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
    /// Can be done at any time, any number of times.
    pub fn suspend(&self) {
        self.shared.suspend();
    }

    /// A handle for killing and suspending the program from elsewhere.
    pub fn killer(&self) -> Killer {
        Killer { shared: Arc::downgrade(&self.shared) }
    }

    fn send_image(&self, message: &[u8], text: BorrowedFd<'_>, state: BorrowedFd<'_>) -> Result<(), Errno> {
        let fds = [text, state];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::io::retry_on_intr(|| sendmsg(&self.socket, &[IoSlice::new(message)], &mut control, flags))?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
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

    pub(crate) fn take_mutation(&self) -> Option<Mutation> {
        self.mutation().take()
    }

    fn suspend(&self) {
        if !self.suspended.swap(true, Ordering::SeqCst) {
            self.signal(Op::Suspend);
        }
    }

    fn signal(&self, op: Op) {
        if self.end.get().is_none() && !self.exiting.load(Ordering::SeqCst) {
            self.control.signal(op, self.id, self);
        }
    }

    fn mutation(&self) -> std::sync::MutexGuard<'_, Option<Mutation>> {
        self.mutation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host's monotonic clock, in nanoseconds.
pub(crate) fn monotonic_now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}
