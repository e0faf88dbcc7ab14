//! What a snapshot consists of.

use super::edits::Edits;
use super::encode::{
    INITIALISED, LIMITS_64, LIMITS_MAX, REFERENCE, opcode, push_constant, push_custom_header, push_limits,
    push_offset, push_section, push_type, push_typed_constant, section,
};
use super::pieces::Piece;
use super::sections::Section;
use super::status::{Progress, Status};
use super::tables::{ElementPiece, Tables};
use super::write::{Part, Snapshot, Stack, header_size, push_piece_header, push_segment_header};
use super::{
    EXCEPTIONS_SECTION, FEATURES_SECTION, HEADER, MAX_MEMORY_SECTION, MEMORY_SECTION, Problem,
    SERVICE_SECTION, SNAPSHOT_SECTION, SNAPSHOT_VERSION, STACK_SECTION, STATE_SECTION, ServiceState,
    SnapshotError, TRACE_SECTION, overlay,
};
use crate::leb::{self, Cursor};
use gate_compiler::{TableInfo, ValType, Value};
use gate_wire::WASM_PAGE_SIZE;
use std::io::{self, Write};
use std::ops::Range;

/// How many segments WebAssembly engines accept in a section.
const MAX_SEGMENTS: usize = 100_000;

/// Puts a snapshot together.
pub(super) struct Plan<'a> {
    snapshot: Snapshot<'a>,
    edits: Edits,
    /// Number of the original module's element segments.
    element_count: u32,
    /// Number of the original module's data segments.
    data_count: u32,
    /// What comes now is behind the last of the module.
    behind: bool,
}

impl<'a> Plan<'a> {
    /// Begins with a snapshot that has no parts.
    pub(super) fn new(snapshot: Snapshot<'a>) -> Self {
        Self { snapshot, edits: Edits::default(), element_count: 0, data_count: 0, behind: false }
    }

    /// Adds all parts.
    pub(super) fn finish(
        mut self,
        sections: &[Section],
        globals: &[Value],
        tables: &Tables,
        status: &Status,
        stack: Option<Stack>,
        services: &'a [ServiceState],
    ) -> Result<Snapshot<'a>, SnapshotError> {
        let new_elements = self.element_segments(globals, tables);
        let original_data = sections.iter().find(|s| s.id == section::DATA);
        self.data_count = original_data.map_or(Ok(0), |s| self.count(s))?;
        let taken = original_data.map_or(0, |s| s.contents.len());
        let segments = self.fitting_segments(taken as u64);

        let mut missing = Vec::new();
        for (id, needed) in [(section::ELEMENT, new_elements.1 > 0), (section::DATA, segments > 0)] {
            if needed && sections.iter().all(|s| s.id != id) {
                missing.push(id);
            }
        }
        missing.reverse();
        let last = sections.iter().rposition(|s| s.id != section::CUSTOM);
        for (index, s) in sections.iter().enumerate() {
            while let Some(&id) = missing.last()
                && section::rank(s.id).is_some_and(|rank| section::rank(id) < Some(rank))
            {
                missing.pop();
                self.segment_section(id, None, &new_elements, segments)?;
            }
            match s.id {
                section::TABLE => self.table_section(s, tables)?,
                section::MEMORY => self.memory_section(s)?,
                section::GLOBAL => self.global_section(s, globals),
                section::START if status.progress != Progress::Fresh => {
                    self.replace(s.range.clone(), Vec::new())
                }
                section::DATA_COUNT => {
                    let mut buf = Vec::new();
                    let mut contents = Vec::new();
                    leb::push(&mut contents, u64::from(self.data_count) + segments as u64);
                    push_section(&mut buf, s.id, &contents);
                    self.replace(s.range.clone(), buf);
                }
                section::ELEMENT if new_elements.1 > 0 => {
                    self.segment_section(s.id, Some(s), &new_elements, segments)?;
                }
                section::DATA if segments > 0 => {
                    self.segment_section(s.id, Some(s), &new_elements, segments)?;
                }
                section::ELEMENT => {
                    self.element_count = self.count(s)?;
                    self.copy(s.range.clone());
                }
                _ => self.copy(s.range.clone()),
            }
            if last == Some(index) {
                while let Some(id) = missing.pop() {
                    self.segment_section(id, None, &new_elements, segments)?;
                }
            }
        }
        while let Some(id) = missing.pop() {
            self.segment_section(id, None, &new_elements, segments)?;
        }

