//! What goes along with a program that is suspended: bytes that are under way, and the services' states.
//!
//! It is kept as the state of a service [`PIPE`], and one of `gate.service:NAME` for each service that has one. The layout of the
//! former, in which everything is little-endian:
//!
//! | size | what |
//! |---|---|
//! | 4 | version: 1 |
//! | 4, *n* | size of what the program has sent of a packet that is not complete, or not taken by its service; and the bytes |
//! | 4, *n* | size of what the program has not received yet, and the bytes: packets, perhaps without the beginning of the first |
//! | 4 | number of services that the program has discovered; of each, in that order: |
//! | 4, *n* | - size of its name, and the name |
//! | 4 | 1 if the program waits in `io_N` with a time limit, else 0; if it does: |
//! | 40 | - receive buffers, their number, send buffers, their number, time limit |
//! | 8 | - what its monotonic clock showed when the wait began, in nanoseconds |

use crate::error::RestoreError;
use crate::packets::pipe::PacketPipe;
use crate::packets::server::{InstanceServer, ServiceConfig, ServiceRegistry};
use gate_image::ServiceState as SavedService;
use gate_wire::fields::{Fields, put_bytes};
use gate_wire::packet::{HEADER_SIZE, Header, MAX_NAME_SIZE, MAX_PACKET_SIZE, MAX_SERVICES};

/// Name of the state that is not a service's.
const PIPE: &str = "gate.packets";

/// Before the name of a service.
const SERVICE_PREFIX: &str = "gate.service:";

const VERSION: u32 = 1;

/// Most that is kept for a program, in bytes.
const MAX_OUTPUT: usize = 16 * MAX_PACKET_SIZE;

/// A wait with a time limit that has begun. If it is interrupted, the program makes the same call again when it goes on, and
/// what it has waited so far counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// Arguments of the call.
    pub(super) key: [u64; 5],
    /// What the program's monotonic clock showed.
    pub(super) began: u64,
}

pub(super) fn is_ours(name: &str) -> bool {
    name == PIPE || name.starts_with(SERVICE_PREFIX)
}

/// Nothing if the program has never had to do with packets.
pub(super) fn save<S: InstanceServer>(pipe: &PacketPipe<S>, wait: Option<Wait>) -> Vec<SavedService> {
    let saved = pipe.server.save();
    if saved.is_empty() && pipe.input.is_empty() && pipe.output.size() == 0 && wait.is_none() {
        return Vec::new();
    }
    let mut state = VERSION.to_le_bytes().to_vec();
    put_bytes(&mut state, &pipe.input);
    put_bytes(&mut state, &pipe.output.to_vec());
    state.extend((saved.len() as u32).to_le_bytes());
    for service in &saved {
        put_bytes(&mut state, service.name.as_bytes());
    }
    state.extend(u32::from(wait.is_some()).to_le_bytes());
    if let Some(wait) = wait {
        wait.key.iter().chain([&wait.began]).for_each(|value| state.extend(value.to_le_bytes()));
    }
    let services = saved.into_iter().filter(|service| !service.state.is_empty());
    let services =
        services.map(|service| SavedService { name: format!("{SERVICE_PREFIX}{}", service.name), ..service });
    std::iter::once(SavedService { name: PIPE.into(), state }).chain(services).collect()
}

/// A pipe as it was, if there was one, and the wait.
pub(super) type Restored<S> = Option<(PacketPipe<S>, Option<Wait>)>;

pub(super) fn restore<R: ServiceRegistry>(
    registry: &R,
    saved: &[SavedService],
) -> Result<Restored<R::Server>, RestoreError> {
    let Some(pipe) = saved.iter().find(|service| service.name == PIPE) else {
        return match saved.first() {
            Some(service) => Err(RestoreError::Unknown(service.name.clone())),
            None => Ok(None),
        };
    };
    let state = State::decode(&pipe.state)
        .map_err(|what| RestoreError::State { name: PIPE.into(), source: what.into() })?;
    let mut services = Vec::with_capacity(state.names.len());
    for name in state.names {
        let prefixed = format!("{SERVICE_PREFIX}{name}");
        let state = saved.iter().find(|service| service.name == prefixed);
        let state = state.map_or_else(Vec::new, |service| service.state.clone());
        services.push(SavedService { name, state });
    }
    // Each state belongs to a service that was discovered.
    for service in saved {
        if let Some(name) = service.name.strip_prefix(SERVICE_PREFIX)
            && !services.iter().any(|known| known.name == name)
        {
            return Err(RestoreError::Unknown(name.to_owned()));
        }
    }
    let server = registry
        .create_server(ServiceConfig::default(), &services)
        .map_err(|error| RestoreError::State { name: error.name, source: error.source })?;
    let pipe = PacketPipe::restored(server, state.input, state.output, services.len());
    Ok(Some((pipe, state.wait)))
}

struct State {
    input: Vec<u8>,
    output: Vec<u8>,
    names: Vec<String>,
    wait: Option<Wait>,
}

impl State {
    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut fields = Fields::new(bytes);
        if fields.u32()? != VERSION {
            return Err("the version is not supported");
        }
        let input = fields.bytes()?.to_vec();
        let largest = match input.first_chunk::<HEADER_SIZE>() {
            Some(&header) => {
                Header::decode(header).map_err(|_| "a packet's header is invalid")?.padded_size()
            }
            None => HEADER_SIZE,
        };
        if input.len() > largest {
            return Err("there is more than one unfinished packet");
        }
        let output = fields.bytes()?.to_vec();
        if output.len() > MAX_OUTPUT {
            return Err("there is too much for the program to receive");
        }
        let count = fields.u32()? as usize;
        if count > MAX_SERVICES {
            return Err("there are too many services");
        }
        let mut names: Vec<String> = Vec::with_capacity(count);
        for _ in 0..count {
            let name = std::str::from_utf8(fields.bytes()?).map_err(|_| "a name is not UTF-8")?;
            if !(1..=MAX_NAME_SIZE).contains(&name.len()) || names.iter().any(|other| other == name) {
                return Err("a service's name is too long, empty, or there twice");
            }
            names.push(name.to_owned());
        }
        let wait = match fields.u32()? {
            0 => None,
            1 => {
                let mut values = [0; 6];
                for value in &mut values {
                    *value = fields.u64()?;
                }
                let [key @ .., began] = values;
                Some(Wait { key, began })
            }
            _ => return Err("a truth value is neither 0 nor 1"),
        };
        fields.end()?;
        Ok(Self { input, output, names, wait })
    }
}
