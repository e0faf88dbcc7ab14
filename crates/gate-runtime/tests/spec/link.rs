//! Which module's item an import means.

use crate::script::{Module, Script};
use std::collections::HashMap;
use wasmparser::{
    ExternalKind, FuncType, GlobalType, HeapType, MemoryType, Parser, Payload, RefType, TableType, TypeRef,
    UnpackedIndex, ValType, Validator, WasmFeatures,
};

/// What a module imports, exports and defines.
#[derive(Debug, Default)]
pub(crate) struct Interface {
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: HashMap<String, (Kind, u32)>,
    /// Types of the items of each kind, imported ones first.
    types: [Vec<ItemType>; Kind::COUNT],
}

#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) module: String,
    pub(crate) name: String,
    pub(crate) ty: ItemType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Function,
    Table,
    Memory,
    Global,
    Tag,
}

/// Types in which indices of types are replaced by the types.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ItemType {
    Function(String),
    Table(TableType, Reference),
    Memory(MemoryType),
    Global(GlobalType, Option<Reference>),
    Tag(String),
}

/// A type of references.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reference {
    nullable: bool,
    heap: String,
}

/// An item where it is defined: the module, and its index among all of the module's items of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Item {
    pub(crate) module: usize,
    pub(crate) kind: Kind,
    pub(crate) index: u32,
}

/// Why a module cannot be linked, in the words of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkError {
    Unknown,
    Incompatible,
}

impl LinkError {
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Unknown => "unknown import",
            Self::Incompatible => "incompatible import type",
        }
    }
}

/// Whether the least size that an import asks for counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// It is compared with the declared size.
    Declared,
    /// It is left to the program to find out, which may have grown the memory or table.
    Current,
}

/// The modules of a script and what each one's imports mean.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) imports: Vec<Vec<Item>>,
}

impl Links {
    /// Links the modules that a script instantiates.
    ///
    /// Fails with the module that cannot be linked.
    pub(crate) fn new(script: &Script) -> Result<Self, (usize, String)> {
        let mut links = Self::default();
        for (number, module) in script.modules.iter().enumerate() {
            let interface = Interface::parse(&module.wasm).map_err(|error| (number, error.to_string()))?;
            let imports = links
                .resolve(&interface, module, Sizes::Current)
                .map_err(|error| (number, error.message().to_owned()))?;
            links.interfaces.push(interface);
            links.imports.push(imports);
        }
        Ok(links)
    }

    /// Finds what a module's imports mean.
    pub(crate) fn resolve(
        &self,
        interface: &Interface,
        module: &Module,
        sizes: Sizes,
    ) -> Result<Vec<Item>, LinkError> {
        let resolve = |import: &Import| {
            let number = *module.registry.get(&import.module).ok_or(LinkError::Unknown)?;
            let (kind, index) =
                *self.interfaces[number].exports.get(&import.name).ok_or(LinkError::Unknown)?;
            let item = self.definition(number, kind, index);
            match matches(self.item_type(item), &import.ty, sizes) {
                true => Ok(item),
                false => Err(LinkError::Incompatible),
            }
        };
        interface.imports.iter().map(resolve).collect()
    }

    /// Where the item is defined that has this index in this module.
    pub(crate) fn definition(&self, module: usize, kind: Kind, index: u32) -> Item {
        let imported = self.imports[module].iter().filter(|item| item.kind == kind).nth(index as usize);
        imported.copied().unwrap_or(Item { module, kind, index })
    }

    pub(crate) fn item_type(&self, item: Item) -> &ItemType {
        &self.interfaces[item.module].types[item.kind as usize][item.index as usize]
    }

    /// Number of a module's items of a kind, imported ones included.
    pub(crate) fn count(&self, module: usize, kind: Kind) -> u32 {
        self.interfaces[module].types[kind as usize].len() as u32
    }
}

impl Interface {
    /// Validates a module, and takes its interface.
    pub(crate) fn parse(wasm: &[u8]) -> wasmparser::Result<Self> {
        Validator::new_with_features(features()).validate_all(wasm)?;
        let mut interface = Self::default();
        let mut types = Vec::new();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(section) => {
                    types = section.into_iter_err_on_gc_types().collect::<Result<_, _>>()?;
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        let ty = ItemType::of_import(import.ty, &types);
                        interface.types[ty.kind() as usize].push(ty.clone());
                        let (module, name) = (import.module.to_owned(), import.name.to_owned());
                        interface.imports.push(Import { module, name, ty });
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        interface.define(ItemType::Function(function(ty?, &types, 0)));
                    }
                }
                Payload::TableSection(section) => {
                    for table in section {
                        interface.define(ItemType::of_import(TypeRef::Table(table?.ty), &types));
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        interface.define(ItemType::Memory(memory?));
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        interface.define(ItemType::of_import(TypeRef::Global(global?.ty), &types));
                    }
                }
                Payload::TagSection(section) => {
                    for tag in section {
                        interface.define(ItemType::of_import(TypeRef::Tag(tag?), &types));
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        let kind = Kind::of_export(export.kind);
                        interface.exports.insert(export.name.to_owned(), (kind, export.index));
                    }
                }
                _ => {}
            }
        }
        Ok(interface)
    }

    fn define(&mut self, ty: ItemType) {
        self.types[ty.kind() as usize].push(ty);
    }
}

