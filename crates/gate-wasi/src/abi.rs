//! Numbers and record layouts of WASI preview 1.
//!
//! Source: the witx definition of `wasi_snapshot_preview1`. All records are little-endian and padded as C does.

use crate::errno::Errno;
use crate::memory::{u32_at, u64_at};
use crate::node::Stat;
use rustix::fs::FileType as HostFileType;

/// Type of what a descriptor stands for. WASI has none for pipes: they are unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileType {
    Unknown = 0,
    BlockDevice = 1,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SocketDgram = 5,
    SocketStream = 6,
    SymbolicLink = 7,
}

impl FileType {
    /// Type of what a file system has. Of sockets it does not tell more than that.
    pub(crate) fn of_host(ty: HostFileType) -> Self {
        match ty {
            HostFileType::RegularFile => Self::RegularFile,
            HostFileType::Directory => Self::Directory,
            HostFileType::Symlink => Self::SymbolicLink,
            HostFileType::CharacterDevice => Self::CharacterDevice,
            HostFileType::BlockDevice => Self::BlockDevice,
            HostFileType::Socket => Self::SocketStream,
            HostFileType::Fifo | HostFileType::Unknown => Self::Unknown,
        }
    }
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
    pub(crate) const FD_ADVISE: Self = Self(1 << 7);
    pub(crate) const FD_ALLOCATE: Self = Self(1 << 8);
    pub(crate) const PATH_CREATE_DIRECTORY: Self = Self(1 << 9);
    pub(crate) const PATH_CREATE_FILE: Self = Self(1 << 10);
    pub(crate) const PATH_LINK_SOURCE: Self = Self(1 << 11);
    pub(crate) const PATH_LINK_TARGET: Self = Self(1 << 12);
    pub(crate) const PATH_OPEN: Self = Self(1 << 13);
    pub(crate) const FD_READDIR: Self = Self(1 << 14);
    pub(crate) const PATH_READLINK: Self = Self(1 << 15);
    pub(crate) const PATH_RENAME_SOURCE: Self = Self(1 << 16);
    pub(crate) const PATH_RENAME_TARGET: Self = Self(1 << 17);
    pub(crate) const PATH_FILESTAT_GET: Self = Self(1 << 18);
    pub(crate) const PATH_FILESTAT_SET_SIZE: Self = Self(1 << 19);
    pub(crate) const PATH_FILESTAT_SET_TIMES: Self = Self(1 << 20);
    pub(crate) const FD_FILESTAT_GET: Self = Self(1 << 21);
    pub(crate) const FD_FILESTAT_SET_SIZE: Self = Self(1 << 22);
    pub(crate) const FD_FILESTAT_SET_TIMES: Self = Self(1 << 23);
    pub(crate) const PATH_SYMLINK: Self = Self(1 << 24);
    pub(crate) const PATH_REMOVE_DIRECTORY: Self = Self(1 << 25);
    pub(crate) const PATH_UNLINK_FILE: Self = Self(1 << 26);
    pub(crate) const POLL_FD_READWRITE: Self = Self(1 << 27);
    pub(crate) const SOCK_SHUTDOWN: Self = Self(1 << 28);
    pub(crate) const SOCK_ACCEPT: Self = Self(1 << 29);

    /// Whatever can be done with a regular file.
    pub(crate) const FILE: Self = Self(0x1ff)
        .union(Self::FD_FILESTAT_GET)
        .union(Self::FD_FILESTAT_SET_SIZE)
        .union(Self::FD_FILESTAT_SET_TIMES)
        .union(Self::POLL_FD_READWRITE);
    /// Whatever can be done with a directory.
    pub(crate) const DIRECTORY: Self = Self(0x1f_fe00)
        .union(Self::PATH_SYMLINK)
        .union(Self::PATH_REMOVE_DIRECTORY)
        .union(Self::PATH_UNLINK_FILE)
        .union(Self::FD_FDSTAT_SET_FLAGS)
        .union(Self::FD_DATASYNC)
        .union(Self::FD_SYNC)
        .union(Self::FD_FILESTAT_GET)
        .union(Self::FD_FILESTAT_SET_TIMES);
    /// Whatever can be done with a connection.
    pub(crate) const CONNECTION: Self = Self::FD_READ
        .union(Self::FD_WRITE)
        .union(Self::FD_FDSTAT_SET_FLAGS)
        .union(Self::FD_FILESTAT_GET)
        .union(Self::POLL_FD_READWRITE)
        .union(Self::SOCK_SHUTDOWN);
    /// Whatever can be done with a listener.
    pub(crate) const LISTENER: Self = Self::SOCK_ACCEPT
        .union(Self::FD_FDSTAT_SET_FLAGS)
        .union(Self::FD_FILESTAT_GET)
        .union(Self::POLL_FD_READWRITE);
    /// What changes a file or a directory.
    pub(crate) const CHANGE: Self = Self::FD_WRITE
        .union(Self::FD_ALLOCATE)
        .union(Self::FD_FILESTAT_SET_SIZE)
        .union(Self::FD_FILESTAT_SET_TIMES)
        .union(Self::PATH_CREATE_DIRECTORY)
        .union(Self::PATH_CREATE_FILE)
        .union(Self::PATH_LINK_SOURCE)
        .union(Self::PATH_LINK_TARGET)
        .union(Self::PATH_RENAME_SOURCE)
        .union(Self::PATH_RENAME_TARGET)
        .union(Self::PATH_FILESTAT_SET_SIZE)
        .union(Self::PATH_FILESTAT_SET_TIMES)
        .union(Self::PATH_SYMLINK)
        .union(Self::PATH_REMOVE_DIRECTORY)
        .union(Self::PATH_UNLINK_FILE);

    /// Those which are also among `other`.
    pub(crate) const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

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
    pub(crate) const DSYNC: u16 = 1 << 1;
    pub(crate) const NONBLOCK: u16 = 1 << 2;
    pub(crate) const RSYNC: u16 = 1 << 3;
    pub(crate) const SYNC: u16 = 1 << 4;
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

/// Encodes a `filestat`.
pub(crate) fn filestat(stat: &Stat) -> [u8; 64] {
    let mut record = [0; 64];
    let fields = [
        (0, stat.dev),
        (8, stat.ino),
        (24, stat.links),
        (32, stat.size),
        (40, stat.accessed),
        (48, stat.modified),
        (56, stat.changed),
    ];
    for (offset, value) in fields {
        record[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }
    record[16] = stat.ty as u8;
    record
}

/// Encodes a `dirent`, which the name follows.
pub(crate) fn dirent(next: u64, ino: u64, name_len: u32, ty: FileType) -> [u8; 24] {
    let mut record = [0; 24];
    record[0..8].copy_from_slice(&next.to_le_bytes());
    record[8..16].copy_from_slice(&ino.to_le_bytes());
    record[16..20].copy_from_slice(&name_len.to_le_bytes());
    record[20] = ty as u8;
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
