//! What goes along with a program that is suspended. Everything is little-endian:
//!
//! | size | what |
//! |---|---|
//! | 4 | what the server knew: 0 nothing, 1 what follows, 2 it is lost |
//! | 4, *n* | size of the server's state, and the state |
//! | 8 | number of the next call |
//! | 4 | number of requests; of each, in their order: |
//! | 4 | - 0 a call without a reply, 1 a call with its reply, 2 an info to the server |
//! | 8 | - number of a call without a reply, else 0 |
//! | 4, *n* | - size of its content, or of the reply, and the bytes |
//! | 4 | number of infos to the program; of each: |
//! | 4, *n* | - size of its content, and the bytes |
//! | | streams |

use crate::requests::{MAX_REQUESTS, Request, Requests};
use crate::session::{MAX_LAST_INFOS, MAX_STREAMS};
use bytes::Bytes;
use gate_service::Streams;
use gate_wire::fields::{Fields, put_bytes};
use gate_wire::packet::{HEADER_SIZE, MAX_PACKET_SIZE};
use std::collections::VecDeque;

/// What the server knew of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum External {
    None,
    State(Bytes),
    Lost,
}

/// A state that was read.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) external: External,
    pub(crate) requests: Requests,
    pub(crate) infos: VecDeque<Bytes>,
    pub(crate) streams: Streams,
}

const OPEN: u32 = 0;
const ANSWERED: u32 = 1;
const INFO: u32 = 2;

/// Writes a state.
pub(crate) fn encode(
    external: &External,
    requests: &Requests,
    infos: &VecDeque<Bytes>,
    streams: &Streams,
) -> Vec<u8> {
    let (kind, bytes) = match external {
        External::None => (0u32, &[][..]),
        External::State(bytes) => (1, &bytes[..]),
        External::Lost => (2, &[][..]),
    };
    let mut out = kind.to_le_bytes().to_vec();
    put_bytes(&mut out, bytes);
    out.extend(requests.next_number.to_le_bytes());
    out.extend((requests.queue.len() as u32).to_le_bytes());
    for request in &requests.queue {
        let (kind, number, content) = match request {
            Request::Open { number, content, .. } => (OPEN, *number, content),
            Request::Answered { reply } => (ANSWERED, 0, reply),
            Request::Info { content } => (INFO, 0, content),
        };
        out.extend(kind.to_le_bytes());
        out.extend(number.to_le_bytes());
        put_bytes(&mut out, content);
    }
    out.extend((infos.len() as u32).to_le_bytes());
    infos.iter().for_each(|info| put_bytes(&mut out, info));
    streams.save(&mut out);
    out
}

impl State {
    /// Reads a state, which may come from anywhere.
    pub(crate) fn decode(state: &[u8], max_external: usize) -> Result<Self, &'static str> {
        let mut fields = Fields::new(state);
        let (kind, bytes) = (fields.u32()?, fields.bytes()?);
        if bytes.len() > max_external {
            return Err("the server's state is too large");
        }
        let external = match kind {
            0 => External::None,
            1 => External::State(Bytes::copy_from_slice(bytes)),
            2 => External::Lost,
            _ => return Err("the server's state is of an unknown kind"),
        };
        let mut requests = Requests::default();
        requests.next_number = fields.u64()?;
        let count = fields.u32()? as usize;
        if count > MAX_REQUESTS || requests.next_number > u64::MAX / 2 {
            return Err("there are too many requests");
        }
        let mut least = 0;
        for _ in 0..count {
            let (kind, number, content) = (fields.u32()?, fields.u64()?, content(&mut fields)?);
            requests.queue.push_back(match kind {
                OPEN if (least..requests.next_number).contains(&number) => {
                    least = number + 1;
                    Request::Open { number, content, sent: false }
                }
                ANSWERED => Request::Answered { reply: content },
                INFO => Request::Info { content },
                _ => return Err("a request is of an unknown kind, or not in order"),
            });
        }
        let count = fields.u32()? as usize;
        if count > MAX_LAST_INFOS {
            return Err("there are too many infos");
        }
        let infos = (0..count).map(|_| content(&mut fields)).collect::<Result<_, _>>()?;
        let streams = Streams::restore(&mut fields)?;
        fields.end()?;
        if streams.ids().len() > MAX_STREAMS {
            return Err("there are too many streams");
        }
        Ok(Self { external, requests, infos, streams })
    }
}

fn content(fields: &mut Fields<'_>) -> Result<Bytes, &'static str> {
    let content = fields.bytes()?;
    if content.len() > MAX_PACKET_SIZE - HEADER_SIZE {
        return Err("a content is too long");
    }
    Ok(Bytes::copy_from_slice(content))
}
