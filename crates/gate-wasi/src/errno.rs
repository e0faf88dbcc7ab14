//! Error numbers of WASI preview 1.

use rustix::io::Errno as Host;
use std::fmt;
use std::io;

macro_rules! errnos {
    ($($variant:ident = $number:literal, $name:literal, Host::$host:ident;)*) => {
        /// Error number of WASI preview 1, as programs see it.
        ///
        /// Numbers as in the specification's `$errno`. They are not those of Linux.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Errno {
            /// `ESUCCESS`: no error.
            Success = 0,
            $(#[doc = concat!("`", $name, "`")] $variant = $number,)*
            /// `ENOTCAPABLE`: the descriptor lacks the right. No host has it.
            NotCapable = 76,
        }

        impl Errno {
            /// All numbers, ascending.
            pub const ALL: &'static [Self] = &[Self::Success, $(Self::$variant,)* Self::NotCapable];

            /// Name, such as `EBADF`.
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Success => "ESUCCESS",
                    $(Self::$variant => $name,)*
                    Self::NotCapable => "ENOTCAPABLE",
                }
            }
        }

        impl From<Host> for Errno {
            /// What the host's operating system calls by another number. What WASI has no number for is an I/O
            /// error.
            fn from(host: Host) -> Self {
                match host {
                    $(Host::$host => Self::$variant,)*
                    _ => Self::Io,
                }
            }
        }
    };
}

errnos! {
    TooBig = 1, "E2BIG", Host::TOOBIG;
    Acces = 2, "EACCES", Host::ACCESS;
    AddrInUse = 3, "EADDRINUSE", Host::ADDRINUSE;
    AddrNotAvail = 4, "EADDRNOTAVAIL", Host::ADDRNOTAVAIL;
    AfNoSupport = 5, "EAFNOSUPPORT", Host::AFNOSUPPORT;
    Again = 6, "EAGAIN", Host::AGAIN;
    Already = 7, "EALREADY", Host::ALREADY;
    BadF = 8, "EBADF", Host::BADF;
    BadMsg = 9, "EBADMSG", Host::BADMSG;
    Busy = 10, "EBUSY", Host::BUSY;
    Canceled = 11, "ECANCELED", Host::CANCELED;
    Child = 12, "ECHILD", Host::CHILD;
    ConnAborted = 13, "ECONNABORTED", Host::CONNABORTED;
    ConnRefused = 14, "ECONNREFUSED", Host::CONNREFUSED;
    ConnReset = 15, "ECONNRESET", Host::CONNRESET;
    DeadLk = 16, "EDEADLK", Host::DEADLK;
    DestAddrReq = 17, "EDESTADDRREQ", Host::DESTADDRREQ;
    Dom = 18, "EDOM", Host::DOM;
    DQuot = 19, "EDQUOT", Host::DQUOT;
    Exist = 20, "EEXIST", Host::EXIST;
    Fault = 21, "EFAULT", Host::FAULT;
    FBig = 22, "EFBIG", Host::FBIG;
    HostUnreach = 23, "EHOSTUNREACH", Host::HOSTUNREACH;
    IdRm = 24, "EIDRM", Host::IDRM;
    IlSeq = 25, "EILSEQ", Host::ILSEQ;
    InProgress = 26, "EINPROGRESS", Host::INPROGRESS;
    Intr = 27, "EINTR", Host::INTR;
    Inval = 28, "EINVAL", Host::INVAL;
    Io = 29, "EIO", Host::IO;
    IsConn = 30, "EISCONN", Host::ISCONN;
    IsDir = 31, "EISDIR", Host::ISDIR;
    Loop = 32, "ELOOP", Host::LOOP;
    MFile = 33, "EMFILE", Host::MFILE;
    MLink = 34, "EMLINK", Host::MLINK;
    MsgSize = 35, "EMSGSIZE", Host::MSGSIZE;
    MultiHop = 36, "EMULTIHOP", Host::MULTIHOP;
    NameTooLong = 37, "ENAMETOOLONG", Host::NAMETOOLONG;
    NetDown = 38, "ENETDOWN", Host::NETDOWN;
    NetReset = 39, "ENETRESET", Host::NETRESET;
    NetUnreach = 40, "ENETUNREACH", Host::NETUNREACH;
    NFile = 41, "ENFILE", Host::NFILE;
    NoBufs = 42, "ENOBUFS", Host::NOBUFS;
    NoDev = 43, "ENODEV", Host::NODEV;
    NoEnt = 44, "ENOENT", Host::NOENT;
    NoExec = 45, "ENOEXEC", Host::NOEXEC;
    NoLck = 46, "ENOLCK", Host::NOLCK;
    NoLink = 47, "ENOLINK", Host::NOLINK;
    NoMem = 48, "ENOMEM", Host::NOMEM;
    NoMsg = 49, "ENOMSG", Host::NOMSG;
    NoProtoOpt = 50, "ENOPROTOOPT", Host::NOPROTOOPT;
    NoSpc = 51, "ENOSPC", Host::NOSPC;
    NoSys = 52, "ENOSYS", Host::NOSYS;
    NotConn = 53, "ENOTCONN", Host::NOTCONN;
    NotDir = 54, "ENOTDIR", Host::NOTDIR;
    NotEmpty = 55, "ENOTEMPTY", Host::NOTEMPTY;
    NotRecoverable = 56, "ENOTRECOVERABLE", Host::NOTRECOVERABLE;
    NotSock = 57, "ENOTSOCK", Host::NOTSOCK;
    NotSup = 58, "ENOTSUP", Host::OPNOTSUPP;
    NotTy = 59, "ENOTTY", Host::NOTTY;
    NxIo = 60, "ENXIO", Host::NXIO;
    Overflow = 61, "EOVERFLOW", Host::OVERFLOW;
    OwnerDead = 62, "EOWNERDEAD", Host::OWNERDEAD;
    Perm = 63, "EPERM", Host::PERM;
    Pipe = 64, "EPIPE", Host::PIPE;
    Proto = 65, "EPROTO", Host::PROTO;
    ProtoNoSupport = 66, "EPROTONOSUPPORT", Host::PROTONOSUPPORT;
    Prototype = 67, "EPROTOTYPE", Host::PROTOTYPE;
    Range = 68, "ERANGE", Host::RANGE;
    RoFs = 69, "EROFS", Host::ROFS;
    SPipe = 70, "ESPIPE", Host::SPIPE;
    Srch = 71, "ESRCH", Host::SRCH;
    Stale = 72, "ESTALE", Host::STALE;
    TimedOut = 73, "ETIMEDOUT", Host::TIMEDOUT;
    TxtBsy = 74, "ETXTBSY", Host::TXTBSY;
    XDev = 75, "EXDEV", Host::XDEV;
}

