//! Reads the sections of a module.

use super::{Body, DataSegment, ElementSegment, Global, Memory, Module, SegmentMode, Table};
use super::{names, wasm_features};
use crate::compiled::{Export, ExportKind};
use crate::const_expr::{self, Const};
use crate::error::{CompileError, ErrorKind};
use crate::features::Features;
use crate::imports::{ImportProblem, ImportResolver, takes_addresses};
use crate::options::{Limits, Options};
use crate::value::{FuncType, ValType};
use gate_wire::context::MAX_CALL_ARGS;
use gate_wire::packet::MAX_PACKET_SIZE;
use gate_wire::{MAX_MEMORY64_SIZE, WASM_PAGE_SIZE};
use std::collections::HashMap;
use wasmparser::{
    Chunk, DataKind, ElementItems, ElementKind, ExternalKind, FunctionBody, Import, Parser, Payload,
    SectionLimited, TableInit, TypeRef, ValidPayload, Validator, WasmFeatures,
};

type Result<T> = std::result::Result<T, CompileError>;

pub(super) fn parse<'a>(
    wasm: &'a [u8],
    options: &Options,
    imports: &dyn ImportResolver,
) -> Result<Module<'a>> {
    let limits = options.limits;
    // Offsets in a module are 32-bit numbers in maps and frames.
    let module_size = limits.module_size.min(u32::MAX as usize - 1);
    check("size of the module", wasm.len() as u64, module_size as u64, None)?;

    let features = wasm_features(options.features);
    let mut validator = Validator::new_with_features(features);
    let mut parser = Parser::new(0);
    parser.set_features(features);
    // Only with these does the validator give the same identifier to equal types.
    let identified = features.intersects(WasmFeatures::FUNCTION_REFERENCES | WasmFeatures::GC);
    let numbers = (!identified).then(HashMap::new);
    let mut reader = SectionReader { module: empty(), limits, imports, numbers };
    let mut rest = wasm;
    loop {
        let payload = match parser.parse(rest, true)? {
            Chunk::Parsed { consumed, payload } => {
                rest = &rest[consumed..];
                payload
            }
            // Not asked for after the end of the input.
            Chunk::NeedMoreData(_) => {
                return Err(CompileError::internal("parser wants more than the module"));
            }
        };
        let end = matches!(payload, Payload::End(_));
        match validator.payload(&payload)? {
            ValidPayload::Func(to_validate, body) => {
                let range = body.range();
                check(
                    "size of a function body",
                    range.end - range.start,
                    limits.function_size.into(),
                    range.start,
                )?;
                reader.locals(to_validate.index, &body)?;
                reader.module.bodies.push(Body { body, validator: to_validate });
            }
            _ => reader.section(payload, &validator)?,
        }
        if end {
            reader.check_host_memory()?;
            reader.note_features();
            return Ok(reader.module);
        }
    }
}

fn empty<'a>() -> Module<'a> {
    Module {
        types: Vec::new(),
        signatures: Vec::new(),
        type_numbers: HashMap::new(),
        tags: Vec::new(),
        functions: Vec::new(),
        imports: Vec::new(),
        import_names: Vec::new(),
        bodies: Vec::new(),
        tables: Vec::new(),
        memories: Vec::new(),
        globals: Vec::new(),
        exports: Vec::new(),
        start: None,
        elements: Vec::new(),
        data: Vec::new(),
        names: HashMap::new(),
        features: Features::NONE,
    }
}

struct SectionReader<'a, 'r> {
    module: Module<'a>,
    limits: Limits,
    imports: &'r dyn ImportResolver,
    /// Numbers of types, if the validator's identifiers cannot tell equal ones. No type refers to another one then.
    numbers: Option<HashMap<FuncType, u32>>,
}

