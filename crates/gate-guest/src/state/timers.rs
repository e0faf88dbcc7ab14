//! Who waits for a time.

use alloc::collections::BTreeMap;
use core::task::Waker;
use core::time::Duration;

/// Identifies a timer: its time on the monotonic clock, in nanoseconds, and a number.
pub(crate) type TimerId = (u64, u64);

#[derive(Debug, Default)]
pub(crate) struct Timers {
    wakers: BTreeMap<TimerId, Waker>,
    next: u64,
}

impl Timers {
    pub(crate) fn add(&mut self, time: u64, waker: Waker) -> TimerId {
        let id = (time, self.next);
        self.next += 1;
        self.wakers.insert(id, waker);
        id
    }

    /// Wakes another one from now on.
    pub(crate) fn replace(&mut self, id: TimerId, waker: Waker) {
        self.wakers.insert(id, waker);
    }

    pub(crate) fn remove(&mut self, id: TimerId) {
        self.wakers.remove(&id);
    }

    /// How long there is to wait, if anybody waits.
    pub(crate) fn left(&self, now: impl FnOnce() -> u64) -> Option<Duration> {
        let (time, _) = *self.wakers.keys().next()?;
        Some(Duration::from_nanos(time.saturating_sub(now())))
    }

    /// Wakes all whose time has come.
    pub(crate) fn wake(&mut self, now: impl FnOnce() -> u64) {
        if self.wakers.is_empty() {
            return;
        }
        let later = self.wakers.split_off(&(now().saturating_add(1), 0));
        core::mem::replace(&mut self.wakers, later).into_iter().for_each(|(_, waker)| waker.wake());
    }
}