impl From<&io::Error> for Errno {
    fn from(err: &io::Error) -> Self {
        if let Some(host) = Host::from_io_error(err) {
            return host.into();
        }
        match err.kind() {
            io::ErrorKind::BrokenPipe => Self::Pipe,
            io::ErrorKind::WouldBlock => Self::Again,
            io::ErrorKind::Interrupted => Self::Intr,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::ConnectionReset => Self::ConnReset,
            io::ErrorKind::ConnectionAborted => Self::ConnAborted,
            io::ErrorKind::NotConnected => Self::NotConn,
            io::ErrorKind::StorageFull => Self::NoSpc,
            io::ErrorKind::OutOfMemory => Self::NoMem,
            io::ErrorKind::Unsupported => Self::NotSup,
            _ => Self::Io,
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense() {
        assert_eq!(Errno::ALL.len(), 77);
        for (i, &errno) in Errno::ALL.iter().enumerate() {
            assert_eq!(errno as usize, i);
        }
    }

    #[test]
    fn host_errors_are_translated() {
        assert_eq!(Errno::from(&io::Error::from_raw_os_error(32)), Errno::Pipe);
        assert_eq!(Errno::from(&io::Error::from(io::ErrorKind::BrokenPipe)), Errno::Pipe);
        assert_eq!(Errno::from(&io::Error::other("?")), Errno::Io);
        assert_eq!(Errno::from(Host::UCLEAN), Errno::Io);
    }
}
