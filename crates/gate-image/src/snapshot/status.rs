//! Contents of the state section.

use super::Problem;
use crate::exit::Exit;
use crate::frames::{push_value, read_value};
use crate::instance::{CallOutcome, InstanceOptions, PendingCall};
use crate::leb::{self, Cursor};
use gate_compiler::Value;
use gate_wire::context::MAX_CALL_ARGS;
use gate_wire::trap::TrapId;

/// Most values of the host's that are read, of all tables and globals.
const MAX_REFERENCES: u32 = 10_000_000;

/// What an instance is doing, and all that is neither in memories, tables, globals nor frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) progress: Progress,
    /// The entry function: the one that is running, or has ended.
    pub(super) entry: Option<u32>,
    /// The entry function that the next run calls.
    pub(super) next_entry: Option<u32>,
    /// Arguments of the entry function that is yet to be called, or else results of the one that has returned.
    pub(super) values: Vec<Value>,
    /// Host call that is being made.
    pub(super) call: Option<PendingCall>,
    /// What the monotonic clock shows, in nanoseconds.
    pub(super) monotonic_time: u64,
    pub(super) options: InstanceOptions,
    /// Number of services that have a state.
    pub(super) services: u32,
    /// For each passive segment, of data and then of elements, whether it has been dropped.
    pub(super) dropped: Vec<bool>,
    /// Globals which refer to something of the host's.
    pub(super) global_references: Vec<(u32, u32)>,
    /// Table elements which refer to something of the host's: table, element, number.
    pub(super) table_references: Vec<(u32, u32, u32)>,
}

/// How far an instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing has run.
    Fresh,
    /// It is suspended. The flag says whether in the start function.
    Suspended { start: bool },
    /// It has ended.
    Ended(Exit),
}

impl Status {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut buf = Vec::new();
        match self.progress {
            Progress::Fresh => buf.push(0),
            Progress::Suspended { start: false } => buf.push(1),
            Progress::Suspended { start: true } => buf.push(2),
            Progress::Ended(Exit::Returned) => buf.push(3),
            Progress::Ended(Exit::Terminated { code }) => {
                buf.push(4);
                leb::push(&mut buf, code.into());
            }
            Progress::Ended(Exit::Trapped(trap)) => {
                buf.push(5);
                leb::push(&mut buf, trap as u64);
            }
            Progress::Ended(Exit::None | Exit::Frozen) => buf.push(6),
        }
        push_option(&mut buf, self.entry.map(u64::from));
        push_option(&mut buf, self.next_entry.map(u64::from));
        leb::push(&mut buf, self.values.len() as u64);
        for &value in &self.values {
            push_value(&mut buf, value);
        }
        match &self.call {
            None => buf.push(0),
            Some(call) => {
                let (kind, result) = match call.reply {
                    None => (1, 0),
                    Some(CallOutcome::Returned(value)) => (2, value),
                    Some(CallOutcome::Refused(trap)) => (3, trap.into()),
                };
                buf.push(kind);
                leb::push(&mut buf, call.function.into());
                leb::push(&mut buf, result);
                leb::push(&mut buf, call.args.len() as u64);
                for arg in call.args {
                    leb::push(&mut buf, arg);
                }
            }
        }
        leb::push(&mut buf, self.monotonic_time);
        leb::push(&mut buf, self.options.stack_size);
        push_option(&mut buf, self.options.max_memory);
        leb::push(&mut buf, self.services.into());
        leb::push(&mut buf, self.dropped.len() as u64);
        buf.extend(self.dropped.iter().map(|&dropped| u8::from(dropped)));
        leb::push(&mut buf, self.global_references.len() as u64);
        for &(global, number) in &self.global_references {
            leb::push(&mut buf, global.into());
            leb::push(&mut buf, number.into());
        }
        leb::push(&mut buf, self.table_references.len() as u64);
        for &(table, element, number) in &self.table_references {
            leb::push(&mut buf, table.into());
            leb::push(&mut buf, element.into());
            leb::push(&mut buf, number.into());
        }
        buf
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Problem> {
        let mut input = Input { cursor: Cursor::new(bytes) };
        let progress = match input.byte("progress")? {
            0 => Progress::Fresh,
            1 => Progress::Suspended { start: false },
            2 => Progress::Suspended { start: true },
            3 => Progress::Ended(Exit::Returned),
            4 => Progress::Ended(Exit::Terminated { code: input.u32("exit code")? }),
            5 => Progress::Ended(Exit::Trapped(match TrapId::from_number(input.u32("trap")?) {
                None | Some(TrapId::Exit | TrapId::Suspended | TrapId::Killed) => {
                    return Err(Problem::Invalid("trap"));
                }
                Some(trap) => trap,
            })),
            6 => Progress::Ended(Exit::None),
            _ => return Err(Problem::Invalid("progress")),
        };
        let entry = input.function()?;
        let next_entry = input.function()?;
        let count = input.count("number of values", 100_000)?;
        let values = (0..count).map(|_| read_value(&mut input.cursor).ok_or(Problem::Invalid("value")));
        let values = values.collect::<Result<_, _>>()?;
        let call = input.call()?;
        let monotonic_time = input.u64("clock")?;
        let stack_size = input.u64("stack size")?;
        let options = InstanceOptions { stack_size, max_memory: input.option("memory limit")? };
        let services = input.u32("number of services")?;
        let count = input.count("number of segments", 1_000_000)? as usize;
        let dropped = input.cursor.take(count).ok_or(Problem::SectionEnd)?;
        if dropped.iter().any(|&byte| byte > 1) {
            return Err(Problem::Invalid("segment"));
        }
        let dropped = dropped.iter().map(|&byte| byte == 1).collect();
        let global_references = (0..input.count("number of references", MAX_REFERENCES)?)
            .map(|_| Ok((input.u32("reference")?, input.reference()?)))
            .collect::<Result<_, _>>()?;
        let table_references = (0..input.count("number of references", MAX_REFERENCES)?)
            .map(|_| Ok((input.u32("reference")?, input.u32("reference")?, input.reference()?)))
            .collect::<Result<_, _>>()?;
        match input.cursor.rest().len() {
            0 => {}
            rest => return Err(Problem::SectionRest(rest as u64)),
        }
        Ok(Self {
            progress,
            entry,
            next_entry,
            values,
            call,
            monotonic_time,
            options,
            services,
            dropped,
            global_references,
            table_references,
        })
    }
}

