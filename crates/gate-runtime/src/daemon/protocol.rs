//! Messages between a daemon and its clients.
//!
//! The socket keeps message boundaries (`SOCK_SEQPACKET`). A client sends one message of two numbers: [`MAGIC`], and what it
//! wants. It gets one back: [`MAGIC`], a kind, and texts, each followed by a zero byte. With a container come the
//! descriptors of its control socket, of its executor's process, and of the default control group if there is one.
//! Numbers are little-endian.

use super::DaemonStatus;
use std::time::Duration;

/// Changes with every change of the messages.
const MAGIC: u32 = u32::from_le_bytes(*b"gDm1");

/// Size of a request.
pub(super) const REQUEST_SIZE: usize = 8;

/// Greatest size of an answer.
pub(super) const MAX_ANSWER: usize = 16 << 10;

/// Greatest number of descriptors that come with an answer.
pub(super) const MAX_FDS: usize = 3;

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Container,
    Status,
}

impl Request {
    pub(super) fn encode(self) -> [u8; REQUEST_SIZE] {
        let kind = match self {
            Self::Container => 1u32,
            Self::Status => 2,
        };
        let mut bytes = [0; REQUEST_SIZE];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        [Self::Container, Self::Status].into_iter().find(|request| bytes == request.encode())
    }
}

/// What a daemon answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Container(Made),
    Refused(String),
    Status(DaemonStatus),
}

/// What there is to know of a container. Paths are those of control groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) cgroup: String,
    pub(super) domain: Option<String>,
    /// Set if there is a descriptor of it.
    pub(super) default_group: Option<String>,
}

impl Answer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, texts) = match self {
            Self::Container(made) => {
                let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
                let (domain, group) = (or_empty(&made.domain), or_empty(&made.default_group));
                (1u32, vec![made.uid.to_string(), made.gid.to_string(), made.cgroup.clone(), domain, group])
            }
            Self::Refused(reason) => (2, vec![reason.replace('\0', " ")]),
            Self::Status(status) => {
                let numbers = [
                    u64::from(status.pid),
                    status.uptime.as_secs(),
                    status.containers,
                    status.max_containers,
                    status.made,
                    status.failed,
                    status.refused,
                ];
                let version = std::iter::once(status.version.clone());
                (3, version.chain(numbers.map(|n| n.to_string())).collect())
            }
        };
        let mut bytes = [MAGIC.to_le_bytes(), kind.to_le_bytes()].concat();
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, texts) = bytes.split_first_chunk::<8>()?;
        let [a, b, c, d, kind @ ..] = *head;
        if u32::from_le_bytes([a, b, c, d]) != MAGIC {
            return None;
        }
        let texts = str::from_utf8(texts).ok()?.strip_suffix('\0')?;
        let mut texts = texts.split('\0');
        let mut text = || texts.next().map(str::to_owned);
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let answer = match u32::from_le_bytes(kind) {
            1 => Self::Container(Made {
                uid: text()?.parse().ok()?,
                gid: text()?.parse().ok()?,
                cgroup: text()?,
                domain: some(text()?),
                default_group: some(text()?),
            }),
            2 => Self::Refused(text()?),
            3 => Self::Status(DaemonStatus {
                version: text()?,
                pid: text()?.parse().ok()?,
                uptime: Duration::from_secs(text()?.parse().ok()?),
                containers: text()?.parse().ok()?,
                max_containers: text()?.parse().ok()?,
                made: text()?.parse().ok()?,
                failed: text()?.parse().ok()?,
                refused: text()?.parse().ok()?,
            }),
            _ => return None,
        };
        texts.next().is_none().then_some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip() {
        for request in [Request::Container, Request::Status] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        let made = Made {
            uid: 5,
            gid: u32::MAX,
            cgroup: "/a".into(),
            domain: None,
            default_group: Some("/b".into()),
        };
        let status =
            DaemonStatus { version: "1 (x)".into(), pid: 3, made: u64::MAX, ..DaemonStatus::default() };
        for answer in [Answer::Container(made), Answer::Refused(String::new()), Answer::Status(status)] {
            let bytes = answer.encode();
            assert_eq!(Answer::decode(&bytes), Some(answer));
            for size in 0..bytes.len() {
                assert_eq!(Answer::decode(&bytes[..size]), None);
            }
        }
    }

    #[test]
    fn nonsense_is_nothing() {
        for bytes in
            [&b""[..], &[0; 8], &[0xff; 9], b"gDm1\x01\0\0", b"gDm1\x01\0\0\0\0", b"gDm1\x03\0\0\0\xff\0"]
        {
            assert_eq!(Request::decode(bytes), None);
            assert_eq!(Answer::decode(bytes), None);
        }
        assert_eq!(Answer::decode(b"gDm1\x02\0\0\0a\0b\0"), None);
    }
}
