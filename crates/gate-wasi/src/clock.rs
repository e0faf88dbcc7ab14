//! Clocks and timers.

use crate::abi::ClockId;
use crate::epoll;
use crate::errno::Errno;
use crate::memory::Guest;
use crate::{Failure, WasiCtx};
use rustix::io::Errno as HostErrno;
use rustix::time::{
    ClockId as HostClock, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
    clock_gettime, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// The program's clocks.
#[derive(Debug)]
pub(crate) struct Clocks {
    resolution: u64,
    monotonic_origin: u64,
}

/// A point in time of one of the host's clocks, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    pub(crate) clock: HostTimer,
    pub(crate) time: u64,
}

/// Clocks of the host that can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostTimer {
    Realtime,
    Monotonic,
}

impl Clocks {
    /// The monotonic clock starts at zero now.
    pub(crate) fn new(resolution: Duration) -> Self {
        let resolution = u64::try_from(resolution.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { resolution, monotonic_origin: now(HostTimer::Monotonic).wrapping_neg() }
    }

    /// What the program learns about times is a multiple of this, in nanoseconds.
    pub(crate) fn resolution(&self) -> u64 {
        self.resolution
    }

    /// Sets what the program's monotonic clock shows now.
    pub(crate) fn set_monotonic_time(&mut self, time: u64) {
        self.monotonic_origin = time.wrapping_sub(now(HostTimer::Monotonic));
    }

    /// Time in nanoseconds, as precise as the program may know it.
    ///
    /// `ENOTSUP` for processor time, which the host cannot tell: a program's process reads it itself.
    fn time(&self, clock: ClockId) -> Result<u64, Errno> {
        let time = self.exact_time(clock)?;
        Ok(time - time % self.resolution)
    }

    /// What the program's monotonic clock shows, in nanoseconds.
    pub(crate) fn monotonic_time(&self) -> u64 {
        now(HostTimer::Monotonic).wrapping_add(self.monotonic_origin)
    }

    /// When a wait ends which has begun when the program's monotonic clock showed `began`.
    ///
    /// Not before the program's clock, coarse as it may be, shows the time that was asked for: else a program that
    /// looks at its clock after waiting would have to wait again.
    pub(crate) fn deadline(
        &self,
        clock: ClockId,
        timeout: u64,
        absolute: bool,
        began: u64,
    ) -> Result<Deadline, Errno> {
        let now_there = self.exact_time(clock)?;
        let waited = self.monotonic_time().saturating_sub(began);
        let end = if absolute { timeout } else { now_there.saturating_sub(waited).saturating_add(timeout) };
        let end = end.checked_next_multiple_of(self.resolution).unwrap_or(u64::MAX);
        // Only a wait for a time of day is moved when somebody sets the clock.
        if absolute && clock == ClockId::Realtime {
            return Ok(Deadline { clock: HostTimer::Realtime, time: end });
        }
        let rest = end.saturating_sub(now_there);
        Ok(Deadline { clock: HostTimer::Monotonic, time: now(HostTimer::Monotonic).saturating_add(rest) })
    }

    fn exact_time(&self, clock: ClockId) -> Result<u64, Errno> {
        match clock {
            ClockId::Realtime => Ok(now(HostTimer::Realtime)),
            ClockId::Monotonic => Ok(self.monotonic_time()),
            ClockId::ProcessCpuTime | ClockId::ThreadCpuTime => Err(Errno::NotSup),
        }
    }
}

impl Deadline {
    pub(crate) fn is_over(self) -> bool {
        now(self.clock) >= self.time
    }
}

/// Timers of the operating system, made when they are first needed. The runtime's own are too coarse: a program
/// that sleeps for 50 microseconds should not sleep for two milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    realtime: Option<AsyncFd<OwnedFd>>,
    monotonic: Option<AsyncFd<OwnedFd>>,
}

