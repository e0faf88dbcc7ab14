//! Numbers of those functions of `wasi_unstable`, the form of WASI before preview 1, whose records or numbers differ.
//!
//! Source: the witx definition of WASI's snapshot 0. All other functions are those of [`wasi`](crate::wasi).

use crate::wasi::WasiFunction;

/// Module name of the functions.
pub const MODULE: &str = "wasi_unstable";

/// Number of a function, as in [`CallRequest::func`](crate::call::CallRequest::func).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum UnstableFunction {
    /// `fd_filestat_get`
    FdFilestatGet = 96,
    /// `fd_seek`
    FdSeek = 97,
    /// `path_filestat_get`
    PathFilestatGet = 98,
    /// `poll_oneoff`
    PollOneoff = 99,
}

impl UnstableFunction {
    /// All functions, by ascending number.
    pub const ALL: &'static [Self] =
        &[Self::FdFilestatGet, Self::FdSeek, Self::PathFilestatGet, Self::PollOneoff];

    /// The function with the given number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|&function| function as u32 == number)
    }

    /// The function of preview 1 that has the same name, parameters and meaning.
    pub const fn successor(self) -> WasiFunction {
        match self {
            Self::FdFilestatGet => WasiFunction::FdFilestatGet,
            Self::FdSeek => WasiFunction::FdSeek,
            Self::PathFilestatGet => WasiFunction::PathFilestatGet,
            Self::PollOneoff => WasiFunction::PollOneoff,
        }
    }

    /// Number of the function which programs call by the name of this one of preview 1 when they import it from `wasi_unstable`.
    pub fn number_of(function: WasiFunction) -> u32 {
        let differs = Self::ALL.iter().find(|unstable| unstable.successor() == function);
        differs.map_or(function as u32, |&unstable| unstable as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::GateFunction;

    #[test]
    fn numbers_map_back_and_do_not_overlap() {
        for &function in UnstableFunction::ALL {
            let number = function as u32;
            assert_eq!(UnstableFunction::from_number(number), Some(function));
            assert_eq!(UnstableFunction::number_of(function.successor()), number);
            assert_eq!(WasiFunction::from_number(number), None);
            assert_eq!(GateFunction::from_number(number), None);
        }
        assert_eq!(UnstableFunction::number_of(WasiFunction::FdClose), WasiFunction::FdClose as u32);
    }
}
