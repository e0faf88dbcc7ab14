//! Reading the sections of a snapshot.

use super::edits::{Edits, Rebuilder};
use super::encode::{INITIALISED, LIMITS_64, LIMITS_MAX, REFERENCE, opcode, section, type_of_byte};
use super::pieces::Piece;
use super::read::{Memories, Restored, SnapshotLimits};
use super::source::Source;
use super::status::{Progress, Status};
use super::tables::{ElementPiece, MAX_ELEMENTS};
use super::trace::Trace;
use super::{
    EXCEPTIONS_SECTION, FEATURES_SECTION, HEADER, MEMORY_SECTION, Place, Problem, SERVICE_SECTION,
    SNAPSHOT_SECTION, SNAPSHOT_VERSION, STACK_SECTION, STATE_SECTION, ServiceState, SnapshotError,
    TRACE_SECTION,
};
use crate::error::ImageError;
use crate::exceptions::Exceptions;
use crate::exit::Exit;
use crate::leb::Cursor;
use crate::memfd::{self, Executable};
use gate_compiler::{Feature, Features, ValType, Value};
use gate_wire::load::{MAX_MEMORIES, STATE_FILE_STRIDE};
use gate_wire::{MAX_MEMORY64_SIZE, WASM_PAGE_SIZE};
use std::io::Read;

/// Longest name of a service, in bytes.
const MAX_NAME: u64 = 256;

/// Most tables that a snapshot has.
const MAX_TABLES: u32 = 100;

/// Most globals that a snapshot has.
const MAX_GLOBALS: u32 = 1_000_000;

/// Most parts of memories that are read. Only so many are written by far.
const MAX_PARTS: usize = 1_000_000;

/// Most services.
const MAX_SERVICES: usize = 1000;

/// Reads a snapshot, section by section.
pub(super) struct Reader<'a, R> {
    source: Source<R>,
    limits: &'a SnapshotLimits,
    hash: [u8; 32],
    element_count: u32,
    data_count: u32,
    /// Place of the last section that is not a custom one.
    rank: Option<u8>,
    /// Kind of the last of Gate's sections behind the module.
    last: Option<Kind>,
    globals: Vec<Value>,
    table_sizes: Vec<u32>,
    elements: Vec<ElementPiece>,
    memory: Memories,
    /// Whether each table's and each memory's addresses are 64-bit.
    tables_64: Vec<bool>,
    memories_64: Vec<bool>,
    features: Features,
    status: Option<Status>,
    exceptions: Exceptions,
    stack: Option<Vec<u8>>,
    trace: Option<Trace>,
    services: Vec<ServiceState>,
}

/// Gate's sections, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Features,
    Memory,
    State,
    Exceptions,
    Stack,
    Trace,
    Service,
}