impl Kind {
    pub(crate) const COUNT: usize = 5;

    fn of_export(kind: ExternalKind) -> Self {
        match kind {
            ExternalKind::Func => Self::Function,
            ExternalKind::Table => Self::Table,
            ExternalKind::Memory => Self::Memory,
            ExternalKind::Global => Self::Global,
            ExternalKind::Tag => Self::Tag,
            other => unreachable!("{other:?} is not of a proposal that is looked at"),
        }
    }
}

impl ItemType {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Function(_) => Kind::Function,
            Self::Table(..) => Kind::Table,
            Self::Memory(_) => Kind::Memory,
            Self::Global(..) => Kind::Global,
            Self::Tag(_) => Kind::Tag,
        }
    }

    fn of_import(ty: TypeRef, types: &[FuncType]) -> Self {
        match ty {
            TypeRef::Func(index) => Self::Function(function(index, types, 0)),
            TypeRef::Table(ty) => Self::Table(ty, reference(ty.element_type, types, 0)),
            TypeRef::Memory(ty) => Self::Memory(ty),
            TypeRef::Global(ty) => Self::Global(
                ty,
                match ty.content_type {
                    ValType::Ref(ty) => Some(reference(ty, types, 0)),
                    _ => None,
                },
            ),
            TypeRef::Tag(ty) => Self::Tag(function(ty.func_type_idx, types, 0)),
            other => unreachable!("{other:?} is not of a proposal that is looked at"),
        }
    }
}

/// How deep types are looked into that may refer to themselves.
const DEPTH: u32 = 6;

fn function(index: u32, types: &[FuncType], depth: u32) -> String {
    if depth == DEPTH {
        return "...".into();
    }
    let list = |list: &[ValType]| {
        let name = |ty: &ValType| match ty {
            ValType::Ref(ty) => format!("{:?}", reference(*ty, types, depth + 1)),
            ty => ty.to_string(),
        };
        list.iter().map(name).collect::<Vec<_>>().join(" ")
    };
    let ty = &types[index as usize];
    format!("({}) -> ({})", list(ty.params()), list(ty.results()))
}

fn reference(ty: RefType, types: &[FuncType], depth: u32) -> Reference {
    let heap = match ty.heap_type() {
        HeapType::Concrete(UnpackedIndex::Module(index)) => function(index, types, depth),
        other => format!("{other:?}"),
    };
    Reference { nullable: ty.is_nullable(), heap }
}

impl Reference {
    fn is_subtype(&self, other: &Self) -> bool {
        let function = format!("{:?}", HeapType::FUNC);
        let heap = self.heap == other.heap || other.heap == function && self.heap.starts_with('(');
        heap && (other.nullable || !self.nullable)
    }
}

/// The features which modules of the suite may use.
pub(crate) fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::MEMORY64
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::FUNCTION_REFERENCES
}

/// Whether an import of type `import` may mean an item of type `item`.
fn matches(item: &ItemType, import: &ItemType, sizes: Sizes) -> bool {
    let limits = |(item_min, item_max): (u64, Option<u64>), (min, max): (u64, Option<u64>)| {
        let enough = sizes == Sizes::Current || item_min >= min;
        let bounded = max.is_none_or(|max| item_max.is_some_and(|item_max| item_max <= max));
        enough && bounded
    };
    match (item, import) {
        (ItemType::Function(item), ItemType::Function(import))
        | (ItemType::Tag(item), ItemType::Tag(import)) => item == import,
        (ItemType::Global(item, item_reference), ItemType::Global(import, import_reference)) => {
            let same = match (item_reference, import_reference) {
                (Some(item), Some(import)) => item == import,
                _ => item.content_type == import.content_type,
            };
            let fits = match (item_reference, import_reference) {
                (Some(item), Some(import)) => item.is_subtype(import),
                _ => same,
            };
            item.mutable == import.mutable && (same || !item.mutable && fits)
        }
        (ItemType::Table(item, item_reference), ItemType::Table(import, import_reference)) => {
            item_reference == import_reference
                && item.table64 == import.table64
                && limits((item.initial, item.maximum), (import.initial, import.maximum))
        }
        (ItemType::Memory(item), ItemType::Memory(import)) => {
            item.memory64 == import.memory64
                && limits((item.initial, item.maximum), (import.initial, import.maximum))
        }
        _ => false,
    }
}
