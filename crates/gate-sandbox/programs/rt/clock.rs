//! Clocks.

use crate::context::ContextAddr;
use sys::arch::syscall;
use sys::number::nr;

/// Error numbers of WASI.
const SUCCESS: u64 = 0;
const EFAULT: u64 = 21;
const EINVAL: u64 = 28;
const ENOTSUP: u64 = 58;

/// WASI's clocks have the kernel's numbers: real time, monotonic, process's and thread's processor time.
const MONOTONIC: u32 = 1;
const LAST: u32 = 3;

/// `clock_time_get`
pub(crate) fn time_get(context: ContextAddr, clock: u32, result: u32) -> u64 {
    if clock > LAST {
        return EINVAL;
    }
    let Some(time) = time(clock) else { return ENOTSUP };
    // SAFETY: the context is there.
    let (origin, resolution) =
        unsafe { ((*context.ptr()).monotonic_origin, (*context.ptr()).time_resolution) };
    let time = if clock == MONOTONIC { time.wrapping_add(origin) } else { time };
    // What the program stored there itself may be zero.
    store(context, result, time - time.checked_rem(resolution).unwrap_or(0))
}

/// `clock_res_get`
pub(crate) fn res_get(context: ContextAddr, clock: u32, result: u32) -> u64 {
    if clock > LAST {
        return EINVAL;
    }
    // SAFETY: the context is there.
    let resolution = unsafe { (*context.ptr()).time_resolution };
    store(context, result, resolution)
}

fn store(context: ContextAddr, offset: u32, value: u64) -> u64 {
    match context.guest_ptr::<u64>(offset) {
        Some(ptr) => {
            // SAFETY: within the program's memory.
            unsafe { ptr.write_unaligned(value) };
            SUCCESS
        }
        None => EFAULT,
    }
}

/// The kernel's monotonic clock, in nanoseconds.
pub(crate) fn monotonic() -> u64 {
    time(MONOTONIC).unwrap_or(0)
}

/// The kernel's time in nanoseconds.
fn time(clock: u32) -> Option<u64> {
    let mut time = [0u64; 2];
    // SAFETY: the kernel writes seconds and nanoseconds.
    unsafe { syscall(nr::CLOCK_GETTIME, [clock as usize, (&raw mut time).expose_provenance()]) }.ok()?;
    let [seconds, nanoseconds] = time;
    Some(seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds))
}