impl<'a, R: Read> Reader<'a, R> {
    /// Reads as far as the first section.
    pub(super) fn new(mut source: Source<R>, limits: &'a SnapshotLimits) -> Result<Self, SnapshotError> {
        let not = |problem| SnapshotError::Invalid { section: Place::Outside, offset: 0, problem };
        if source.array::<8>().map_err(|error| beginning(error, Problem::Magic))? != HEADER {
            return Err(not(Problem::Magic));
        }
        let no_snapshot = |error| beginning(error, Problem::NotSnapshot);
        let (id, size) = (source.byte().map_err(no_snapshot)?, u64::from(source.u32().map_err(no_snapshot)?));
        source.begin_section(size, Place::Custom(SNAPSHOT_SECTION));
        let name_size = source.u32().map_err(no_snapshot)?;
        if id != section::CUSTOM || name_size as usize != SNAPSHOT_SECTION.len() {
            return Err(not(Problem::NotSnapshot));
        }
        if source.bytes(name_size.into()).map_err(no_snapshot)? != SNAPSHOT_SECTION.as_bytes() {
            return Err(not(Problem::NotSnapshot));
        }
        match source.u32()? {
            SNAPSHOT_VERSION => {}
            version => return Err(source.error(Problem::Version(version))),
        }
        let module_size = source.u64()?;
        limit(&source, "size of the module", module_size, limits.module_size)?;
        let hash = source.array()?;
        let (element_count, data_count) = (source.u32()?, source.u32()?);
        // What it inserts is part of the module.
        limit(&source, "size of the section", source.section_rest(), limits.module_size.saturating_mul(2))?;
        let edits = source.bytes(source.section_rest())?;
        let mut cursor = Cursor::new(&edits);
        let edits = Edits::decode(&mut cursor).filter(|_| cursor.rest().is_empty());
        let edits = edits.ok_or_else(|| source.error(Problem::Invalid("description of the module")))?;
        let rebuilder = Rebuilder::new(edits, module_size).map_err(|problem| source.error(problem))?;
        source.end_section()?;
        source.rebuilder = Some(rebuilder);
        let file = memfd::create("gate-state", Executable::No)?;
        Ok(Self {
            source,
            limits,
            hash,
            element_count,
            data_count,
            rank: None,
            last: None,
            globals: Vec::new(),
            table_sizes: Vec::new(),
            elements: Vec::new(),
            memory: Memories { file, sizes: Vec::new(), pieces: Vec::new() },
            tables_64: Vec::new(),
            memories_64: Vec::new(),
            features: Features::NONE,
            status: None,
            exceptions: Exceptions::default(),
            stack: None,
            trace: None,
            services: Vec::new(),
        })
    }

    /// Reads the rest.
    pub(super) fn read(mut self) -> Result<Restored, SnapshotError> {
        while !self.source.is_at_end()? {
            self.section()?;
        }
        let contradiction = |problem| Err(SnapshotError::Contradiction(problem));
        let module = match self.source.rebuilder.take() {
            Some(rebuilder) => rebuilder.finish(&self.hash).map_err(SnapshotError::Contradiction)?,
            None => return contradiction(Problem::Missing(SNAPSHOT_SECTION)),
        };
        let Some(status) = self.status else { return contradiction(Problem::Missing(STATE_SECTION)) };
        if self.services.len() as u64 != status.services.into() {
            let (what, expected) = ("number of services", status.services.into());
            return contradiction(Problem::Number { what, number: self.services.len() as u64, expected });
        }
        match (status.progress, &self.stack) {
            (Progress::Suspended { .. }, None) => return contradiction(Problem::Missing(STACK_SECTION)),
            (Progress::Suspended { .. }, Some(_)) | (_, None) => {}
            (_, Some(_)) => return contradiction(Problem::Section(STACK_SECTION.into())),
        }
        if self.trace.is_some() && !matches!(status.progress, Progress::Ended(Exit::Trapped(_))) {
            return contradiction(Problem::Section(TRACE_SECTION.into()));
        }
        Ok(Restored {
            module,
            features: self.features,
            status,
            services: self.services,
            exceptions: self.exceptions,
            stack: self.stack,
            trace: self.trace,
            globals: self.globals,
            table_sizes: self.table_sizes,
            elements: self.elements,
            memory: self.memory,
        })
    }

    fn section(&mut self) -> Result<(), SnapshotError> {
        let rebuilder = self.source.rebuilder.as_ref();
        let is_original = rebuilder.is_some_and(|rebuilder| rebuilder.copied() > 0);
        let is_behind = rebuilder.is_some_and(Rebuilder::is_at_end);
        let id = self.source.byte()?;
        let size = self.source.u32()?;
        if id != section::CUSTOM {
            let rank = section::rank(id);
            if rank.is_none() || rank <= self.rank {
                return Err(self.source.error(Problem::Order("module's")));
            }
            self.rank = rank;
        }
        self.source.begin_section(size.into(), Place::Section(id));
        match id {
            _ if is_original => self.source.skip(size.into())?,
            section::CUSTOM if is_behind => self.custom_section()?,
            _ if is_behind => return Err(self.source.error(Problem::Section(format!("number {id}")))),
            section::TABLE => self.table_section()?,
            section::MEMORY => self.memory_section()?,
            section::GLOBAL => self.global_section()?,
            section::ELEMENT => self.element_section()?,
            section::DATA_COUNT => self.source.skip(size.into())?,
            section::DATA => self.data_section()?,
            _ => return Err(self.source.error(Problem::Section(format!("number {id}")))),
        }
        self.source.end_section()
    }

