//! Names that a module gives to what is in it.

use crate::text::{function_name, one_line};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use wasmparser::{ExternalKind, IndirectNaming, KnownCustom, Name, NameMap, Parser, Payload, TypeRef};

/// Names from the name section, from exports and imports. What is damaged is left out.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    module: Option<String>,
    functions: HashMap<u32, &'a str>,
    /// Names of functions' locals are decoded when they are needed.
    locals: Vec<IndirectNaming<'a>>,
    globals: HashMap<u32, &'a str>,
    tables: HashMap<u32, &'a str>,
    memories: HashMap<u32, &'a str>,
}

impl<'a> Names<'a> {
    pub(super) fn new(wasm: &'a [u8]) -> Self {
        let mut names = Self::default();
        let mut imported = Counts::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload {
                Ok(Payload::ImportSection(section)) => {
                    for import in section.into_imports().flatten() {
                        let (map, index) = match import.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => {
                                (&mut names.functions, &mut imported.functions)
                            }
                            TypeRef::Global(_) => (&mut names.globals, &mut imported.globals),
                            TypeRef::Table(_) => (&mut names.tables, &mut imported.tables),
                            TypeRef::Memory(_) => (&mut names.memories, &mut imported.memories),
                            TypeRef::Tag(_) => continue,
                        };
                        map.insert(*index, import.name);
                        *index += 1;
                    }
                }
                Ok(Payload::ExportSection(section)) => {
                    for export in section.into_iter().flatten() {
                        let map = match export.kind {
                            ExternalKind::Func | ExternalKind::FuncExact => &mut names.functions,
                            ExternalKind::Global => &mut names.globals,
                            ExternalKind::Table => &mut names.tables,
                            ExternalKind::Memory => &mut names.memories,
                            ExternalKind::Tag => continue,
                        };
                        map.entry(export.index).or_insert(export.name);
                    }
                }
                Ok(Payload::CustomSection(section)) => {
                    if let KnownCustom::Name(subsections) = section.as_known() {
                        subsections.into_iter().map_while(Result::ok).for_each(|name| names.add(name));
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        names
    }

    pub(super) fn module(&self) -> Option<&str> {
        self.module.as_deref()
    }

    pub(super) fn function(&self, index: u32) -> Option<String> {
        self.functions.get(&index).map(|name| function_name(name))
    }

    pub(super) fn global(&self, index: u32) -> Option<String> {
        self.globals.get(&index).map(|name| one_line(name))
    }

    pub(super) fn table(&self, index: u32) -> Option<String> {
        self.tables.get(&index).map(|name| one_line(name))
    }

    pub(super) fn memory(&self, index: u32) -> Option<String> {
        self.memories.get(&index).map(|name| one_line(name))
    }

    /// Names of the functions' locals, by function and index.
    pub(super) fn locals(&self, functions: &BTreeSet<u32>) -> BTreeMap<(u32, u32), String> {
        let mut found = BTreeMap::new();
        for naming in self.locals.iter().filter(|naming| functions.contains(&naming.index)) {
            for local in naming.names.clone().map_while(Result::ok) {
                found.entry((naming.index, local.index)).or_insert_with(|| one_line(local.name));
            }
        }
        found
    }

    fn add(&mut self, name: Name<'a>) {
        // These are better names than those of exports and imports.
        let extend = |to: &mut HashMap<u32, &'a str>, from: NameMap<'a>| {
            to.extend(from.into_iter().map_while(Result::ok).map(|naming| (naming.index, naming.name)));
        };
        match name {
            Name::Module { name, .. } => self.module = Some(one_line(name)),
            Name::Function(map) => extend(&mut self.functions, map),
            Name::Global(map) => extend(&mut self.globals, map),
            Name::Table(map) => extend(&mut self.tables, map),
            Name::Memory(map) => extend(&mut self.memories, map),
            Name::Local(map) => self.locals.extend(map.into_iter().map_while(Result::ok)),
            _ => {}
        }
    }
}

#[derive(Default)]
struct Counts {
    functions: u32,
    globals: u32,
    tables: u32,
    memories: u32,
}
