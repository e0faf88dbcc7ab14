//! Who waits for something that may never happen, and may have given up.

use alloc::collections::BTreeMap;
use core::task::{Context, Waker};

#[derive(Debug, Default)]
pub(crate) struct Waiters {
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

impl Waiters {
    /// A place, which is to be removed by who has got it.
    pub(crate) fn add(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn set(&mut self, id: u64, cx: &Context<'_>) {
        self.wakers.insert(id, cx.waker().clone());
    }

    pub(crate) fn remove(&mut self, id: u64) {
        self.wakers.remove(&id);
    }

    pub(crate) fn wake(&mut self) {
        core::mem::take(&mut self.wakers).into_iter().for_each(|(_, waker)| waker.wake());
    }
}