    fn table_section(&mut self) -> Result<(), SnapshotError> {
        for _ in 0..self.count("number of tables", MAX_TABLES)? {
            let mut first = self.source.byte()?;
            let is_initialised = first == INITIALISED[0];
            if is_initialised {
                if self.source.byte()? != INITIALISED[1] {
                    return Err(self.source.error(Problem::Invalid("type of a table")));
                }
                first = self.source.byte()?;
            }
            if self.reference_type(first)?.is_none() {
                return Err(self.source.error(Problem::Invalid("type of a table")));
            }
            let (size, is_64) = self.limits_min()?;
            limit(&self.source, "size of a table", size, u32::MAX.into())?;
            if is_initialised {
                self.constant()?;
            }
            self.table_sizes.push(size as u32);
            self.tables_64.push(is_64);
        }
        Ok(())
    }

    fn memory_section(&mut self) -> Result<(), SnapshotError> {
        let mut total = 0;
        for _ in 0..self.count("number of memories", MAX_MEMORIES as u32)? {
            let (pages, is_64) = self.limits_min()?;
            let most = if is_64 { MAX_MEMORY64_SIZE / WASM_PAGE_SIZE } else { 1 << 16 };
            limit(&self.source, "size of a memory in pages", pages, most)?;
            self.memories_64.push(is_64);
            let size = pages * WASM_PAGE_SIZE;
            total += size;
            limit(&self.source, "size of all memories", total, self.limits.memory)?;
            self.memory.sizes.push(size);
        }
        let end = STATE_FILE_STRIDE * (self.memory.sizes.len() as u64 + 1);
        rustix::fs::ftruncate(&self.memory.file, end)
            .map_err(ImageError::system("set the size of a file in memory"))?;
        Ok(())
    }

    fn global_section(&mut self) -> Result<(), SnapshotError> {
        for _ in 0..self.count("number of globals", MAX_GLOBALS)? {
            let first = self.source.byte()?;
            let ty = self.reference_type(first)?.or(type_of_byte(first));
            let ty = ty.ok_or_else(|| self.source.error(Problem::Invalid("type of a global")))?;
            if self.source.byte()? > 1 {
                return Err(self.source.error(Problem::Invalid("mutability of a global")));
            }
            let value = self.constant()?;
            if value.ty() != ty {
                let index = self.globals.len() as u32;
                let (what, found, expected) = ("initial value of global", value.ty(), ty);
                return Err(self.source.error(Problem::Type { what, index, found, expected }));
            }
            self.globals.push(value);
        }
        Ok(())
    }

    fn element_section(&mut self) -> Result<(), SnapshotError> {
        let added = self.begin_segments(self.element_count)?;
        let mut total = 0;
        for _ in 0..added {
            match self.source.byte()? {
                3 => {
                    if self.source.byte()? != 0 {
                        return Err(self.source.error(Problem::Invalid("kind of elements")));
                    }
                    for _ in 0..self.source.u32()? {
                        self.source.u32()?;
                    }
                }
                6 => {
                    let piece = self.element_piece(&mut total)?;
                    self.elements.push(piece);
                }
                _ => return Err(self.source.error(Problem::Invalid("kind of an element segment"))),
            }
        }
        Ok(())
    }

