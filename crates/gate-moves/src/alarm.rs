//! Suspensions after some microseconds: more exact than timers are.

use gate_runtime::Killer;
use std::hint;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How late a timer may be: so long before the moment it is waited for without sleeping.
const LATENESS: Duration = Duration::from_micros(200);

/// A thread that suspends programs.
pub(crate) struct Alarm {
    orders: Sender<(Killer, Instant)>,
}

impl Alarm {
    pub(crate) fn new() -> std::io::Result<Self> {
        let (orders, received) = mpsc::channel::<(Killer, Instant)>();
        thread::Builder::new().name("alarm".into()).spawn(move || {
            let mut next = received.recv().ok();
            while let Some((killer, when)) = next {
                // The latest order is the only one that matters.
                let sleep = when.saturating_duration_since(Instant::now()).saturating_sub(LATENESS);
                match received.recv_timeout(sleep) {
                    Ok(order) => {
                        next = Some(order);
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {}
                }
                while Instant::now() < when {
                    hint::spin_loop();
                }
                killer.suspend();
                next = received.recv().ok();
            }
        })?;
        Ok(Self { orders })
    }

    /// Suspends the program after that time, if it is still running and nothing else is ordered before.
    pub(crate) fn set(&self, killer: Killer, delay: Duration) {
        // The thread ends only after this.
        let _ = self.orders.send((killer, Instant::now() + delay));
    }
}