impl<'a> SectionReader<'a, '_> {
    /// Reads a section which has been validated.
    fn section(&mut self, payload: Payload<'a>, validator: &Validator) -> Result<()> {
        match payload {
            Payload::TypeSection(section) => self.types(section, validator)?,
            Payload::ImportSection(section) => {
                for item in section.into_imports_with_offsets() {
                    let (offset, import) = item?;
                    self.import(offset, &import)?;
                }
            }
            Payload::FunctionSection(section) => {
                let count = u64::from(section.count()) + self.module.functions.len() as u64;
                check("number of functions", count, self.limits.functions.into(), section.range().start)?;
                for ty in section {
                    self.module.functions.push(ty?);
                }
            }
            Payload::TableSection(section) => {
                self.count("number of tables", &section, self.limits.tables)?;
                for item in section.into_iter_with_offsets() {
                    let (offset, table) = item?;
                    self.table(offset, &table)?;
                }
            }
            Payload::MemorySection(section) => {
                let limit = self.limits.memories.min(gate_wire::load::MAX_MEMORIES as u32);
                self.count("number of linear memories", &section, limit)?;
                let section_start = section.range().start;
                for memory in section {
                    self.memory(section_start, memory?)?;
                }
            }
            Payload::TagSection(section) => {
                self.count("number of tags", &section, self.limits.tags)?;
                for tag in section {
                    self.module.tags.push(tag?.func_type_idx);
                }
            }
            Payload::GlobalSection(section) => {
                self.count("number of globals", &section, self.limits.globals)?;
                for item in section.into_iter_with_offsets() {
                    let (offset, global) = item?;
                    let ty = supported(
                        self.module.value_type(global.ty.content_type),
                        "type of a global",
                        offset,
                    )?;
                    let initial = self.constant(&global.init_expr)?;
                    self.module.globals.push(Global { ty, mutable: global.ty.mutable, initial });
                }
            }
            Payload::ExportSection(section) => {
                for item in section.into_iter_with_offsets() {
                    let (offset, export) = item?;
                    let kind = match export.kind {
                        ExternalKind::Func => ExportKind::Function,
                        ExternalKind::Table => ExportKind::Table,
                        ExternalKind::Memory => ExportKind::Memory,
                        ExternalKind::Global => ExportKind::Global,
                        ExternalKind::Tag => ExportKind::Tag,
                        _ => return Err(unsupported("kind of export", offset)),
                    };
                    let name = export.name.to_owned();
                    self.module.exports.push(Export { name, kind, index: export.index });
                }
            }
            Payload::StartSection { func, .. } => self.module.start = Some(func),
            Payload::ElementSection(section) => {
                for item in section.into_iter_with_offsets() {
                    let (offset, element) = item?;
                    self.element_segment(offset, element)?;
                }
            }
            Payload::DataSection(section) => {
                for item in section.into_iter_with_offsets() {
                    let (offset, data) = item?;
                    let mode = match data.kind {
                        DataKind::Passive => SegmentMode::Passive,
                        DataKind::Active { memory_index: target, offset_expr } => {
                            SegmentMode::Active { target, offset: self.segment_offset(&offset_expr)? }
                        }
                    };
                    self.module.data.push(DataSegment { mode, bytes: data.data, offset });
                }
            }
            Payload::CustomSection(section) => {
                if let wasmparser::KnownCustom::Name(section) = section.as_known() {
                    self.module.names = names::function_names(section);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn types(&mut self, section: wasmparser::TypeSectionReader<'a>, validator: &Validator) -> Result<()> {
        let types = validator
            .types(0)
            .ok_or_else(|| CompileError::internal("the validator does not know the module's types"))?;
        for item in section.clone().into_iter_with_offsets() {
            // Without the group's offset, `into_iter_err_on_gc_types` could be used alone.
            let (offset, group) = item?;
            for ty in group.into_types() {
                let func = match ty.composite_type.inner {
                    wasmparser::CompositeInnerType::Func(func)
                        if ty.is_final && ty.supertype_idxs.is_empty() =>
                    {
                        func
                    }
                    _ => return Err(unsupported("kind of type", offset)),
                };
                let module = &mut self.module;
                if self.numbers.is_none() {
                    // A type may refer to itself.
                    let id = types.core_type_at_in_module(module.types.len() as u32);
                    let next = module.type_numbers.len() as u32;
                    module.signatures.push(*module.type_numbers.entry(id).or_insert(next));
                }
                let list = |types: &[wasmparser::ValType]| {
                    types
                        .iter()
                        .map(|&ty| supported(module.value_type(ty), "type of a parameter or result", offset))
                        .collect::<Result<Vec<_>>>()
                };
                let ty = FuncType { params: list(func.params())?, results: list(func.results())? };
                if let Some(numbers) = &mut self.numbers {
                    let next = numbers.len() as u32;
                    module.signatures.push(*numbers.entry(ty.clone()).or_insert(next));
                }
                module.types.push(ty);
            }
        }
        Ok(())
    }

    fn import(&mut self, offset: u64, import: &Import<'_>) -> Result<()> {
        let Import { module, name, ty } = import;
        let error = |problem: String| {
            let message = format!("import {module:?} {name:?}: {problem}");
            Err(CompileError::new(ErrorKind::Import, offset, message))
        };
        let TypeRef::Func(type_index) = *ty else {
            let what = match ty {
                TypeRef::Table(_) => "table",
                TypeRef::Memory(_) => "memory",
                TypeRef::Global(_) => "global",
                TypeRef::Tag(_) => "tag",
                _ => "item",
            };
            return error(format!("unknown import (a {what}; only functions can be imported)"));
        };
        let ty = &self.module.types[type_index as usize];
        let function = match self.imports.resolve(module, name, ty) {
            Ok(function) => function,
            Err(ImportProblem::Unknown) => return error(format!("unknown import (a function of type {ty})")),
            Err(ImportProblem::PacketSize) => {
                return error(format!(
                    "unknown import: the number in its name is not a packet size of at least {MAX_PACKET_SIZE}"
                ));
            }
            Err(ImportProblem::WrongType { expected }) => {
                return error(format!("incompatible import type: expected {expected}, found {ty}"));
            }
        };
        // What fits a call record, whatever the resolver says.
        let wide = |ty: &ValType| *ty == ValType::V128;
        if ty.params.len() > MAX_CALL_ARGS
            || ty.results.len() > 1
            || ty.params.iter().chain(&ty.results).any(wide)
        {
            return error(format!("host functions of type {ty} cannot be called"));
        }
        check(
            "number of functions",
            self.module.functions.len() as u64 + 1,
            self.limits.functions.into(),
            offset,
        )?;
        self.module.functions.push(type_index);
        self.module.imports.push(function);
        self.module.import_names.push(((*module).into(), (*name).into()));
        Ok(())
    }

    /// Takes note of what types of the module are part of.
    fn note_features(&mut self) {
        let Module { types, tables, globals, tags, features, .. } = &mut self.module;
        features.exceptions |= !tags.is_empty();
        let types = types.iter().flat_map(|ty| ty.params.iter().chain(&ty.results)).copied();
        let others = tables.iter().map(|table| table.ty).chain(globals.iter().map(|global| global.ty));
        for ty in types.chain(others) {
            *features = features.union(Features::of_type(ty));
        }
    }

    /// Checks that host functions can use the memory which the program means: memory 0, with 32-bit addresses.
    fn check_host_memory(&self) -> Result<()> {
        let module = &self.module;
        if !module.imports.iter().any(|&function| takes_addresses(function)) {
            return Ok(());
        }
        let problem =
            if module.memories.first().is_some_and(|memory| memory.memory64) {
                "memory 0 has 64-bit addresses, but imported functions take 32-bit ones"
            } else if module.exports.iter().any(|export| {
                export.kind == ExportKind::Memory && export.name == "memory" && export.index != 0
            }) {
                "imported functions use memory 0, but another one is exported as \"memory\""
            } else {
                return Ok(());
            };
        Err(CompileError::new(ErrorKind::Import, None, problem))
    }

    fn memory(&mut self, offset: u64, ty: wasmparser::MemoryType) -> Result<()> {
        let (min_pages, max_pages, memory64) = (ty.initial, ty.maximum, ty.memory64);
        if memory64 {
            check("size of a linear memory in pages", min_pages, MAX_MEMORY64_SIZE / WASM_PAGE_SIZE, offset)?;
        }
        self.module.features.memory64 |= memory64;
        self.module.features.multi_memory |= !self.module.memories.is_empty();
        self.module.memories.push(Memory { min_pages, max_pages, memory64 });
        Ok(())
    }

    fn table(&mut self, offset: u64, table: &wasmparser::Table<'_>) -> Result<()> {
        let ty = table.ty;
        let element =
            supported(self.module.reference_type(ty.element_type), "type of table elements", offset)?;
        let limit = u64::from(self.limits.table_elements);
        check("number of table elements", ty.initial, limit, offset)?;
        let max = ty.maximum.unwrap_or(limit).min(limit);
        let initial = match &table.init {
            TableInit::RefNull => 0,
            TableInit::Expr(expr) => self.constant(expr)?.bits() as u32,
        };
        if initial != 0 {
            let initialised = |table: &&Table| table.initial != 0;
            let others = self.module.tables.iter().filter(initialised).map(|table| u64::from(table.min));
            let number = others.sum::<u64>() + ty.initial;
            check("number of elements of tables with initial values", number, limit, offset)?;
        }
        self.module.features.memory64 |= ty.table64;
        let (min, max, table64) = (ty.initial as u32, max as u32, ty.table64);
        self.module.tables.push(Table { ty: element, initial, min, max, table64 });
        Ok(())
    }

    /// Checks the number of a function's locals. What is wrong with them otherwise is found when the function is validated.
    fn locals(&self, function: u32, body: &FunctionBody<'_>) -> Result<()> {
        let mut count = self.module.function_type(function).params.len() as u64;
        for declaration in body.get_locals_reader()? {
            count += u64::from(declaration?.0);
        }
        check("number of locals", count, self.limits.locals.into(), body.range().start)
    }

    fn element_segment(&mut self, offset: u64, element: wasmparser::Element<'a>) -> Result<()> {
        let mode = match element.kind {
            ElementKind::Passive => SegmentMode::Passive,
            ElementKind::Declared => SegmentMode::Declared,
            ElementKind::Active { table_index, offset_expr } => {
                let offset = self.segment_offset(&offset_expr)?;
                SegmentMode::Active { target: table_index.unwrap_or(0), offset }
            }
        };
        let items = match element.items {
            ElementItems::Functions(functions) => {
                functions.into_iter().map(|function| Ok(function? + 1)).collect::<Result<_>>()?
            }
            ElementItems::Expressions(ty, expressions) => {
                supported(self.module.reference_type(ty), "type of an element segment", offset)?;
                expressions
                    .into_iter()
                    .map(|expr| Ok(self.constant(&expr?)?.bits() as u32))
                    .collect::<Result<_>>()?
            }
        };
        self.module.elements.push(ElementSegment { mode, items, offset });
        Ok(())
    }

    /// An offset of 32 bits is zero-extended.
    fn segment_offset(&mut self, expr: &wasmparser::ConstExpr<'_>) -> Result<u64> {
        Ok(self.constant(expr)?.bits() as u64)
    }

    /// The value of a constant expression.
    fn constant(&mut self, expr: &wasmparser::ConstExpr<'_>) -> Result<Const> {
        const_expr::evaluate(expr, &self.module.globals, &mut self.module.features)
    }

    fn count<T>(&self, what: &str, section: &SectionLimited<'_, T>, limit: u32) -> Result<()> {
        check(what, section.count().into(), limit.into(), section.range().start)
    }
}

fn check(what: &str, number: u64, limit: u64, offset: impl Into<Option<u64>>) -> Result<()> {
    if number > limit {
        return Err(CompileError::limit(offset, what, number, limit));
    }
    Ok(())
}

fn supported(ty: Option<ValType>, what: &str, offset: u64) -> Result<ValType> {
    ty.ok_or_else(|| unsupported(what, offset))
}

fn unsupported(what: &str, offset: u64) -> CompileError {
    CompileError::new(ErrorKind::Unsupported, offset, format!("unsupported {what}"))
}
