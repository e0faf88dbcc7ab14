//! Streams of a program that is suspended. Everything is little-endian:
//!
//! | size | what |
//! |---|---|
//! | 4 | id that the next stream gets |
//! | 4 | number of streams; of each, by ascending ids: |
//! | 4 | - its id |
//! | 4 | - flags: see [`FLAGS`] |
//! | 4 | - how much the program may still send, in bytes |
//! | 4 | - how much the program wants, in bytes |
//! | 4, *n* | - size of what the program has sent, and the bytes |
//! | 4, *n* | - size of what the program has not been sent yet, and the bytes |

use super::stream::{MAX_OUTPUT, Queue, Stream, WINDOW};
use super::{MAX_STREAMS, Shared, Streams};
use bytes::Bytes;
use gate_wire::fields::Fields;
use std::sync::{Arc, Mutex};

/// What the bits of a stream's flags mean, beginning with the lowest: the program has sent its last byte, the host does not
/// read any more, the program knows that, the host has written its last byte, the program knows that, the program does not
/// want anything any more, the host would have had more to write.
const FLAGS: u32 = 0x7f;

impl Streams {
    /// Appends what has to be known to let the streams go on elsewhere.
    pub fn save(&self, out: &mut Vec<u8>) {
        let shared = self.lock();
        out.extend(shared.next_id.to_le_bytes());
        out.extend((shared.streams.len() as u32).to_le_bytes());
        for (id, stream) in &shared.streams {
            let flags = [
                stream.input_ended,
                stream.input_closed,
                stream.close_told,
                stream.output_ended,
                stream.end_told,
                stream.output_closed,
                stream.output_cut,
            ];
            let flags = flags.iter().rev().fold(0, |bits, &flag| bits << 1 | u32::from(flag));
            out.extend(id.to_le_bytes());
            for value in [flags, stream.granted as u32, stream.window] {
                out.extend(value.to_le_bytes());
            }
            for queue in [&stream.input, &stream.output] {
                out.extend((queue.len() as u32).to_le_bytes());
                queue.pieces().for_each(|piece| out.extend(piece));
            }
        }
    }

    /// Takes streams over from the beginning of a state, which may come from anywhere. Without an end on the host's side they
    /// stay as they are: see [`Streams::attach`].
    pub fn restore(fields: &mut Fields<'_>) -> Result<Self, &'static str> {
        let next_id = fields.u32()?.cast_signed();
        let count = fields.u32()? as usize;
        if next_id < 0 || count > MAX_STREAMS {
            return Err("there are too many streams");
        }
        let mut shared = Shared { next_id, ..Shared::default() };
        let mut least = 0;
        for _ in 0..count {
            let id = fields.u32()?.cast_signed();
            if !(least..next_id).contains(&id) {
                return Err("ids of streams are not in order");
            }
            least = id + 1;
            shared.streams.insert(id, stream(fields)?);
        }
        Ok(Self { shared: Arc::new(Mutex::new(shared)) })
    }
}

fn stream(fields: &mut Fields<'_>) -> Result<Stream, &'static str> {
    let flags = fields.u32()?;
    if flags & !FLAGS != 0 {
        return Err("a stream has unknown flags");
    }
    let (granted, window) = (fields.u32()? as usize, fields.u32()?);
    let (input, output) = (queue(fields)?, queue(fields)?);
    if granted + input.len() > WINDOW || output.len() > MAX_OUTPUT || window > i32::MAX as u32 {
        return Err("there is too much on a stream");
    }
    let flag = |bit: u32| flags >> bit & 1 != 0;
    Ok(Stream {
        input,
        granted,
        input_ended: flag(0),
        input_closed: flag(1),
        close_told: flag(2),
        output,
        window,
        output_ended: flag(3),
        end_told: flag(4),
        output_closed: flag(5),
        output_cut: flag(6),
        reader: None,
        writer: None,
    })
}

fn queue(fields: &mut Fields<'_>) -> Result<Queue, &'static str> {
    let mut queue = Queue::default();
    queue.push(Bytes::copy_from_slice(fields.bytes()?));
    Ok(queue)
}
