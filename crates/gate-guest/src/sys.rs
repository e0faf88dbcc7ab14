//! The functions that Gate offers to programs.

use core::time::Duration;

/// What a transfer has come to. Nothing need have been transferred.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Transfer {
    pub(crate) received: usize,
    pub(crate) sent: usize,
    /// The program was started or resumed, and this is the first transfer since.
    pub(crate) started: bool,
}

/// Receives and sends bytes of packets. Waits until at least one has been transferred, or until the time is over, if there is a limit.
pub(crate) fn io(receive: &mut [u8], send: [&[u8]; 2], timeout: Option<Duration>) -> Transfer {
    let timeout = timeout.map_or(-1, |timeout| i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX));
    host::io(receive, send, timeout)
}

/// A clock that goes on while the program runs, in nanoseconds.
pub(crate) fn monotonic_time() -> u64 {
    host::monotonic_time()
}

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod host {
    use super::Transfer;

    /// Bytes in the program's memory.
    #[repr(C)]
    struct Buffer {
        pointer: *const u8,
        size: usize,
    }

    impl Buffer {
        fn new(bytes: &[u8]) -> Self {
            Self { pointer: bytes.as_ptr(), size: bytes.len() }
        }
    }

    #[link(wasm_import_module = "gate")]
    extern "C" {
        fn io_65536(
            receive: *const Buffer,
            receive_count: usize,
            received: *mut u32,
            send: *const Buffer,
            send_count: usize,
            sent: *mut u32,
            timeout: i64,
            flags: *mut u64,
        );
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    extern "C" {
        fn clock_time_get(id: u32, precision: u64, time: *mut u64) -> u16;
    }

    pub(super) fn io(receive: &mut [u8], send: [&[u8]; 2], timeout: i64) -> Transfer {
        let receive = [Buffer { pointer: receive.as_mut_ptr(), size: receive.len() }];
        let send = [Buffer::new(send[0]), Buffer::new(send[1])];
        let (mut received, mut sent, mut flags) = (0, 0, 0);
        // SAFETY: The host writes within `receive`, which is borrowed mutably, and to the three results, and reads within `send`.
        // Each count is that of its array.
        unsafe {
            io_65536(
                receive.as_ptr(),
                receive.len(),
                &mut received,
                send.as_ptr(),
                send.len(),
                &mut sent,
                timeout,
                &mut flags,
            );
        }
        Transfer { received: received as usize, sent: sent as usize, started: flags & 1 != 0 }
    }

    pub(super) fn monotonic_time() -> u64 {
        const MONOTONIC: u32 = 1;
        let mut time = 0;
        // SAFETY: The host writes to `time` only.
        let error = unsafe { clock_time_get(MONOTONIC, 1, &mut time) };
        assert_eq!(error, 0, "there is no monotonic clock");
        time
    }
}

#[cfg(all(not(target_arch = "wasm32"), not(test)))]
mod host {
    use super::Transfer;

    pub(super) fn io(_: &mut [u8], _: [&[u8]; 2], _: i64) -> Transfer {
        panic!("only WebAssembly programs can exchange packets with Gate")
    }

    pub(super) fn monotonic_time() -> u64 {
        panic!("only WebAssembly programs have Gate's clock")
    }
}

#[cfg(all(not(target_arch = "wasm32"), test))]
use crate::tests::host;
