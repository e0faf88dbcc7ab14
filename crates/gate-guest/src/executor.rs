//! Runs futures.

use crate::future::poll_fn;
use crate::state::{Spawned, State};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};

/// How often tasks get their turn before packets get theirs.
const MAX_ROUNDS: usize = 64;

/// Runs a future to its end, and along with it what it spawns. Tasks that have not ended by then are dropped.
pub(crate) fn block_on<F: Future>(state: &RefCell<State>, future: F) -> F::Output {
    let woken = Arc::new(AtomicBool::new(false));
    let mut main = Box::pin(future);
    let main_waker = TaskWaker::new(&woken);
    let mut tasks: Vec<Task> = Vec::new();
    // From then on, a resumption can be told from the start.
    state.borrow_mut().transfer(false);
    loop {
        for _ in 0..MAX_ROUNDS {
            if !woken.swap(false, Ordering::Relaxed) {
                break;
            }
            if let Some(Poll::Ready(output)) = main_waker.poll(main.as_mut()) {
                return output;
            }
            let mut index = 0;
            while index < tasks.len() {
                match tasks[index].poll() {
                    Poll::Ready(()) => drop(tasks.swap_remove(index)),
                    Poll::Pending => index += 1,
                }
            }
            let spawned = core::mem::take(&mut state.borrow_mut().spawned);
            tasks.extend(spawned.into_iter().map(|future| Task { future, waker: TaskWaker::new(&woken) }));
        }
        state.borrow_mut().transfer(!woken.load(Ordering::Relaxed));
    }
}

struct Task {
    future: Spawned,
    waker: TaskWaker,
}

impl Task {
    fn poll(&mut self) -> Poll<()> {
        self.waker.poll(self.future.as_mut()).unwrap_or(Poll::Pending)
    }
}

struct TaskWaker {
    flag: Arc<Flag>,
    waker: Waker,
}

/// Says that a task is to be polled.
struct Flag {
    this: AtomicBool,
    /// The same of any of the tasks.
    any: Arc<AtomicBool>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.this.store(true, Ordering::Relaxed);
        self.any.store(true, Ordering::Relaxed);
    }
}

impl TaskWaker {
    /// For a task that is to be polled soon.
    fn new(any: &Arc<AtomicBool>) -> Self {
        let flag = Arc::new(Flag { this: AtomicBool::new(false), any: Arc::clone(any) });
        flag.wake_by_ref();
        let waker = Arc::clone(&flag).into();
        Self { flag, waker }
    }

    /// Polls if somebody wants it.
    fn poll<F: Future + ?Sized>(&self, future: Pin<&mut F>) -> Option<Poll<F::Output>> {
        let wanted = self.flag.this.swap(false, Ordering::Relaxed);
        wanted.then(|| future.poll(&mut Context::from_waker(&self.waker)))
    }
}

/// A future, and where its result is to go.
pub(crate) fn joinable<F: Future + 'static>(future: F) -> (Spawned, JoinHandle<F::Output>) {
    let slot = Rc::new(RefCell::new(Slot { output: None, waker: None }));
    let handle = JoinHandle { slot: Rc::clone(&slot) };
    let spawned = Box::pin(async move {
        let output = future.await;
        let waker = {
            let mut slot = slot.borrow_mut();
            slot.output = Some(output);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    });
    (spawned, handle)
}

/// Waits for the result of a task. Dropped, it lets the task go on.
#[must_use = "drop it if the task's result is not wanted"]
pub struct JoinHandle<T> {
    slot: Rc<RefCell<Slot<T>>>,
}

struct Slot<T> {
    output: Option<T>,
    waker: Option<Waker>,
}

impl<T> JoinHandle<T> {
    /// Waits until the task has ended.
    pub async fn join(self) -> T {
        poll_fn(|cx| {
            let mut slot = self.slot.borrow_mut();
            match slot.output.take() {
                Some(output) => Poll::Ready(output),
                None => {
                    slot.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("ended", &self.slot.borrow().output.is_some()).finish()
    }
}
