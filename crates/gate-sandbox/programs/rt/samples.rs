//! Samples of where the program is.
//!
//! The signal's handler follows the chain of frame pointers, as far as it stays within the stack. It writes nothing but
//! where the loader has said that samples go; what the program does to these places concerns its own profile.

use crate::arch::Interrupted;
use crate::context::pointer;
use crate::{clock, data, setup};
use core::sync::atomic::{AtomicU64, Ordering};
use gate_wire::load::LoadFailure;
use gate_wire::samples::{MAX_ADDRESSES, WORDS, WORDS_OFFSET};
use sys::number::nr;
use sys::process::exit;

/// Whether samples are to be taken.
pub(crate) fn are_taken() -> bool {
    interval() != 0
}

fn interval() -> u64 {
    // SAFETY: the loader has written it.
    unsafe { (*data::handover()).sample_interval }
}

/// What interrupts the program, if samples are to be taken: after each so much processor time of the process.
pub(crate) fn start() {
    /// Counts the processor time of the process, and sends `SIGPROF`.
    const ITIMER_PROF: usize = 2;
    if !are_taken() {
        return;
    }
    // Interval and first time, each in seconds and microseconds.
    let microseconds = (interval() / 1000).clamp(1, 999_999);
    let timer = [0, microseconds, 0, microseconds];
    // SAFETY: the kernel reads the timer.
    if unsafe { setup::syscall(nr::SETITIMER, [ITIMER_PROF, (&raw const timer).expose_provenance(), 0, 0]) }
        .is_err()
    {
        exit(LoadFailure::SetTimer as i32);
    }
}

/// Writes down where the program was interrupted.
pub(crate) fn take(state: &Interrupted) {
    // SAFETY: the loader has written these.
    let (samples_addr, [stack_start, stack_end], [text_start, text_end]) = unsafe {
        let handover = data::handover();
        ((*handover).samples_addr, (*handover).stack, (*handover).text)
    };
    let context = data::context().ptr();
    let (pc, mut fp) = match state.pc() {
        pc if (text_start..text_end).contains(&pc) => (pc, state.fp()),
        // In rt: the program is where it called rt.
        // SAFETY: the context is there.
        _ => unsafe { ((*context).rt_pc, (*context).rt_fp) },
    };
    let mut ring = Ring::new(samples_addr);
    let start = ring.next;
    ring.push(0);
    ring.push(clock::monotonic());
    ring.push(pc);
    let mut count = 1;
    // The caller's frame pointer, and the return address above it.
    while count < MAX_ADDRESSES
        && fp >= stack_start
        && fp.is_multiple_of(8)
        && fp.checked_add(16).is_some_and(|end| end <= stack_end)
    {
        // SAFETY: within the stack, which is mapped.
        let [next, ret] = unsafe { pointer::<[u64; 2]>(fp).read_volatile() };
        if !(text_start..text_end).contains(&ret) {
            break;
        }
        ring.push(ret);
        count += 1;
        if next <= fp {
            break;
        }
        fp = next;
    }
    ring.word(start).store(count, Ordering::Relaxed);
    ring.written().store(ring.next, Ordering::Release);
}

/// The words.
struct Ring {
    addr: u64,
    /// Number of words written so far.
    next: u64,
}

impl Ring {
    fn new(addr: u64) -> Self {
        let mut ring = Self { addr, next: 0 };
        ring.next = ring.written().load(Ordering::Relaxed);
        ring
    }

    fn push(&mut self, word: u64) {
        self.word(self.next).store(word, Ordering::Relaxed);
        self.next = self.next.wrapping_add(1);
    }

    fn written(&self) -> &'static AtomicU64 {
        // SAFETY: the loader has mapped it, and only atomics access it.
        unsafe { AtomicU64::from_ptr(pointer(self.addr)) }
    }

    fn word(&self, number: u64) -> &'static AtomicU64 {
        // SAFETY: as above, and the number is within the space.
        unsafe { AtomicU64::from_ptr(pointer(self.addr + WORDS_OFFSET + 8 * (number % WORDS))) }
    }
}
