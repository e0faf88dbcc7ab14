//! Host calls: one request record out, one reply in.
//!
//! The call socket keeps message boundaries (`SOCK_SEQPACKET`), so a record is sent whole or not at all. The host
//! reads and writes guest memory through the state file while the program waits.

use crate::context::MAX_CALL_ARGS;
use crate::record::{Reader, Writer};

/// Encoded size of a [`CallRequest`], in bytes.
pub const REQUEST_SIZE: usize = 8 + 8 * MAX_CALL_ARGS;

/// Encoded size of a [`CallReply`], in bytes.
pub const REPLY_SIZE: usize = 16;

/// A program's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// Number of the host function.
    pub func: u32,
    /// Arguments; 32-bit ones are zero-extended; those which the function does not have are zero.
    pub args: [u64; MAX_CALL_ARGS],
}

impl CallRequest {
    /// Encodes a message.
    pub fn encode(&self) -> [u8; REQUEST_SIZE] {
        let mut buf = [0; REQUEST_SIZE];
        let mut w = Writer::new(&mut buf);
        w.u32(self.func).u32(0);
        for arg in self.args {
            w.u64(arg);
        }
        buf
    }

    /// Decodes a whole message.
    pub fn decode(buf: &[u8]) -> Option<Self> {
        let mut r = Reader::new(buf);
        let func = r.u32()?;
        r.u32()?;
        let mut args = [0; MAX_CALL_ARGS];
        for arg in &mut args {
            *arg = r.u64()?;
        }
        r.is_empty().then_some(Self { func, args })
    }
}

/// The host's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallReply {
    /// The function returned. Zero if it has no result; a 32-bit one is zero-extended.
    Return(u64),
    /// The program stops with the trap of this number.
    Trap(u32),
}

impl CallReply {
    /// Encodes a message.
    pub fn encode(self) -> [u8; REPLY_SIZE] {
        let (kind, value) = match self {
            Self::Return(value) => (0, value),
            Self::Trap(trap) => (1, u64::from(trap)),
        };
        let mut buf = [0; REPLY_SIZE];
        Writer::new(&mut buf).u32(kind).u32(0).u64(value);
        buf
    }

    /// Decodes a whole message.
    pub fn decode(buf: &[u8]) -> Option<Self> {
        let mut r = Reader::new(buf);
        let (kind, _, value) = (r.u32()?, r.u32()?, r.u64()?);
        match (kind, r.is_empty()) {
            (0, true) => Some(Self::Return(value)),
            (1, true) => Some(Self::Trap(value as u32)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        let mut args = [0; MAX_CALL_ARGS];
        args[0] = u64::MAX;
        let request = CallRequest { func: 3, args };
        assert_eq!(CallRequest::decode(&request.encode()), Some(request));
        for reply in [CallReply::Return(u64::MAX), CallReply::Trap(28)] {
            assert_eq!(CallReply::decode(&reply.encode()), Some(reply));
        }
        assert_eq!(CallRequest::decode(&[0; 8]), None);
        assert_eq!(CallReply::decode(&[2; REPLY_SIZE]), None);
    }
}
