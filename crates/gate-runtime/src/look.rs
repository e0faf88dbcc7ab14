//! Waiting awake for what is likely to come at once.

use rustix::io::Errno;
use std::hint::spin_loop;
use std::num::NonZero;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// For how long at most. A sleeping processor takes about as long to wake up.
const LOOK_TIME: Duration = Duration::from_micros(30);

/// How many instructions of waiting pass between two looks.
const PAUSES: u32 = 8;

/// After so many waits asleep at most, one is awake again.
const MAX_BLIND: u32 = 63;

/// How many threads may wait awake at the same time: half of the processors. Those who are waited for need some, too.
static FREE: LazyLock<AtomicUsize> =
    LazyLock::new(|| AtomicUsize::new(available_parallelism().map_or(1, NonZero::get) / 2));

/// Decides whether the next wait is to be awake. Where that was in vain, fewer and fewer are.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// How many waits are to be asleep first.
    blind: u32,
    /// How often in a row it was in vain.
    vain: u32,
}

impl Look {
    /// Tries for some microseconds, or not at all. `None` if nothing has come.
    pub(crate) fn look<T>(&mut self, attempt: impl FnMut() -> Result<T, Errno>) -> Option<Result<T, Errno>> {
        if self.blind > 0 {
            self.blind -= 1;
            return None;
        }
        let permit = Permit::new()?;
        let result = try_for(LOOK_TIME, attempt);
        drop(permit);
        self.vain = if result.is_some() { 0 } else { self.vain.saturating_add(1) };
        self.blind = MAX_BLIND.min((1 << self.vain.min(16)) - 1);
        result
    }
}

fn try_for<T>(time: Duration, mut attempt: impl FnMut() -> Result<T, Errno>) -> Option<Result<T, Errno>> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(Errno::AGAIN) => {}
            result => return Some(result),
        }
        if start.elapsed() > time {
            return None;
        }
        for _ in 0..PAUSES {
            spin_loop();
        }
    }
}

/// Allows one thread to wait awake.
struct Permit;

impl Permit {
    fn new() -> Option<Self> {
        let take = |free: usize| free.checked_sub(1);
        FREE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok().map(|_| Self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        FREE.fetch_add(1, Ordering::Relaxed);
    }
}