impl Timers {
    /// Sets the timer of the deadline's clock, in place of what it was set to. To be called within a tokio runtime.
    pub(crate) fn set(&mut self, deadline: Deadline) -> io::Result<()> {
        let slot = self.slot(deadline.clock);
        let timer = match slot {
            Some(timer) => timer,
            None => {
                let clock = match deadline.clock {
                    HostTimer::Realtime => TimerfdClockId::Realtime,
                    HostTimer::Monotonic => TimerfdClockId::Monotonic,
                };
                let fd = timerfd_create(clock, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
                slot.insert(epoll::register(fd, Interest::READABLE).map_err(|(_, err)| err)?)
            }
        };
        let time = deadline.time.max(1); // Zero would mean never.
        let setting = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: (time / NANOS_PER_SEC) as i64,
                tv_nsec: (time % NANOS_PER_SEC) as i64,
            },
        };
        timerfd_settime(&*timer, TimerfdTimerFlags::ABSTIME, &setting)?;
        Ok(())
    }

    /// Waits until the timer of a clock, which must have been set, has gone off.
    pub(crate) fn poll_expired(&mut self, clock: HostTimer, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(timer) = self.slot(clock) else { return Poll::Pending };
        loop {
            let mut guard = ready!(timer.poll_read_ready(cx))?;
            match rustix::io::read(&*timer, &mut [0; 8]) {
                Err(HostErrno::AGAIN) => guard.clear_ready(),
                Err(HostErrno::INTR) => {}
                Err(err) => return Poll::Ready(Err(err.into())),
                Ok(_) => return Poll::Ready(Ok(())),
            }
        }
    }

    fn slot(&mut self, clock: HostTimer) -> &mut Option<AsyncFd<OwnedFd>> {
        match clock {
            HostTimer::Realtime => &mut self.realtime,
            HostTimer::Monotonic => &mut self.monotonic,
        }
    }
}

impl WasiCtx {
    pub(crate) fn clock_res_get(&self, guest: Guest<'_>, clock: u32, result: u32) -> Result<(), Failure> {
        match ClockId::from_number(clock)? {
            ClockId::Realtime | ClockId::Monotonic => guest.write_u64(result, self.clocks.resolution),
            ClockId::ProcessCpuTime | ClockId::ThreadCpuTime => Err(Errno::NotSup.into()),
        }
    }

    pub(crate) fn clock_time_get(&self, guest: Guest<'_>, clock: u32, result: u32) -> Result<(), Failure> {
        guest.write_u64(result, self.clocks.time(ClockId::from_number(clock)?)?)
    }
}

fn now(clock: HostTimer) -> u64 {
    let time = clock_gettime(match clock {
        HostTimer::Realtime => HostClock::Realtime,
        HostTimer::Monotonic => HostClock::Monotonic,
    });
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    secs.saturating_mul(NANOS_PER_SEC).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_end_when_the_coarse_clock_shows_it() {
        let clocks = Clocks::new(Duration::from_secs(3600));
        let deadline = clocks.deadline(ClockId::Realtime, 1, false, clocks.monotonic_time()).unwrap();
        let rest = deadline.time - now(HostTimer::Monotonic);
        assert!(rest <= 3600 * NANOS_PER_SEC);
        let day = clocks.deadline(ClockId::Realtime, 1, true, 0).unwrap();
        assert_eq!(day, Deadline { clock: HostTimer::Realtime, time: 3600 * NANOS_PER_SEC });
        assert!(day.is_over());
        assert_eq!(clocks.time(ClockId::Realtime).unwrap() % (3600 * NANOS_PER_SEC), 0);
    }

    #[test]
    fn absurd_waits_do_not_overflow() {
        let mut clocks = Clocks::new(Duration::MAX);
        clocks.set_monotonic_time(u64::MAX - 5);
        for timeout in [0, 1, u64::MAX - 1, u64::MAX] {
            for absolute in [false, true] {
                for began in [0, u64::MAX] {
                    for clock in [ClockId::Realtime, ClockId::Monotonic] {
                        clocks.deadline(clock, timeout, absolute, began).unwrap();
                    }
                }
                let error = clocks.deadline(ClockId::ProcessCpuTime, timeout, absolute, 0);
                assert_eq!(error, Err(Errno::NotSup));
            }
        }
    }
}