    fn element_piece(&mut self, total: &mut u64) -> Result<ElementPiece, SnapshotError> {
        let table = self.source.u32()?;
        let is_64 = self.tables_64.get(table as usize).copied().unwrap_or_default();
        let start = self.offset_constant(is_64)?;
        let Ok(start) = u32::try_from(start) else {
            return Err(self.source.error(Problem::Invalid("offset of a segment")));
        };
        let first = self.source.byte()?;
        let Some(ty) = self.reference_type(first)? else {
            return Err(self.source.error(Problem::Invalid("type of elements")));
        };
        let count = self.source.u32()?;
        // A part without elements takes space, too.
        *total += u64::from(count.max(1));
        limit(&self.source, "number of table elements that changed", *total, MAX_ELEMENTS)?;
        let Some(&size) = self.table_sizes.get(table as usize) else {
            return Err(self.source.error(Problem::Invalid("table of an element segment")));
        };
        let end = u64::from(start) + u64::from(count);
        if end > size.into() {
            let (what, index, start, size) = ("elements of table", table, start.into(), size.into());
            return Err(self.source.error(Problem::Bounds { what, index, start, end, size }));
        }
        if let Some(last) = self.elements.last()
            && (last.table > table
                || last.table == table
                    && u64::from(start) < u64::from(last.start) + last.elements.len() as u64)
        {
            return Err(self.source.error(Problem::Overlap("a table")));
        }
        let mut elements = Vec::new();
        for _ in 0..count {
            let value = self.constant()?;
            if value.ty() != ty {
                return Err(self.source.error(Problem::Invalid("type of an element")));
            }
            elements.push(value.to_slot() as u32);
        }
        Ok(ElementPiece { table, start, elements })
    }

    fn data_section(&mut self) -> Result<(), SnapshotError> {
        for _ in 0..self.begin_segments(self.data_count)? {
            let memory = match self.source.byte()? {
                0 => 0,
                2 => self.source.u32()?,
                _ => return Err(self.source.error(Problem::Invalid("kind of a data segment"))),
            };
            let is_64 = self.memories_64.get(memory as usize).copied().unwrap_or_default();
            let offset = self.offset_constant(is_64)?;
            let size = self.source.u32()?;
            self.piece(Piece { memory, offset, size: size.into(), is_64 })?;
        }
        Ok(())
    }

    /// Passes over the module's own segments. Returns the number of those that follow.
    fn begin_segments(&mut self, original: u32) -> Result<u32, SnapshotError> {
        let count = self.source.u32()?;
        let own = self.source.rebuilder.as_ref().map_or(0, Rebuilder::copied);
        if own > self.source.section_rest() {
            return Err(self.source.error(Problem::SectionEnd));
        }
        self.source.skip(own)?;
        count.checked_sub(original).ok_or_else(|| {
            let (what, number, expected) = ("number of segments", count.into(), original.into());
            self.source.error(Problem::Number { what, number, expected })
        })
    }

    /// Takes contents of a memory to the file.
    fn piece(&mut self, piece: Piece) -> Result<(), SnapshotError> {
        let Piece { memory, offset, size, .. } = piece;
        let Some(&memory_size) = self.memory.sizes.get(memory as usize) else {
            return Err(self.source.error(Problem::Invalid("memory of a data segment")));
        };
        let end = offset.saturating_add(size);
        if end > memory_size {
            let (what, index, start, size) = ("data of memory", memory, offset, memory_size);
            return Err(self.source.error(Problem::Bounds { what, index, start, end, size }));
        }
        if let Some(last) = self.memory.pieces.last()
            && (last.memory > memory || last.memory == memory && offset < last.offset + last.size)
        {
            return Err(self.source.error(Problem::Overlap("a memory")));
        }
        let start = STATE_FILE_STRIDE * (u64::from(memory) + 1) + offset;
        let file = &self.memory.file;
        self.source.pass(size, |distance, bytes| {
            let written = memfd::write_all(file, bytes, start + distance);
            Ok(written.map_err(ImageError::system("write a memory"))?)
        })?;
        match self.memory.pieces.last_mut() {
            // What is adjacent is one, so that there are fewer of them.
            Some(last) if last.memory == memory && last.offset + last.size == offset => last.size += size,
            _ => {
                let number = self.memory.pieces.len() as u64 + 1;
                limit(&self.source, "number of parts of memories", number, MAX_PARTS as u64)?;
                self.memory.pieces.push(piece);
            }
        }
        Ok(())
    }

