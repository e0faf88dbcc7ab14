//! One module made of several that import from each other.
//!
//! Programs have one module each, so a script whose modules share functions, tables, memories or globals becomes one
//! module that has all of them side by side. Active segments and the start function of each part become an
//! exported function, the *initialiser*, which is called when the script instantiates the part: what a failing
//! instantiation leaves behind is what the script will find. Exported globals get an exported function that reads them.

use crate::link::{Item, ItemType, Kind, Links};
use crate::script::Script;
use std::collections::HashMap;
use std::convert::Infallible;
use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{
    CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, ExportKind, ExportSection,
    Function, FunctionSection, GlobalSection, MemorySection, TableSection, TagSection, TypeSection, ValType,
};
use wasmparser::{DataKind, ElementItems, ElementKind, FunctionBody, Operator, Parser, Payload, TableInit};

/// Name under which the merged module exports a part's function.
pub(crate) fn export_name(module: usize, export: &str) -> String {
    format!("{module} {export}")
}

/// Name under which the merged module exports the function that reads a part's exported global.
pub(crate) fn getter_name(module: usize, export: &str) -> String {
    format!("get {module} {export}")
}

/// Name under which the merged module exports a part's initialiser.
pub(crate) fn initialiser_name(module: usize) -> String {
    format!("init {module}")
}

/// Merges modules of a script. They must be in ascending order, and contain the ones they import from.
pub(crate) fn merge(script: &Script, links: &Links, parts: &[usize]) -> Result<Vec<u8>, Error<Infallible>> {
    let mut merged = Merged::default();
    let mut sources = Vec::new();
    // The items' new places are needed before anything that refers to them is encoded.
    for &number in parts {
        let source = Source::parse(&script.modules[number].wasm)?;
        merged.place(links, number, &source);
        sources.push((number, source));
    }
    for (number, source) in &sources {
        merged.add_initial_values(links, *number, source)?;
    }
    for (number, source) in &sources {
        merged.add_definitions(links, *number, source)?;
    }
    // The exports come after all functions, because they add some.
    for (number, source) in &sources {
        merged.add_initialiser(links, *number, source)?;
    }
    for &number in parts {
        merged.add_exports(links, number);
    }
    Ok(merged.finish())
}

/// The contents of a module.
#[derive(Default)]
struct Source<'a> {
    types: Vec<wasmparser::FuncType>,
    functions: Vec<u32>,
    bodies: Vec<FunctionBody<'a>>,
    tables: Vec<wasmparser::Table<'a>>,
    memories: Vec<wasmparser::MemoryType>,
    globals: Vec<wasmparser::Global<'a>>,
    tags: Vec<wasmparser::TagType>,
    elements: Vec<wasmparser::Element<'a>>,
    data: Vec<wasmparser::Data<'a>>,
    start: Option<u32>,
}

