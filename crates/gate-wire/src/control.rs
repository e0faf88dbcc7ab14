//! Messages between the host and the executor.
//!
//! The control socket keeps message boundaries (`SOCK_SEQPACKET`). A message from the host is one
//! [`Request`]; a [`Op::Create`] carries the descriptor of the process's end of its call socket. A message from
//! the executor is one or more [`Report`]s.
//!
//! An id is in use from its create request until the report of the process's death or the refusal.

use crate::record::{Reader, Writer};

const SETUP_MAGIC: u32 = u32::from_le_bytes(*b"gEx1");

/// First message from the host: sent when the container's id maps have been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// User id, inside the container, of the executor and of the programs.
    pub uid: u32,
    /// Group id, inside the container, of the executor and of the programs.
    pub gid: u32,
    /// Set of `SETUP_` flags.
    pub flags: u32,
}

/// Set in [`Setup::flags`]: the executor has no namespaces of its own. What is the host's stays as it is: mounts,
/// root directory, names.
pub const SETUP_NO_NAMESPACES: u32 = 1;

impl Setup {
    /// Encoded size in bytes.
    pub const SIZE: usize = 16;

    /// Encodes a message.
    pub fn encode(self) -> [u8; Self::SIZE] {
        let mut buf = [0; Self::SIZE];
        Writer::new(&mut buf).u32(SETUP_MAGIC).u32(self.uid).u32(self.gid).u32(self.flags);
        buf
    }

    /// Decodes a whole message.
    pub fn decode(buf: &[u8]) -> Option<Self> {
        let mut r = Reader::new(buf);
        let (magic, uid, gid, flags) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
        let known = flags & !SETUP_NO_NAMESPACES == 0;
        (magic == SETUP_MAGIC && known && r.is_empty()).then_some(Self { uid, gid, flags })
    }
}

/// What the host asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Op {
    /// Make a process. Carries the process's call socket, and optionally a cgroup directory.
    Create = 1,
    /// Kill a process. Nothing happens if it is dead already.
    Kill = 2,
    /// Ask a process to stop at its next safepoint. Nothing happens if it is dead already.
    Suspend = 3,
    /// Ask how much processor time a process has used. Answered by [`Report::CpuTime`], unless it is dead.
    CpuTime = 4,
}

/// A message from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub op: Op,
    /// With which process: below [`MAX_PROCS`](crate::MAX_PROCS).
    pub id: u32,
}

impl Request {
    /// Encoded size in bytes.
    pub const SIZE: usize = 8;

    /// Encodes a message.
    pub fn encode(self) -> [u8; Self::SIZE] {
        let mut buf = [0; Self::SIZE];
        Writer::new(&mut buf).u32(self.op as u32).u32(self.id);
        buf
    }

    /// Decodes a whole message.
    pub fn decode(buf: &[u8]) -> Option<Self> {
        let mut r = Reader::new(buf);
        let op = match r.u32()? {
            1 => Op::Create,
            2 => Op::Kill,
            3 => Op::Suspend,
            4 => Op::CpuTime,
            _ => return None,
        };
        let id = r.u32()?;
        r.is_empty().then_some(Self { op, id })
    }
}

/// What the executor tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The container is set up; requests are welcome. Sent once.
    Ready,
    /// The container cannot be set up; the executor exits.
    Failed {
        /// What failed, one of [`SetupStep`].
        step: u32,
        /// Error number.
        errno: u32,
    },
    /// A process was not created. Its id is free.
    Refused {
        /// The process.
        id: u32,
        /// Error number.
        errno: u32,
    },
    /// A process has died and was reaped. Its id is free.
    Died {
        /// The process.
        id: u32,
        /// As `waitpid` stores it.
        status: u32,
        /// Processor time that it used, in nanoseconds.
        cpu_time: u64,
    },
    /// How much processor time a live process has used.
    CpuTime {
        /// The process.
        id: u32,
        /// In nanoseconds.
        cpu_time: u64,
    },
}

impl Report {
    /// Encoded size in bytes.
    pub const SIZE: usize = 24;

    /// Encodes a report.
    pub fn encode(self) -> [u8; Self::SIZE] {
        let (kind, id, value, cpu_time) = match self {
            Self::Ready => (1, 0, 0, 0),
            Self::Failed { step, errno } => (2, step, errno, 0),
            Self::Refused { id, errno } => (3, id, errno, 0),
            Self::Died { id, status, cpu_time } => (4, id, status, cpu_time),
            Self::CpuTime { id, cpu_time } => (5, id, 0, cpu_time),
        };
        let mut buf = [0; Self::SIZE];
        Writer::new(&mut buf).u32(kind).u32(id).u32(value).u32(0).u64(cpu_time);
        buf
    }

    /// Decodes one report.
    pub fn decode(buf: &[u8; Self::SIZE]) -> Option<Self> {
        let mut r = Reader::new(buf);
        let (kind, id, value, _) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
        let cpu_time = r.u64()?;
        Some(match kind {
            1 => Self::Ready,
            2 => Self::Failed { step: id, errno: value },
            3 => Self::Refused { id, errno: value },
            4 => Self::Died { id, status: value, cpu_time },
            5 => Self::CpuTime { id, cpu_time },
            _ => return None,
        })
    }
}

macro_rules! setup_steps {
    ($($variant:ident = $number:literal, $text:literal;)*) => {
        /// Steps of setting up the container, as reported by [`Report::Failed`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum SetupStep {
            $(#[doc = $text] $variant = $number,)*
        }

        impl SetupStep {
            /// What was being done, for an error message.
            pub const fn describe(number: u32) -> &'static str {
                match number {
                    $($number => $text,)*
                    _ => "set up the container",
                }
            }
        }
    };
}

setup_steps! {
    ReceiveSetup = 1, "receive the container's configuration";
    SetIds = 2, "change user and group ids";
    MountRoot = 3, "mount the empty root directory";
    PivotRoot = 4, "change the root directory";
    SetHostName = 5, "set the host name";
    DropCapabilities = 6, "drop capabilities";
    SetLimits = 7, "set resource limits";
    SetProcessAttributes = 8, "set process attributes";
    OpenPoll = 9, "create the event queue";
    SetOomScore = 10, "raise the out-of-memory score";
    InstallFilter = 11, "install the system call filter";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_round_trip() {
        for op in [Op::Create, Op::Kill, Op::Suspend, Op::CpuTime] {
            let request = Request { op, id: 16383 };
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        assert_eq!(Request::decode(&[0; 8]), None);
        assert_eq!(Request::decode(&[1, 0, 0, 0]), None);
        assert_eq!(Request::decode(&[1; 12]), None);
    }

    #[test]
    fn setup_round_trips() {
        for flags in [0, SETUP_NO_NAMESPACES] {
            let setup = Setup { uid: 2, gid: 3, flags };
            assert_eq!(Setup::decode(&setup.encode()), Some(setup));
        }
        let setup = Setup { uid: 2, gid: 3, flags: 2 };
        assert_eq!(Setup::decode(&setup.encode()), None);
        assert_eq!(Setup::decode(&[0; Setup::SIZE]), None);
        assert_eq!(Setup::decode(&setup.encode()[..15]), None);
    }

    #[test]
    fn reports_round_trip() {
        let reports = [
            Report::Ready,
            Report::Failed { step: 3, errno: 1 },
            Report::Refused { id: 5, errno: 11 },
            Report::Died { id: 9, status: 0x8b, cpu_time: u64::MAX },
            Report::CpuTime { id: 16383, cpu_time: 1 << 60 },
        ];
        for report in reports {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode(&[0; Report::SIZE]), None);
    }
}
