//! Where `wasi_unstable`, the form of WASI before preview 1, has other records and numbers.

use crate::abi::{self, Subscription};
use crate::node::Stat;
use gate_wire::wasi::WasiFunction;
use gate_wire::wasi_unstable::UnstableFunction;

/// Size of a subscription in the older form, in which the clock has a number of the program's own before everything else.
const UNSTABLE_SUBSCRIPTION: usize = 56;

/// Which form of WASI a call is meant in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Preview1,
    Unstable,
}

/// The function with a number, and the form in which it is meant.
pub(crate) fn function(number: u32) -> Option<(WasiFunction, Layout)> {
    match UnstableFunction::from_number(number) {
        Some(function) => Some((function.successor(), Layout::Unstable)),
        None => Some((WasiFunction::from_number(number)?, Layout::Preview1)),
    }
}

impl Layout {
    /// What `fd_seek` counts from, as preview 1 has it.
    pub(crate) fn whence(self, whence: u32) -> u32 {
        match (self, whence) {
            (Self::Preview1, _) => whence,
            (Self::Unstable, 0) => 1,
            (Self::Unstable, 1) => 2,
            (Self::Unstable, 2) => 0,
            (Self::Unstable, _) => u32::MAX,
        }
    }

    /// Encodes a `filestat`. In the older form, the number of links has 32 bits.
    pub(crate) fn filestat(self, stat: &Stat) -> Vec<u8> {
        let mut record = abi::filestat(stat).to_vec();
        if self == Self::Unstable {
            let links = u32::try_from(stat.links).unwrap_or(u32::MAX);
            record.drain(20..28);
            record[20..24].copy_from_slice(&links.to_le_bytes());
        }
        record
    }

    pub(crate) fn subscription_size(self) -> usize {
        match self {
            Self::Preview1 => Subscription::SIZE,
            Self::Unstable => UNSTABLE_SUBSCRIPTION,
        }
    }

    /// Decodes subscriptions, of which there are whole ones only.
    pub(crate) fn subscriptions(self, records: &[u8]) -> Vec<Subscription> {
        match self {
            Self::Preview1 => records.as_chunks().0.iter().map(Subscription::decode).collect(),
            Self::Unstable => {
                records.as_chunks().0.iter().map(|record| Subscription::decode(&successor(record))).collect()
            }
        }
    }
}

/// A subscription as preview 1 has it.
fn successor(record: &[u8; UNSTABLE_SUBSCRIPTION]) -> [u8; Subscription::SIZE] {
    const CLOCK: u8 = 0;
    let mut new = [0; Subscription::SIZE];
    new[..16].copy_from_slice(&record[..16]);
    let from = if record[8] == CLOCK { 24 } else { 16 };
    new[16..].copy_from_slice(&record[from..from + 32]);
    new
}