impl<'a> Source<'a> {
    fn parse(wasm: &'a [u8]) -> wasmparser::Result<Self> {
        let mut source = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(section) => {
                    source.types = section.into_iter_err_on_gc_types().collect::<Result<_, _>>()?;
                }
                Payload::FunctionSection(section) => {
                    source.functions = section.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::CodeSectionEntry(body) => source.bodies.push(body),
                Payload::TableSection(section) => {
                    source.tables = section.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::MemorySection(section) => {
                    source.memories = section.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::GlobalSection(section) => {
                    source.globals = section.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::TagSection(section) => {
                    source.tags = section.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::ElementSection(section) => {
                    source.elements = section.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::DataSection(section) => {
                    source.data = section.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::StartSection { func, .. } => source.start = Some(func),
                _ => {}
            }
        }
        Ok(source)
    }
}

/// The module in the making.
#[derive(Default)]
struct Merged {
    /// New indices of defined items.
    places: HashMap<Item, u32>,
    placed: [u32; Kind::COUNT],
    /// Initial values of defined globals.
    initial_values: HashMap<Item, ConstExpr>,
    first_types: HashMap<usize, u32>,
    type_count: u32,
    types: TypeSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    globals: GlobalSection,
    tags: TagSection,
    exports: ExportSection,
    elements: ElementSection,
    code: CodeSection,
    data: DataSection,
    /// Where each part's segments begin.
    first_segments: HashMap<usize, (u32, u32)>,
}

impl Merged {
    fn place(&mut self, links: &Links, number: usize, source: &Source<'_>) {
        self.first_types.insert(number, self.type_count);
        self.type_count += source.types.len() as u32;
        for kind in [Kind::Function, Kind::Table, Kind::Memory, Kind::Global, Kind::Tag] {
            for index in 0..links.count(number, kind) {
                let item = links.definition(number, kind, index);
                if item.module == number {
                    self.places.insert(item, self.placed[kind as usize]);
                    self.placed[kind as usize] += 1;
                }
            }
        }
    }

    fn add_initial_values(
        &mut self,
        links: &Links,
        number: usize,
        source: &Source<'_>,
    ) -> Result<(), Error<Infallible>> {
        let mut indices = Indices::new(self, links, number);
        let imported = links.count(number, Kind::Global) - source.globals.len() as u32;
        for (index, global) in (imported..).zip(&source.globals) {
            let item = Item { module: number, kind: Kind::Global, index };
            self.initial_values.insert(item, indices.const_expr(global.init_expr.clone())?);
        }
        Ok(())
    }

    fn add_definitions(
        &mut self,
        links: &Links,
        number: usize,
        source: &Source<'_>,
    ) -> Result<(), Error<Infallible>> {
        let first_segments = (self.elements.len(), self.data.len());
        self.first_segments.insert(number, first_segments);
        let mut indices = Indices::new(self, links, number);
        for ty in &source.types {
            self.types.ty().func_type(&indices.func_type(ty.clone())?);
        }
        for &ty in &source.functions {
            self.functions.function(indices.type_index(ty)?);
        }
        for table in &source.tables {
            // In the merged module, globals come after tables.
            let global = match &table.init {
                TableInit::Expr(expr) => match expr.get_operators_reader().read()? {
                    Operator::GlobalGet { global_index } => Some(global_index),
                    _ => None,
                },
                TableInit::RefNull => None,
            };
            match global {
                Some(global) => {
                    let global = links.definition(number, Kind::Global, global);
                    let ty = indices.table_type(table.ty)?;
                    self.tables.table_with_init(ty, &self.initial_values[&global]);
                }
                None => indices.parse_table(&mut self.tables, table.clone())?,
            }
        }
        for &memory in &source.memories {
            self.memories.memory(indices.memory_type(memory)?);
        }
        for global in &source.globals {
            indices.parse_global(&mut self.globals, global.clone())?;
        }
        for &tag in &source.tags {
            self.tags.tag(indices.tag_type(tag)?);
        }
        for element in &source.elements {
            let items = indices.element_items(element.items.clone())?;
            match element.kind {
                ElementKind::Declared => self.elements.declared(items),
                _ => self.elements.passive(items),
            };
        }
        for data in &source.data {
            self.data.passive(data.data.iter().copied());
        }
        for body in &source.bodies {
            indices.parse_function_body(&mut self.code, body.clone())?;
        }
        Ok(())
    }

    /// Instantiation of a part: sizes of imports, element segments, data segments, start function.
    fn add_initialiser(
        &mut self,
        links: &Links,
        number: usize,
        source: &Source<'_>,
    ) -> Result<(), Error<Infallible>> {
        let mut indices = Indices::new(self, links, number);
        let mut init = Function::new([]);
        for (import, &item) in links.interfaces[number].imports.iter().zip(&links.imports[number]) {
            let place = self.places[&item];
            let min = match &import.ty {
                ItemType::Table(ty, _) => {
                    init.instructions().table_size(place);
                    ty.initial
                }
                ItemType::Memory(ty) => {
                    init.instructions().memory_size(place);
                    ty.initial
                }
                ItemType::Function(_) | ItemType::Global(..) | ItemType::Tag(_) => continue,
            };
            let min = (min as u32).cast_signed();
            init.instructions()
                .i32_const(min)
                .i32_lt_u()
                .if_(wasm_encoder::BlockType::Empty)
                .unreachable()
                .end();
        }
        for (segment, element) in source.elements.iter().enumerate() {
            let ElementKind::Active { table_index, offset_expr } = &element.kind else { continue };
            let table = indices.table_index(table_index.unwrap_or(0))?;
            let segment = indices.element_index(segment as u32)?;
            push_constant(&mut init, &mut indices, offset_expr)?;
            let len = match &element.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            };
            init.instructions().i32_const(0).i32_const(len.cast_signed());
            init.instructions().table_init(table, segment).elem_drop(segment);
        }
        for (segment, data) in source.data.iter().enumerate() {
            let DataKind::Active { memory_index, offset_expr } = &data.kind else { continue };
            let memory = indices.memory_index(*memory_index)?;
            let segment = indices.data_index(segment as u32)?;
            push_constant(&mut init, &mut indices, offset_expr)?;
            init.instructions().i32_const(0).i32_const((data.data.len() as u32).cast_signed());
            init.instructions().memory_init(memory, segment).data_drop(segment);
        }
        if let Some(start) = source.start {
            init.instructions().call(indices.function_index(start)?);
        }
        init.instructions().end();
        self.add_function(&initialiser_name(number), &[], &init);
        Ok(())
    }

    fn add_exports(&mut self, links: &Links, number: usize) {
        let mut exports: Vec<_> = links.interfaces[number].exports.iter().collect();
        exports.sort_by_key(|(name, _)| *name);
        for (name, &(kind, index)) in exports {
            let item = links.definition(number, kind, index);
            let place = self.places[&item];
            let encoded_kind = match kind {
                Kind::Function => ExportKind::Func,
                Kind::Table => ExportKind::Table,
                Kind::Memory => ExportKind::Memory,
                Kind::Global => ExportKind::Global,
                Kind::Tag => ExportKind::Tag,
            };
            self.exports.export(&export_name(number, name), encoded_kind, place);
            if let ItemType::Global(ty, _) = links.item_type(item) {
                let Ok(ty) = Indices::new(self, links, item.module).val_type(ty.content_type) else {
                    continue;
                };
                let mut getter = Function::new([]);
                getter.instructions().global_get(place).end();
                self.add_function(&getter_name(number, name), &[ty], &getter);
            }
        }
    }

    fn add_function(&mut self, name: &str, results: &[ValType], body: &Function) {
        self.types.ty().function([], results.iter().copied());
        self.functions.function(self.type_count);
        self.type_count += 1;
        self.code.function(body);
        self.exports.export(name, ExportKind::Func, self.functions.len() - 1);
    }

    fn finish(self) -> Vec<u8> {
        let mut module = wasm_encoder::Module::new();
        module.section(&self.types).section(&self.functions).section(&self.tables).section(&self.memories);
        module.section(&self.tags).section(&self.globals).section(&self.exports).section(&self.elements);
        module.section(&DataCountSection { count: self.data.len() });
        module.section(&self.code).section(&self.data);
        module.finish()
    }
}

fn push_constant(
    function: &mut Function,
    indices: &mut Indices,
    constant: &wasmparser::ConstExpr<'_>,
) -> Result<(), Error<Infallible>> {
    let mut operators = constant.get_operators_reader();
    while !operators.is_end_then_eof() {
        function.instruction(&indices.parse_instruction(&mut operators)?);
    }
    Ok(())
}

/// From a part's indices to the merged module's.
struct Indices {
    first_type: u32,
    first_element: u32,
    first_data: u32,
    items: [Vec<u32>; Kind::COUNT],
}

impl Indices {
    fn new(merged: &Merged, links: &Links, number: usize) -> Self {
        let places = |kind| {
            let place = |index| merged.places[&links.definition(number, kind, index)];
            (0..links.count(number, kind)).map(place).collect()
        };
        let (first_element, first_data) = merged.first_segments.get(&number).copied().unwrap_or_default();
        Self {
            first_type: merged.first_types[&number],
            first_element,
            first_data,
            items: [
                places(Kind::Function),
                places(Kind::Table),
                places(Kind::Memory),
                places(Kind::Global),
                places(Kind::Tag),
            ],
        }
    }
}

impl Reencode for Indices {
    type Error = Infallible;

    fn type_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.first_type + index)
    }

    fn function_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.items[Kind::Function as usize][index as usize])
    }

    fn table_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.items[Kind::Table as usize][index as usize])
    }

    fn memory_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.items[Kind::Memory as usize][index as usize])
    }

    fn global_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.items[Kind::Global as usize][index as usize])
    }

    fn tag_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.items[Kind::Tag as usize][index as usize])
    }

    fn element_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.first_element + index)
    }

    fn data_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.first_data + index)
    }
}
