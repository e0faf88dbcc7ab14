//! What a program has from the beginning.

use crate::executor::{self, JoinHandle};
use crate::future::poll_fn;
use crate::service::Service;
use crate::state::{State, TimerId};
use crate::{sys, Error};
use alloc::rc::Rc;
use core::cell::RefCell;
use core::fmt;
use core::future::Future;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;

/// Runs a program's main future, and what it spawns, and returns its result. Tasks that go on by then are dropped, and what is
/// to be sent is sent.
///
/// # Panics
///
/// If this has been called before: which services a program has discovered cannot be undone.
pub fn run<F: Future>(main: impl FnOnce(Gate) -> F) -> F::Output {
    static CALLED: AtomicBool = AtomicBool::new(false);
    assert!(!CALLED.swap(true, Ordering::Relaxed), "the program's main future can be run only once");
    run_once(main)
}

pub(crate) fn run_once<F: Future>(main: impl FnOnce(Gate) -> F) -> F::Output {
    let state = Rc::new(RefCell::new(State::new()));
    let output = executor::block_on(&state, main(Gate { state: Rc::clone(&state) }));
    // They may have streams, of which the other side is to learn the end.
    let spawned = core::mem::take(&mut state.borrow_mut().spawned);
    drop(spawned);
    state.borrow_mut().finish();
    output
}

/// The way to everything else. Clones are the same.
#[derive(Clone)]
pub struct Gate {
    pub(crate) state: Rc<RefCell<State>>,
}

impl Gate {
    /// Lets a future run along with the main one. Its result can be waited for, or be ignored:
    ///
    /// ```
    /// # async fn example(gate: gate_guest::Gate) {
    /// let task = gate.spawn(async { 6 * 7 });
    /// assert_eq!(task.join().await, 42);
    /// drop(gate.spawn(async { /* something that nobody waits for */ }));
    /// # }
    /// ```
    pub fn spawn<F: Future + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        let (spawned, handle) = executor::joinable(future);
        self.state.borrow_mut().spawned.push(spawned);
        handle
    }

    /// Discovers a service. It is the same one each time.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if there is none at the moment, [`Error::Name`], [`Error::TooManyServices`].
    pub async fn service(&self, name: &str) -> Result<Service, Error> {
        let index = poll_fn(|cx| self.state.borrow_mut().poll_service(cx, name)).await?;
        Ok(Service::new(self.clone(), index))
    }

    /// Waits for some time. The time for which the program is suspended does not count.
    pub async fn sleep(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let deadline = sys::monotonic_time().saturating_add(nanoseconds);
        let mut timer = Timer { gate: self, id: None };
        poll_fn(|cx| timer.poll(cx, deadline)).await;
    }

    /// Lets other tasks go on first.
    pub async fn yield_now(&self) {
        let mut again = true;
        poll_fn(|cx| {
            if core::mem::replace(&mut again, false) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// How long the program has run since an unspecified time. It does not count the time for which it was suspended.
    pub fn monotonic_time(&self) -> Duration {
        Duration::from_nanos(sys::monotonic_time())
    }

    /// How often the program was resumed. One that has not exchanged packets since does not know.
    pub fn resumptions(&self) -> u64 {
        self.state.borrow().resumptions()
    }

    /// Waits until the program has been resumed more often than [`resumptions`](Self::resumptions) says now. Services may be others
    /// then; connections from outside are likely to have ended. A program that has discovered no service notices only when it has
    /// something else to wake for, a timer for example.
    pub async fn resumed(&self) {
        let known = self.resumptions();
        let place = Place { gate: self, id: self.state.borrow_mut().resumed.add() };
        poll_fn(|cx| {
            if self.resumptions() > known {
                return Poll::Ready(());
            }
            self.state.borrow_mut().resumed.set(place.id, cx);
            Poll::Pending
        })
        .await;
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("resumptions", &self.resumptions()).finish_non_exhaustive()
    }
}

/// Removes itself if nobody waits any more.
struct Timer<'a> {
    gate: &'a Gate,
    id: Option<TimerId>,
}

impl Timer<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, deadline: u64) -> Poll<()> {
        if sys::monotonic_time() >= deadline {
            return Poll::Ready(());
        }
        let timers = &mut self.gate.state.borrow_mut().timers;
        match self.id {
            Some(id) => timers.replace(id, cx.waker().clone()),
            None => self.id = Some(timers.add(deadline, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.gate.state.borrow_mut().timers.remove(id);
        }
    }
}

/// Among those who wait for a resumption.
struct Place<'a> {
    gate: &'a Gate,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.gate.state.borrow_mut().resumed.remove(self.id);
    }
}