fn push_option(buf: &mut Vec<u8>, value: Option<u64>) {
    buf.push(value.is_some().into());
    if let Some(value) = value {
        leb::push(buf, value);
    }
}

struct Input<'a> {
    cursor: Cursor<'a>,
}

impl Input<'_> {
    fn byte(&mut self, what: &'static str) -> Result<u8, Problem> {
        self.cursor.byte().ok_or(Problem::Invalid(what))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Problem> {
        self.cursor.u32().ok_or(Problem::Invalid(what))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, Problem> {
        self.cursor.u64().ok_or(Problem::Invalid(what))
    }

    fn count(&mut self, what: &'static str, max: u32) -> Result<u32, Problem> {
        match self.u32(what)? {
            number if number > max => Err(Problem::Limit { what, number: number.into(), max: max.into() }),
            number => Ok(number),
        }
    }

    fn option(&mut self, what: &'static str) -> Result<Option<u64>, Problem> {
        match self.byte(what)? {
            0 => Ok(None),
            1 => self.u64(what).map(Some),
            _ => Err(Problem::Invalid(what)),
        }
    }

    fn function(&mut self) -> Result<Option<u32>, Problem> {
        let function = self.option("entry function")?.map(u32::try_from);
        function.transpose().map_err(|_| Problem::Invalid("entry function"))
    }

    /// Zero is for null, which is no reference.
    fn reference(&mut self) -> Result<u32, Problem> {
        match self.u32("reference")? {
            u32::MAX => Err(Problem::Invalid("reference")),
            number => Ok(number),
        }
    }

    fn call(&mut self) -> Result<Option<PendingCall>, Problem> {
        let kind = self.byte("host call")?;
        if kind == 0 {
            return Ok(None);
        }
        let function = self.u32("host call")?;
        let result = self.u64("host call")?;
        let reply = match kind {
            1 => None,
            2 => Some(CallOutcome::Returned(result)),
            3 => match TrapId::from_number(result.try_into().unwrap_or(u32::MAX)) {
                Some(trap) if trap != TrapId::Exit => Some(CallOutcome::Refused(trap as u32)),
                _ => return Err(Problem::Invalid("host call")),
            },
            _ => return Err(Problem::Invalid("host call")),
        };
        if kind == 1 && result != 0 {
            return Err(Problem::Invalid("host call"));
        }
        let mut args = [0; MAX_CALL_ARGS];
        let number = self.u32("host call")?;
        if number as usize > args.len() {
            let (what, number, max) = ("number of arguments", number.into(), args.len() as u64);
            return Err(Problem::Limit { what, number, max });
        }
        for arg in &mut args[..number as usize] {
            *arg = self.u64("host call")?;
        }
        Ok(Some(PendingCall { function, args, reply }))
    }
}