        self.behind = true;
        self.features_section();
        self.memory_sections(segments)?;
        self.custom_section(STATE_SECTION, status.encode());
        if self.snapshot.exceptions.len() > 0 {
            let contents = self.snapshot.exceptions.encode();
            self.custom_section(EXCEPTIONS_SECTION, contents);
        }
        match stack {
            Some(Stack::Frames(frames)) => {
                let mut counter = Counter::default();
                frames
                    .write_stored(Some(&self.snapshot.exceptions), &mut counter)
                    .map_err(SnapshotError::Write)?;
                self.custom_header(STACK_SECTION, counter.0)?;
                self.push(Part::Frames(frames), counter.0);
            }
            Some(Stack::Trace(trace)) => self.custom_section(TRACE_SECTION, trace.encode()),
            None => {}
        }
        for service in services {
            let mut name = Vec::new();
            leb::push(&mut name, service.name.len() as u64);
            name.extend_from_slice(service.name.as_bytes());
            self.custom_header(SERVICE_SECTION, (name.len() + service.state.len()) as u64)?;
            self.bytes(name);
            self.push(Part::Borrowed(&service.state), service.state.len() as u64);
        }
        Ok(self.with_first_section())
    }

    /// Puts the section to the front which tells how to make the module again.
    fn with_first_section(mut self) -> Snapshot<'a> {
        let wasm = self.snapshot.wasm;
        let mut contents = Vec::new();
        leb::push(&mut contents, SNAPSHOT_VERSION.into());
        leb::push(&mut contents, wasm.len() as u64);
        contents.extend_from_slice(blake3::hash(wasm).as_bytes());
        leb::push(&mut contents, self.element_count.into());
        leb::push(&mut contents, self.data_count.into());
        self.edits.encode(&mut contents);
        let mut first = HEADER.to_vec();
        push_custom_header(&mut first, SNAPSHOT_SECTION, contents.len() as u64);
        first.extend(contents);
        self.snapshot.size += first.len() as u64;
        self.snapshot.parts.insert(0, Part::Bytes(first));
        self.snapshot
    }

    fn table_section(&mut self, s: &Section, tables: &Tables) -> Result<(), SnapshotError> {
        let invalid = || SnapshotError::Unfit(Problem::Invalid("table section of the module"));
        let mut cursor = Cursor::new(&self.snapshot.wasm[s.contents.clone()]);
        let count = cursor.u32().ok_or_else(invalid)?;
        let mut contents = Vec::new();
        leb::push(&mut contents, count.into());
        let info = self.snapshot.instance.program().info();
        for (&size, table) in tables.sizes.iter().zip(&info.tables) {
            let mut first = cursor.byte().ok_or_else(invalid)?;
            let is_initialised = first == INITIALISED[0];
            if is_initialised {
                cursor.byte().ok_or_else(invalid)?;
                first = cursor.byte().ok_or_else(invalid)?;
            }
            if REFERENCE.contains(&first) {
                skip_number(&mut cursor).ok_or_else(invalid)?;
            }
            let flags = cursor.byte().ok_or_else(invalid)?;
            if flags & !(LIMITS_MAX | LIMITS_64) != 0 {
                return Err(invalid());
            }
            cursor.u64().ok_or_else(invalid)?;
            let max = match flags & LIMITS_MAX {
                0 => None,
                _ => Some(cursor.u64().ok_or_else(invalid)?),
            };
            if is_initialised {
                skip_constant(&mut cursor).ok_or_else(invalid)?;
            }
            if table.initial != 0 {
                contents.extend(INITIALISED);
            }
            push_type(&mut contents, table.ty, info);
            push_limits(&mut contents, size.into(), max, flags & LIMITS_64 != 0);
            if table.initial != 0 {
                push_constant(&mut contents, Value::from_slot(table.ty, table.initial.into()));
            }
        }
        if count as usize != tables.sizes.len() || !cursor.rest().is_empty() {
            return Err(invalid());
        }
        let mut buf = Vec::new();
        push_section(&mut buf, s.id, &contents);
        self.replace(s.range.clone(), buf);
        Ok(())
    }

    fn memory_section(&mut self, s: &Section) -> Result<(), SnapshotError> {
        let instance = self.snapshot.instance;
        let memories = &instance.program().info().memories;
        let mut contents = Vec::new();
        leb::push(&mut contents, memories.len() as u64);
        for (memory, map) in memories.iter().zip(instance.memory_maps()?) {
            push_limits(&mut contents, map.size / WASM_PAGE_SIZE, memory.max_pages, memory.memory64);
        }
        let mut buf = Vec::new();
        push_section(&mut buf, s.id, &contents);
        self.replace(s.range.clone(), buf);
        Ok(())
    }

    fn global_section(&mut self, s: &Section, values: &[Value]) {
        let mut contents = Vec::new();
        leb::push(&mut contents, values.len() as u64);
        let info = self.snapshot.instance.program().info();
        for (global, &value) in info.globals.iter().zip(values) {
            push_type(&mut contents, global.ty, info);
            contents.push(global.mutable.into());
            push_typed_constant(&mut contents, value, global.ty, info);
        }
        let mut buf = Vec::new();
        push_section(&mut buf, s.id, &contents);
        self.replace(s.range.clone(), buf);
    }

    /// Element segments to be added: their bytes, and how many.
    fn element_segments(&self, globals: &[Value], tables: &Tables) -> (Vec<u8>, u32) {
        let info = self.snapshot.instance.program().info();
        let mut buf = Vec::new();
        let mut count = 0;
        for ElementPiece { table, start, elements } in &tables.pieces {
            let TableInfo { ty, table64, .. } = info.tables[*table as usize];
            buf.push(6);
            leb::push(&mut buf, (*table).into());
            push_offset(&mut buf, (*start).into(), table64);
            push_type(&mut buf, ty, info);
            leb::push(&mut buf, elements.len() as u64);
            for &element in elements {
                push_typed_constant(&mut buf, Value::from_slot(ty, element.into()), ty, info);
            }
            count += 1;
        }
        let declared = self.undeclared_functions(globals);
        if !declared.is_empty() {
            buf.extend([3, 0]);
            leb::push(&mut buf, declared.len() as u64);
            for function in declared {
                leb::push(&mut buf, function.into());
            }
            count += 1;
        }
        (buf, count)
    }

    /// Functions which initial values of globals referred to, and now don't. That may have been what allows instructions
    /// to refer to them.
    fn undeclared_functions(&self, globals: &[Value]) -> Vec<u32> {
        let program = self.snapshot.instance.program();
        let info = program.info();
        let mut functions = Vec::new();
        for (global, &value) in info.globals.iter().zip(globals) {
            if global.ty.general() == ValType::FuncRef {
                let mut slot = [0; 16];
                let offset = info.layout.instance_size - global.distance;
                let size = global.ty.slot_size() as usize;
                overlay(&program.template().instance, offset.into(), &mut slot[..size]);
                let initial = Value::from_slot(global.ty, u128::from_le_bytes(slot));
                if let Value::FuncRef(Some(function)) = initial
                    && initial != value
                {
                    functions.push(function);
                }
            }
        }
        functions.sort_unstable();
        functions.dedup();
        functions
    }

    /// How many of the pieces become data segments, if the original ones take so much.
    fn fitting_segments(&self, taken: u64) -> usize {
        let most = MAX_SEGMENTS.saturating_sub(self.data_count as usize);
        let mut size = taken;
        let fits = |piece: &&Piece| {
            size += header_size(push_segment_header, piece) + piece.size;
            size <= MAX_MEMORY_SECTION
        };
        self.snapshot.pieces.iter().take(most).take_while(fits).count()
    }

    /// Adds to a section of segments, or makes one.
    fn segment_section(
        &mut self,
        id: u8,
        original: Option<&Section>,
        (elements, element_count): &(Vec<u8>, u32),
        segments: usize,
    ) -> Result<(), SnapshotError> {
        let (new_count, new_size) = match id {
            section::ELEMENT => (u64::from(*element_count), elements.len() as u64),
            _ => (segments as u64, self.pieces_size(0..segments, push_segment_header)),
        };
        let (mut count, mut head, mut rest) = (0, 0..0, 0..0);
        if let Some(s) = original {
            count = self.count(s)?;
            let mut cursor = Cursor::new(&self.snapshot.wasm[s.contents.clone()]);
            cursor.u32();
            rest = s.contents.end - cursor.rest().len()..s.contents.end;
            head = s.range.start..rest.start;
        }
        if id == section::ELEMENT {
            self.element_count = count;
        }
        let count = u64::from(count) + new_count;
        let mut header = vec![id];
        let size = leb::size(count) as u64 + rest.len() as u64 + new_size;
        leb::push(&mut header, section_size(size)?);
        leb::push(&mut header, count);
        self.replace(head, header);
        self.copy(rest);
        match id {
            section::ELEMENT => self.bytes(elements.clone()),
            _ => self.push(Part::Segments(0..segments), new_size),
        }
        Ok(())
    }

    /// Says what the module uses beyond WebAssembly 2.0.
    fn features_section(&mut self) {
        let features: Vec<_> = self.snapshot.instance.program().info().features.iter().collect();
        if features.is_empty() {
            return;
        }
        let mut contents = Vec::new();
        leb::push(&mut contents, features.len() as u64);
        for feature in features {
            leb::push(&mut contents, feature.name().len() as u64);
            contents.extend_from_slice(feature.name().as_bytes());
        }
        self.custom_section(FEATURES_SECTION, contents);
    }

    /// Puts the remaining pieces into sections of Gate's own.
    fn memory_sections(&mut self, mut start: usize) -> Result<(), SnapshotError> {
        while start < self.snapshot.pieces.len() {
            let mut size = 0;
            let fits = |piece: &&Piece| {
                size += header_size(push_piece_header, piece) + piece.size;
                size <= MAX_MEMORY_SECTION
            };
            let count = self.snapshot.pieces[start..].iter().take_while(fits).count().max(1);
            let range = start..start + count;
            let size = self.pieces_size(range.clone(), push_piece_header);
            self.custom_header(MEMORY_SECTION, size)?;
            self.push(Part::Pieces(range), size);
            start += count;
        }
        Ok(())
    }

    fn pieces_size(&self, range: Range<usize>, push_header: fn(&mut Vec<u8>, &Piece)) -> u64 {
        self.snapshot.pieces[range].iter().map(|piece| header_size(push_header, piece) + piece.size).sum()
    }

    fn custom_section(&mut self, name: &str, contents: Vec<u8>) {
        let mut buf = Vec::new();
        push_custom_header(&mut buf, name, contents.len() as u64);
        buf.extend(contents);
        self.bytes(buf);
    }

    fn custom_header(&mut self, name: &str, size: u64) -> Result<(), SnapshotError> {
        section_size(size + name.len() as u64 + leb::MAX_U32_SIZE as u64)?;
        let mut buf = Vec::new();
        push_custom_header(&mut buf, name, size);
        self.bytes(buf);
        Ok(())
    }

    /// Number of entries of a section.
    fn count(&self, s: &Section) -> Result<u32, SnapshotError> {
        let invalid = SnapshotError::Unfit(Problem::Invalid("section of the module"));
        Cursor::new(&self.snapshot.wasm[s.contents.clone()]).u32().ok_or(invalid)
    }

    fn copy(&mut self, range: Range<usize>) {
        self.edits.copy(range.len() as u64);
        self.snapshot.size += range.len() as u64;
        self.snapshot.parts.push(Part::Module(range));
    }

    fn replace(&mut self, range: Range<usize>, bytes: Vec<u8>) {
        self.edits.replace(bytes.len() as u64, &self.snapshot.wasm[range]);
        self.snapshot.size += bytes.len() as u64;
        self.snapshot.parts.push(Part::Bytes(bytes));
    }

    fn bytes(&mut self, bytes: Vec<u8>) {
        let size = bytes.len() as u64;
        self.push(Part::Bytes(bytes), size);
    }

    fn push(&mut self, part: Part<'a>, size: u64) {
        if !self.behind {
            self.edits.replace(size, &[]);
        }
        self.snapshot.size += size;
        self.snapshot.parts.push(part);
    }
}

/// Passes over an integer of any size.
fn skip_number(cursor: &mut Cursor<'_>) -> Option<()> {
    while cursor.byte()? & 0x80 != 0 {}
    Some(())
}

/// Passes over a constant expression for a reference.
fn skip_constant(cursor: &mut Cursor<'_>) -> Option<()> {
    loop {
        match cursor.byte()? {
            opcode::END => return Some(()),
            opcode::REF_FUNC | opcode::REF_NULL | opcode::GLOBAL_GET => skip_number(cursor)?,
            _ => return None,
        }
    }
}

/// The size of a section, which is a 32-bit number.
fn section_size(size: u64) -> Result<u64, SnapshotError> {
    match u32::try_from(size) {
        Ok(_) => Ok(size),
        Err(_) => {
            let (what, max) = ("size of a section", u32::MAX.into());
            Err(SnapshotError::Unfit(Problem::Limit { what, number: size, max }))
        }
    }
}

/// Counts what is written.
#[derive(Default)]
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0 += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