    fn custom_section(&mut self) -> Result<(), SnapshotError> {
        let name_size = self.source.u32()?;
        limit(&self.source, "size of a section's name", name_size.into(), MAX_NAME)?;
        let name = self.source.bytes(name_size.into())?;
        let (kind, name) = match &name[..] {
            name if name == FEATURES_SECTION.as_bytes() => (Kind::Features, FEATURES_SECTION),
            name if name == MEMORY_SECTION.as_bytes() => (Kind::Memory, MEMORY_SECTION),
            name if name == STATE_SECTION.as_bytes() => (Kind::State, STATE_SECTION),
            name if name == EXCEPTIONS_SECTION.as_bytes() => (Kind::Exceptions, EXCEPTIONS_SECTION),
            name if name == STACK_SECTION.as_bytes() => (Kind::Stack, STACK_SECTION),
            name if name == TRACE_SECTION.as_bytes() => (Kind::Trace, TRACE_SECTION),
            name if name == SERVICE_SECTION.as_bytes() => (Kind::Service, SERVICE_SECTION),
            name => {
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(self.source.error(Problem::Section(name)));
            }
        };
        self.source.set_place(Place::Custom(name));
        let repeatable = matches!(kind, Kind::Memory | Kind::Service);
        if self.last.is_some_and(|last| last > kind || last == kind && !repeatable) {
            return Err(self.source.error(Problem::Order(name)));
        }
        self.last = Some(kind);
        let size = self.source.section_rest();
        match kind {
            Kind::Features => self.features()?,
            Kind::Memory => {
                while self.source.section_rest() > 0 {
                    let (memory, offset, size) = (self.source.u32()?, self.source.u64()?, self.source.u64()?);
                    self.piece(Piece { memory, offset, size, is_64: false })?;
                }
            }
            Kind::State => {
                limit(&self.source, "size of the section", size, self.limits.stack_size)?;
                let bytes = self.source.bytes(size)?;
                let status = Status::decode(&bytes).map_err(|problem| self.source.error(problem))?;
                self.status = Some(status);
            }
            Kind::Exceptions => {
                limit(&self.source, "size of the section", size, self.limits.stack_size)?;
                let bytes = self.source.bytes(size)?;
                let exceptions = Exceptions::decode(&bytes);
                let invalid = || self.source.error(Problem::Invalid("exception"));
                self.exceptions = exceptions.ok_or_else(invalid)?;
            }
            Kind::Stack => {
                limit(&self.source, "size of the section", size, self.limits.stack_size)?;
                self.stack = Some(self.source.bytes(size)?);
            }
            Kind::Trace => {
                limit(&self.source, "size of the section", size, self.limits.stack_size)?;
                let bytes = self.source.bytes(size)?;
                let trace = Trace::decode(&bytes).map_err(|problem| self.source.error(problem))?;
                self.trace = Some(trace);
            }
            Kind::Service => {
                let number = self.services.len() as u64 + 1;
                limit(&self.source, "number of services", number, MAX_SERVICES as u64)?;
                let known: u64 = self.services.iter().map(|s| (s.name.len() + s.state.len()) as u64).sum();
                limit(
                    &self.source,
                    "size of the states of services",
                    known + size,
                    self.limits.services_size,
                )?;
                let name_size = self.source.u32()?;
                limit(&self.source, "size of a service's name", name_size.into(), MAX_NAME)?;
                let name = String::from_utf8(self.source.bytes(name_size.into())?)
                    .map_err(|_| self.source.error(Problem::Invalid("name of a service")))?;
                if self.services.iter().any(|service| service.name == name) {
                    return Err(self.source.error(Problem::Service(name)));
                }
                let state = self.source.bytes(self.source.section_rest())?;
                self.services.push(ServiceState { name, state });
            }
        }
        Ok(())
    }

    fn features(&mut self) -> Result<(), SnapshotError> {
        for _ in 0..self.source.u32()? {
            let size = self.source.u32()?;
            limit(&self.source, "size of a feature's name", size.into(), MAX_NAME)?;
            let name = self.source.bytes(size.into())?;
            let name = String::from_utf8_lossy(&name).into_owned();
            match Feature::from_name(&name) {
                Some(feature) => self.features.set(feature, true),
                None => return Err(self.source.error(Problem::Feature(name))),
            }
        }
        Ok(())
    }

