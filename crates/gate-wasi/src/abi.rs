//! Numbers and record layouts of WASI preview 1.
//!
//! Source: the witx definition of `wasi_snapshot_preview1`. All records are little-endian and padded as C does.

use crate::errno::Errno;
use crate::memory::{u32_at, u64_at};

/// Type of what a descriptor stands for. WASI has none for pipes: they are unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileType {
    Unknown = 0,
    CharacterDevice = 2,
    RegularFile = 4,
    SocketDgram = 5,
    SocketStream = 6,
}

/// What may be done through a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights(pub(crate) u64);

impl Rights {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const FD_DATASYNC: Self = Self(1 << 0);
    pub(crate) const FD_READ: Self = Self(1 << 1);
    pub(crate) const FD_SEEK: Self = Self(1 << 2);
    pub(crate) const FD_FDSTAT_SET_FLAGS: Self = Self(1 << 3);
    pub(crate) const FD_SYNC: Self = Self(1 << 4);
    pub(crate) const FD_TELL: Self = Self(1 << 5);
    pub(crate) const FD_WRITE: Self = Self(1 << 6);
    pub(crate) const FD_FILESTAT_GET: Self = Self(1 << 21);
    pub(crate) const POLL_FD_READWRITE: Self = Self(1 << 27);

    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those which are not among `other`.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Flags of a descriptor (`fdflags`).
pub(crate) mod fdflags {
    pub(crate) const APPEND: u16 = 1 << 0;
    pub(crate) const NONBLOCK: u16 = 1 << 2;
    /// All that the specification defines.
    pub(crate) const ALL: u16 = (1 << 5) - 1;
}

/// Encodes an `fdstat`.
pub(crate) fn fdstat(ty: FileType, flags: u16, base: Rights, inheriting: Rights) -> [u8; 24] {
    let mut record = [0; 24];
    record[0] = ty as u8;
    record[2..4].copy_from_slice(&flags.to_le_bytes());
    record[8..16].copy_from_slice(&base.0.to_le_bytes());
    record[16..24].copy_from_slice(&inheriting.0.to_le_bytes());
    record
}

/// Encodes a `filestat` which tells no more than type and size.
pub(crate) fn filestat(ty: FileType, size: u64) -> [u8; 64] {
    let mut record = [0; 64];
    record[16] = ty as u8;
    record[24..32].copy_from_slice(&1u64.to_le_bytes()); // Number of links.
    record[32..40].copy_from_slice(&size.to_le_bytes());
    record
}

/// Clocks that programs know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockId {
    Realtime,
    Monotonic,
    ProcessCpuTime,
    ThreadCpuTime,
}

impl ClockId {
    pub(crate) fn from_number(number: u32) -> Result<Self, Errno> {
        match number {
            0 => Ok(Self::Realtime),
            1 => Ok(Self::Monotonic),
            2 => Ok(Self::ProcessCpuTime),
            3 => Ok(Self::ThreadCpuTime),
            _ => Err(Errno::Inval),
        }
    }
}

/// What a program waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// Handed back in the event.
    pub(crate) userdata: u64,
    /// Number of the event type, even if it is none.
    pub(crate) tag: u8,
    /// What is waited for, or the error which is reported instead.
    pub(crate) kind: Result<SubscriptionKind, Errno>,
}

/// Kinds of [`Subscription`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubscriptionKind {
    Clock { clock: ClockId, timeout: u64, absolute: bool },
    FdRead(u32),
    FdWrite(u32),
}

impl Subscription {
    pub(crate) const SIZE: usize = 48;

    pub(crate) fn decode(record: &[u8; Self::SIZE]) -> Self {
        const ABSTIME: u16 = 1;
        let tag = record[8];
        let kind = match tag {
            0 => ClockId::from_number(u32_at(record, 16)).map(|clock| SubscriptionKind::Clock {
                clock,
                timeout: u64_at(record, 24),
                absolute: u16::from_le_bytes([record[40], record[41]]) & ABSTIME != 0,
            }),
            1 => Ok(SubscriptionKind::FdRead(u32_at(record, 16))),
            2 => Ok(SubscriptionKind::FdWrite(u32_at(record, 16))),
            _ => Err(Errno::Inval),
        };
        Self { userdata: u64_at(record, 0), tag, kind }
    }
}

/// What became of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) userdata: u64,
    pub(crate) error: Errno,
    pub(crate) tag: u8,
    /// Bytes which can be transferred.
    pub(crate) nbytes: u64,
    /// Whether the other side is gone.
    pub(crate) hangup: bool,
}

impl Event {
    pub(crate) const SIZE: usize = 32;

    pub(crate) fn encode(&self) -> [u8; Self::SIZE] {
        let mut record = [0; Self::SIZE];
        record[0..8].copy_from_slice(&self.userdata.to_le_bytes());
        record[8..10].copy_from_slice(&(self.error as u16).to_le_bytes());
        record[10] = self.tag;
        record[16..24].copy_from_slice(&self.nbytes.to_le_bytes());
        record[24] = self.hangup.into();
        record
    }
}
