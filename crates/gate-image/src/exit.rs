//! How the program ended.

use crate::placement::Placement;
use crate::program::Program;
use crate::state::State;
use gate_wire::context::{ExitKind, ExitRecord};
use gate_wire::record::{Reader, Writer};
use gate_wire::trap::TrapId;
use gate_wire::{MEMORY_RESERVATION, PAGE_SIZE, context_offset};
use rustix::io::Errno;

/// How an instance's last run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did not end by itself: it is still running, or was killed, or has never run.
    None,
    /// The entry function returned.
    Returned,
    /// The program asked for its termination.
    Terminated {
        /// Exit code.
        code: u32,
    },
    /// The program did what is not allowed.
    Trapped(TrapId),
    /// The program was suspended, and its stack is in the state file.
    Frozen,
}

/// The process left an exit record which compiled code and rt do not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidExit {
    /// The record does not exist.
    #[error("exit record of unknown kind {0}")]
    Kind(u32),
    /// There is no such trap.
    #[error("exit record with unknown trap {0}")]
    Trap(u32),
    /// The processor stopped the program where nothing can go wrong.
    #[error("signal {signal} at text offset {text_offset:#x}, data address {addr:#x}")]
    Fault {
        /// Signal number.
        signal: u32,
        /// Where in the text, or beyond.
        text_offset: u64,
        /// Data address.
        addr: u64,
    },
    /// The maps of the program, which tell what the fault means, cannot be had.
    #[error("the program's maps are damaged")]
    Maps,
}

/// Linux's number on every architecture.
const SIGSEGV: u32 = 11;

/// Reads the exit record.
pub(crate) fn read_record(state: &State) -> Result<ExitRecord, Errno> {
    let mut buf = [0; size_of::<ExitRecord>()];
    state.read(state.context_field(context_offset!(exit)), &mut buf)?;
    let mut r = Reader::new(&buf);
    let mut u32 = || r.u32().unwrap_or_default();
    let (kind, value) = (u32(), u32());
    let mut u64 = || r.u64().unwrap_or_default();
    Ok(ExitRecord { kind, value, pc: u64(), fp: u64(), addr: u64(), sp: u64() })
}

/// Makes up an exit record of an instance which is not frozen, without what only means something beside its text.
pub(crate) fn write_record(state: &State, exit: Exit) -> Result<(), Errno> {
    let (kind, value) = match exit {
        Exit::None | Exit::Frozen => (ExitKind::None, 0),
        Exit::Returned => (ExitKind::Returned, 0),
        Exit::Terminated { code } => (ExitKind::Terminated, code),
        Exit::Trapped(trap) => (ExitKind::Trapped, trap as u32),
    };
    let mut buf = [0; size_of::<ExitRecord>()];
    Writer::new(&mut buf).u32(kind as u32).u32(value);
    state.write(state.context_field(context_offset!(exit)), &buf)
}

/// Makes sense of an exit record.
pub(crate) fn interpret(
    record: &ExitRecord,
    program: &Program,
    state: &State,
    placement: &Placement,
) -> Result<Exit, InvalidExit> {
    Ok(match ExitKind::from_number(record.kind).ok_or(InvalidExit::Kind(record.kind))? {
        ExitKind::None => Exit::None,
        ExitKind::Returned => Exit::Returned,
        ExitKind::Terminated => Exit::Terminated { code: record.value },
        ExitKind::Frozen => Exit::Frozen,
        ExitKind::Trapped => match TrapId::from_number(record.value) {
            // These are the host's to tell.
            None | Some(TrapId::Exit | TrapId::Suspended | TrapId::Killed) => {
                return Err(InvalidExit::Trap(record.value));
            }
            Some(trap) => Exit::Trapped(trap),
        },
        ExitKind::Faulted => Exit::Trapped(explain_fault(record, program, state, placement)?),
    })
}

fn explain_fault(
    record: &ExitRecord,
    program: &Program,
    state: &State,
    placement: &Placement,
) -> Result<TrapId, InvalidExit> {
    let text_offset = record.pc.wrapping_sub(placement.text_addr);
    let unexplained = InvalidExit::Fault { signal: record.value, text_offset, addr: record.addr };
    if text_offset >= program.text_size() {
        return Err(unexplained);
    }
    if record.value == SIGSEGV {
        let memories = placement.state_addr + state.stack_size + state.instance_size;
        let reserved = MEMORY_RESERVATION * state.memories.len() as u64;
        if (memories..memories + reserved).contains(&record.addr) {
            return Ok(TrapId::MemoryAccessOutOfBounds);
        }
        if (placement.state_addr.saturating_sub(PAGE_SIZE)..placement.state_addr).contains(&record.addr) {
            return Ok(TrapId::CallStackExhausted);
        }
    }
    let traps = &program.maps().map_err(|_| InvalidExit::Maps)?.traps;
    traps
        .binary_search_by_key(&text_offset, |site| site.text_offset.into())
        .ok()
        .and_then(|index| TrapId::from_number(traps[index].trap.into()))
        .ok_or(unexplained)
}
