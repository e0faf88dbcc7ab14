//! Arguments, environment, randomness and signals.

use crate::errno::Errno;
use crate::memory::{CHUNK_SIZE, Guest};
use crate::{Failure, HostError, WasiCtx};

/// Strings as programs get them: an array of pointers, and the strings one after the other, each ending with NUL.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strings {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
}

impl Strings {
    /// Returns `None` if they do not fit in 32 bits of address space.
    pub(crate) fn new(strings: &[Vec<u8>]) -> Option<Self> {
        let mut this = Self::default();
        for string in strings {
            this.offsets.push(u32::try_from(this.bytes.len()).ok()?);
            this.bytes.extend_from_slice(string);
            this.bytes.push(0);
        }
        u32::try_from(this.bytes.len()).ok()?;
        u32::try_from(this.offsets.len().checked_mul(4)?).ok()?;
        Some(this)
    }

    /// All strings one after the other, each ending with NUL.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The strings, without their NULs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split_inclusive(|&b| b == 0).map(|string| &string[..string.len() - 1])
    }

    /// `args_sizes_get`, `environ_sizes_get`.
    pub(crate) fn sizes(&self, guest: Guest<'_>, count: u32, size: u32) -> Result<(), Failure> {
        guest.write_u32(count, self.offsets.len() as u32)?;
        guest.write_u32(size, self.bytes.len() as u32)
    }

    /// `args_get`, `environ_get`.
    pub(crate) fn store(&self, guest: Guest<'_>, pointers: u32, bytes: u32) -> Result<(), Failure> {
        guest.check(bytes, self.bytes.len() as u64)?;
        let array: Vec<u8> = self.offsets.iter().flat_map(|offset| (bytes + offset).to_le_bytes()).collect();
        guest.write(pointers, &array)?;
        guest.write(bytes, &self.bytes)
    }
}

impl WasiCtx {
    /// `random_get`: as many bytes as the program has room for.
    pub(crate) async fn random_get(&mut self, guest: Guest<'_>, addr: u32, len: u32) -> Result<(), Failure> {
        guest.check(addr, len.into())?;
        self.scratch.resize(CHUNK_SIZE, 0);
        let mut done = 0;
        while done < len {
            let chunk = &mut self.scratch[..CHUNK_SIZE.min((len - done) as usize)];
            (self.random)(chunk).map_err(HostError::Random)?;
            guest.write(addr + done, chunk)?;
            done += chunk.len() as u32;
            // Gigabytes of it should not keep others waiting.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// `proc_raise`: `Ok` if the program lives on.
    pub(crate) fn proc_raise(&mut self, number: u32) -> Result<(), Failure> {
        let signal = Signal::from_number(number).ok_or(Errno::Inval)?;
        match signal.default_action() {
            Action::Ignore => Ok(()),
            Action::Stop => Err(Errno::NotSup.into()),
            Action::Terminate => {
                self.raised = Some(signal);
                Err(Failure::Raised)
            }
        }
    }
}

/// A signal of WASI preview 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(u8);

/// What becomes of a program that does not handle a signal; no program can.
enum Action {
    Ignore,
    Stop,
    Terminate,
}

/// Numbers on Linux by number in WASI. Zero is no signal.
const SIGNALS: [u8; 31] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29,
    30, 31,
];

impl Signal {
    fn from_number(number: u32) -> Option<Self> {
        SIGNALS.get(number as usize).copied().map(Self)
    }

    /// Number of the signal on Linux.
    pub fn host_number(self) -> u8 {
        self.0
    }

    fn default_action(self) -> Action {
        match self.0 {
            0 | 17 | 18 | 23 | 28 => Action::Ignore,
            19..=22 => Action::Stop,
            _ => Action::Terminate,
        }
    }
}