    fn count(&mut self, what: &'static str, max: u32) -> Result<u32, SnapshotError> {
        let count = self.source.u32()?;
        limit(&self.source, what, count.into(), max.into())?;
        Ok(count)
    }

    /// The general type of a reference that begins with a byte. `None` if no such type does.
    fn reference_type(&mut self, first: u8) -> Result<Option<ValType>, SnapshotError> {
        if REFERENCE.contains(&first) {
            return self.heap_type().map(Some);
        }
        Ok(type_of_byte(first).filter(|ty| ty.as_reference().is_some()))
    }

    /// The general type of references to something.
    fn heap_type(&mut self) -> Result<ValType, SnapshotError> {
        // Not negative: the index of a type, which is one of functions. Else a byte, with its sign extended.
        match self.source.signed(33)? {
            0.. => Ok(ValType::FuncRef),
            byte => type_of_byte((byte & 0x7f) as u8)
                .filter(|ty| byte >= -64 && ty.as_reference().is_some())
                .ok_or_else(|| self.source.error(Problem::Invalid("type of a reference"))),
        }
    }

    /// The lower one of size bounds, and whether addresses are 64-bit.
    fn limits_min(&mut self) -> Result<(u64, bool), SnapshotError> {
        let flags = self.source.byte()?;
        if flags & !(LIMITS_MAX | LIMITS_64) != 0 {
            return Err(self.source.error(Problem::Invalid("size bounds")));
        }
        let is_64 = flags & LIMITS_64 != 0;
        let mut bound = || if is_64 { self.source.u64() } else { self.source.u32().map(u64::from) };
        let min = bound()?;
        if flags & LIMITS_MAX != 0 {
            bound()?;
        }
        Ok((min, is_64))
    }

    /// The offset of a segment in a table or memory.
    fn offset_constant(&mut self, is_64: bool) -> Result<u64, SnapshotError> {
        match self.constant()? {
            Value::I32(offset) if !is_64 => Ok(offset.cast_unsigned().into()),
            Value::I64(offset) if is_64 => Ok(offset.cast_unsigned()),
            _ => Err(self.source.error(Problem::Invalid("offset of a segment"))),
        }
    }

    /// A constant expression of one instruction.
    fn constant(&mut self) -> Result<Value, SnapshotError> {
        let opcode = self.source.byte()?;
        if opcode == opcode::REF_NULL {
            let value = Value::from_slot(self.heap_type()?, 0);
            return match self.source.byte()? {
                opcode::END => Ok(value),
                _ => Err(self.source.error(Problem::Invalid("constant"))),
            };
        }
        let source = &mut self.source;
        let value = match opcode {
            opcode::I32_CONST => Value::I32(source.signed(32)? as i32),
            opcode::I64_CONST => Value::I64(source.signed(64)?),
            opcode::F32_CONST => Value::F32(u32::from_le_bytes(source.array()?)),
            opcode::F64_CONST => Value::F64(u64::from_le_bytes(source.array()?)),
            opcode::REF_FUNC => match source.u32()? {
                u32::MAX => return Err(source.error(Problem::Invalid("function reference"))),
                function => Value::FuncRef(Some(function)),
            },
            opcode::SIMD if source.byte()? == opcode::V128_CONST => {
                Value::V128(u128::from_le_bytes(source.array()?))
            }
            _ => return Err(source.error(Problem::Invalid("constant"))),
        };
        match source.byte()? {
            opcode::END => Ok(value),
            _ => Err(source.error(Problem::Invalid("constant"))),
        }
    }
}

/// What is too short to be a snapshot is none.
fn beginning(error: SnapshotError, problem: Problem) -> SnapshotError {
    match error {
        SnapshotError::Read(_) | SnapshotError::Host(_) => error,
        _ => SnapshotError::Invalid { section: Place::Outside, offset: 0, problem },
    }
}

fn limit<R: Read>(
    source: &Source<R>,
    what: &'static str,
    number: u64,
    max: u64,
) -> Result<(), SnapshotError> {
    match number > max {
        true => Err(source.error(Problem::Limit { what, number, max })),
        false => Ok(()),
    }
}
