//! Writing snapshots.

use super::encode::push_offset;
use super::observe::{check_values, exceptions, status};
use super::pieces::{self, Piece};
use super::plan::Plan;
use super::status::Progress;
use super::tables::Tables;
use super::trace::Trace;
use super::{Problem, ServiceState, SnapshotError, sections};
use crate::exceptions::Exceptions;
use crate::exit::Exit;
use crate::frames::Frames;
use crate::instance::Instance;
use crate::leb;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

/// How much is read from memories at a time, in bytes. It stays in the processor's cache.
const BUFFER_SIZE: usize = 64 << 10;

/// An instance that is being written down. See the [crate's documentation](crate).
///
/// What is to be written is known from the beginning, but for the contents of memories: these are read while they are
/// written.
#[derive(Debug)]
pub struct Snapshot<'a> {
    pub(super) instance: &'a Instance,
    pub(super) wasm: &'a [u8],
    pub(super) pieces: Vec<Piece>,
    pub(super) parts: Vec<Part<'a>>,
    pub(super) size: u64,
    pub(super) exceptions: Exceptions,
}

#[derive(Debug)]
pub(super) enum Part<'a> {
    /// A part of the original module.
    Module(Range<usize>),
    Bytes(Vec<u8>),
    Borrowed(&'a [u8]),
    /// Pieces of memory as active data segments.
    Segments(Range<usize>),
    /// Pieces of memory in a section of Gate's own.
    Pieces(Range<usize>),
    Frames(Arc<Frames>),
}

/// Where a program stopped.
#[derive(Debug)]
pub(super) enum Stack {
    /// It can go on.
    Frames(Arc<Frames>),
    /// It trapped.
    Trace(Trace),
}

/// A part of a snapshot for those who have the module.
#[derive(Debug)]
pub(super) enum Outline {
    /// A part of the original module.
    Module(Range<usize>),
    /// Something else.
    Bytes(Vec<u8>),
}

impl<'a> Snapshot<'a> {
    /// Finds out what is to be written. `wasm` is the module from which the instance's program was compiled.
    ///
    /// Fails if the instance is running, or if it is suspended and its frames are not known: then they have to be
    /// [exported](crate::Mutation::finish_export) first.
    pub fn new(
        instance: &'a Instance,
        wasm: &'a [u8],
        services: &'a [ServiceState],
    ) -> Result<Self, SnapshotError> {
        instance.check_idle()?;
        let pieces = pieces::find(instance.state(), instance.program())?;
        Self::with_pieces(instance, wasm, services, pieces)
    }

    /// Leaves memories out.
    pub(super) fn without_memory(
        instance: &'a Instance,
        wasm: &'a [u8],
        services: &'a [ServiceState],
    ) -> Result<Self, SnapshotError> {
        instance.check_idle()?;
        Self::with_pieces(instance, wasm, services, Vec::new())
    }

    fn with_pieces(
        instance: &'a Instance,
        wasm: &'a [u8],
        services: &'a [ServiceState],
        pieces: Vec<Piece>,
    ) -> Result<Self, SnapshotError> {
        let unfit = |problem| Err(SnapshotError::Unfit(problem));
        for (index, service) in services.iter().enumerate() {
            if services[..index].iter().any(|other| other.name == service.name) {
                return unfit(Problem::Service(service.name.clone()));
            }
        }
        let program = instance.program();
        let sections = sections::list(wasm)?;
        let globals = instance.region().globals()?;
        let info = program.info();
        check_values("global", &globals, info.globals.iter().map(|global| global.ty), info)?;
        let tables = Tables::read(program, instance.region())?;
        let frames = instance.frames();
        let mut status = status(instance, &globals, &tables, services.len() as u32)?;
        let frames = frames.filter(|_| matches!(status.progress, Progress::Suspended { .. }));
        let exceptions = exceptions(instance, &globals, &tables, frames.as_deref(), &mut status)?;
        let snapshot = Self { instance, wasm, pieces, parts: Vec::new(), size: 0, exceptions };
        let plan = Plan::new(snapshot);
        let stack = match status.progress {
            Progress::Suspended { .. } => frames.map(Stack::Frames),
            Progress::Ended(Exit::Trapped(_)) => Trace::new(&instance.backtrace()?).map(Stack::Trace),
            _ => None,
        };
        plan.finish(&sections, &globals, &tables, &status, stack, services)
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes all of it. The same state gives the same bytes.
    pub fn write(&self, mut out: impl Write) -> Result<(), SnapshotError> {
        self.parts
            .iter()
            .try_for_each(|part| self.write_part(part, &mut out))
            .and_then(|()| out.flush())
            .map_err(SnapshotError::Write)
    }

    /// The parts of which it consists: those that are parts of the module, and the bytes of the others.
    pub(super) fn outline(&self) -> Result<Vec<Outline>, SnapshotError> {
        let outline = self.parts.iter().map(|part| match part {
            Part::Module(range) => Ok(Outline::Module(range.clone())),
            part => {
                let mut bytes = Vec::new();
                self.write_part(part, &mut bytes).map_err(SnapshotError::Write)?;
                Ok(Outline::Bytes(bytes))
            }
        });
        outline.collect()
    }

    fn write_part(&self, part: &Part<'_>, out: &mut impl Write) -> io::Result<()> {
        match part {
            Part::Module(range) => out.write_all(&self.wasm[range.clone()]),
            Part::Bytes(bytes) => out.write_all(bytes),
            Part::Borrowed(bytes) => out.write_all(bytes),
            Part::Segments(range) => self.write_pieces(range.clone(), push_segment_header, out),
            Part::Pieces(range) => self.write_pieces(range.clone(), push_piece_header, out),
            Part::Frames(frames) => frames.write_stored(Some(&self.exceptions), out),
        }
    }

    fn write_pieces(
        &self,
        range: Range<usize>,
        push_header: fn(&mut Vec<u8>, &Piece),
        out: &mut impl Write,
    ) -> io::Result<()> {
        let state = self.instance.state();
        let mut buf = Vec::with_capacity(BUFFER_SIZE);
        for piece in &self.pieces[range] {
            push_header(&mut buf, piece);
            let (mut offset, end) = (piece.offset, piece.offset + piece.size);
            while offset < end {
                let start = buf.len();
                let part = (end - offset).min((BUFFER_SIZE.saturating_sub(start)).max(1) as u64);
                buf.resize(start + part as usize, 0);
                state.read_memory(piece.memory as usize, offset, &mut buf[start..])?;
                offset += part;
                if buf.len() >= BUFFER_SIZE {
                    out.write_all(&buf)?;
                    buf.clear();
                }
            }
        }
        out.write_all(&buf)
    }
}

/// Size of what is before a piece in a section.
pub(super) fn header_size(push_header: fn(&mut Vec<u8>, &Piece), piece: &Piece) -> u64 {
    let mut buf = Vec::with_capacity(24);
    push_header(&mut buf, piece);
    buf.len() as u64
}

/// Appends the beginning of an active data segment.
pub(super) fn push_segment_header(buf: &mut Vec<u8>, piece: &Piece) {
    match piece.memory {
        0 => buf.push(0),
        memory => {
            buf.push(2);
            leb::push(buf, memory.into());
        }
    }
    push_offset(buf, piece.offset, piece.is_64);
    leb::push(buf, piece.size);
}

/// Appends what is before a piece in a section of Gate's own.
pub(super) fn push_piece_header(buf: &mut Vec<u8>, piece: &Piece) {
    leb::push(buf, piece.memory.into());
    leb::push(buf, piece.offset);
    leb::push(buf, piece.size);
}
