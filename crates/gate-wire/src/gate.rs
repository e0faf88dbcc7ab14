//! Numbers and types of the functions by which programs exchange packets, and of those meant for tests.
//!
//! Source: the ABI which existing guest programs are built against, see `docs/guest-abi.md`.

use crate::wasi::ValueType::{self, I32, I64};

/// Module name of `fd_N` and `io_N`.
pub const MODULE: &str = "gate";

/// Module name of the functions under the names that C compilers give them, and of those for tests.
pub const C_MODULE: &str = "env";

/// Number of the descriptor through which packets go, unless a program has so many directories that these come first.
pub const PACKET_FD: u32 = 4;

/// Environment variables that each program has which exchanges packets, besides [`ENVIRON_FD`].
pub const ENVIRON: [(&str, &str); 2] = [("GATE_ABI_VERSION", "0"), ("GATE_MAX_SEND_SIZE", "65536")];

/// Environment variable which has the number of the descriptor.
pub const ENVIRON_FD: &str = "GATE_FD";

/// In the flags that `io_N` stores: the program was started or resumed since the last call.
pub const IO_STARTED_OR_RESUMED: u64 = 1;

/// Number of a function, as in [`CallRequest::func`](crate::call::CallRequest::func).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum GateFunction {
    /// `fd_N`: number of the packet descriptor.
    Fd = 64,
    /// `io_N`: receives and sends.
    Io = 65,
    /// `io_N` in its older form, without flags.
    IoWithoutFlags = 66,
    /// `rt_read8`: receives eight bytes.
    Read8 = 67,
    /// `rt_write8`: sends eight bytes.
    Write8 = 68,
    /// `rt_trap`: stops with a trap.
    Trap = 69,
    /// `rt_debug`: writes to the debug log.
    Debug = 70,
}

impl GateFunction {
    /// All functions, by ascending number.
    pub const ALL: &'static [Self] =
        &[Self::Fd, Self::Io, Self::IoWithoutFlags, Self::Read8, Self::Write8, Self::Trap, Self::Debug];

    /// The function with the given number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|&function| function as u32 == number)
    }

    /// Types of the function's parameters.
    pub const fn params(self) -> &'static [ValueType] {
        match self {
            Self::Fd | Self::Read8 => &[],
            Self::Io => &[I32, I32, I32, I32, I32, I32, I64, I32],
            Self::IoWithoutFlags => &[I32, I32, I32, I32, I32, I32, I64],
            Self::Write8 => &[I64],
            Self::Trap => &[I32],
            Self::Debug => &[I32, I32],
        }
    }

    /// Types of the function's results.
    pub const fn results(self) -> &'static [ValueType] {
        match self {
            Self::Fd => &[I32],
            Self::Read8 => &[I64],
            _ => &[],
        }
    }
}

/// The `N` of a name like `io_N`: the largest packet that the program can receive, in bytes.
///
/// `None` unless it is a number in decimal digits without leading zeros, and at least
/// [`MAX_PACKET_SIZE`](crate::packet::MAX_PACKET_SIZE). A greater one than fits means the greatest that does.
pub fn receive_size(digits: &str) -> Option<u32> {
    if digits.is_empty() || digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Only too many digits are an error here.
    let size = digits.parse().unwrap_or(u32::MAX);
    (size as usize >= crate::packet::MAX_PACKET_SIZE).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_map_back_and_do_not_overlap() {
        for &function in GateFunction::ALL {
            assert_eq!(GateFunction::from_number(function as u32), Some(function));
            assert_eq!(crate::wasi::WasiFunction::from_number(function as u32), None);
            assert!(function.params().len() <= crate::context::MAX_CALL_ARGS);
        }
    }

    #[test]
    fn receive_sizes_are_checked() {
        assert_eq!(receive_size("65536"), Some(65536));
        assert_eq!(receive_size("4294967295"), Some(u32::MAX));
        assert_eq!(receive_size("99999999999999999999999"), Some(u32::MAX));
        for bad in ["", "0", "65535", "065536", "+65536", "65536 ", "0x10000", "x"] {
            assert_eq!(receive_size(bad), None, "{bad:?}");
        }
    }
}
