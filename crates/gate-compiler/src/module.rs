//! A parsed module: everything but the validity of function bodies is known.

mod names;
mod sections;

use crate::compiled::{Export, Signature};
use crate::const_expr::Const;
use crate::error::{CompileError, ErrorKind};
use crate::features::Features;
use crate::imports::ImportResolver;
use crate::options::Options;
use crate::value::{FuncType, HeapType, RefType, ValType};
use std::collections::HashMap;
use wasmparser::types::CoreTypeId;
use wasmparser::{FuncToValidate, FunctionBody, Validator, ValidatorResources, WasmFeatures};

/// A parsed module.
pub(crate) struct Module<'a> {
    /// Function types by type index.
    pub(crate) types: Vec<FuncType>,
    /// For each type index, the number which it shares with all equal types.
    pub(crate) signatures: Vec<u32>,
    /// The same numbers by the validator's identifiers.
    pub(crate) type_numbers: HashMap<CoreTypeId, u32>,
    /// Type index of each tag.
    pub(crate) tags: Vec<u32>,
    /// Type index of each function, imported ones first.
    pub(crate) functions: Vec<u32>,
    /// Host function of each imported function.
    pub(crate) imports: Vec<u32>,
    /// Names of each imported function's module, and its own.
    pub(crate) import_names: Vec<(String, String)>,
    /// Bodies of the other functions.
    pub(crate) bodies: Vec<Body<'a>>,
    pub(crate) tables: Vec<Table>,
    pub(crate) memories: Vec<Memory>,
    pub(crate) globals: Vec<Global>,
    pub(crate) exports: Vec<Export>,
    pub(crate) start: Option<u32>,
    pub(crate) elements: Vec<ElementSegment>,
    pub(crate) data: Vec<DataSegment<'a>>,
    /// Functions' names from the name section.
    pub(crate) names: HashMap<u32, String>,
    /// What it uses, outside of function bodies.
    pub(crate) features: Features,
}

/// A function body, to be validated when it is compiled.
pub(crate) struct Body<'a> {
    pub(crate) body: FunctionBody<'a>,
    pub(crate) validator: FuncToValidate<ValidatorResources>,
}

pub(crate) struct Table {
    pub(crate) ty: ValType,
    /// First value of the elements.
    pub(crate) initial: u32,
    pub(crate) min: u32,
    /// Greatest number of elements: declared, else the limit.
    pub(crate) max: u32,
    /// Whether its indices are 64-bit.
    pub(crate) table64: bool,
}

pub(crate) struct Memory {
    pub(crate) min_pages: u64,
    pub(crate) max_pages: Option<u64>,
    /// Whether its addresses are 64-bit.
    pub(crate) memory64: bool,
}

pub(crate) struct Global {
    pub(crate) ty: ValType,
    pub(crate) mutable: bool,
    pub(crate) initial: Const,
}

/// How a segment is used.
pub(crate) enum SegmentMode {
    /// By instructions.
    Passive,
    /// Copied into a memory or table at instantiation.
    Active {
        /// Index of the memory or table.
        target: u32,
        /// Where in it.
        offset: u64,
    },
    /// Not at all: it declares function references.
    Declared,
}

pub(crate) struct ElementSegment {
    pub(crate) mode: SegmentMode,
    /// Elements as they are in tables: zero is null, else the number plus one.
    pub(crate) items: Vec<u32>,
    pub(crate) offset: u64,
}

pub(crate) struct DataSegment<'a> {
    pub(crate) mode: SegmentMode,
    pub(crate) bytes: &'a [u8],
    pub(crate) offset: u64,
}

impl<'a> Module<'a> {
    /// Parses a module, and validates it except for its function bodies.
    pub(crate) fn parse(
        wasm: &'a [u8],
        options: &Options,
        imports: &dyn ImportResolver,
    ) -> Result<Self, CompileError> {
        sections::parse(wasm, options, imports).map_err(|error| match error.kind() {
            // What is not a valid module at all is called that, whatever it imports.
            ErrorKind::Import => invalidity(wasm, options.features).unwrap_or(error),
            _ => error,
        })
    }

    /// The type of a function.
    pub(crate) fn function_type(&self, function: u32) -> &FuncType {
        &self.types[self.functions[function as usize] as usize]
    }

    /// The type of a function, if there is such a function.
    pub(crate) fn checked_function_type(&self, function: u32) -> Option<&FuncType> {
        self.types.get(*self.functions.get(function as usize)? as usize)
    }

    /// The type that has a number.
    pub(crate) fn signature_type(&self, signature: u32) -> Option<&FuncType> {
        self.types.iter().zip(&self.signatures).find(|&(_, &number)| number == signature).map(|(ty, _)| ty)
    }

    /// The number that a function's type shares with all equal types.
    pub(crate) fn function_signature(&self, function: u32) -> u32 {
        self.signatures[self.functions[function as usize] as usize]
    }

    /// The types that have numbers of their own, in the order of these.
    pub(crate) fn distinct_types(&self) -> Vec<FuncType> {
        let mut distinct: Vec<FuncType> = Vec::new();
        for (ty, &signature) in self.types.iter().zip(&self.signatures) {
            // Numbers are given in the order of their first use.
            if signature as usize == distinct.len() {
                distinct.push(ty.clone());
            }
        }
        distinct
    }

    /// The types that have numbers of their own, with the first index of each, if something refers to them by number: tags, and
    /// typed references in types of functions, tables and globals.
    pub(crate) fn referenced_signatures(&self) -> Vec<Signature> {
        let is_typed =
            |ty: &ValType| matches!(ty, ValType::Ref(RefType { heap: HeapType::Signature(_), .. }));
        let any_typed = self.types.iter().any(|ty| ty.params.iter().chain(&ty.results).any(is_typed))
            || self.tables.iter().any(|table| is_typed(&table.ty))
            || self.globals.iter().any(|global| is_typed(&global.ty));
        if !any_typed && self.tags.is_empty() {
            return Vec::new();
        }
        let mut signatures: Vec<Signature> = Vec::new();
        for (type_index, (ty, &signature)) in (0..).zip(self.types.iter().zip(&self.signatures)) {
            // Numbers are given in the order of their first use.
            if signature as usize == signatures.len() {
                signatures.push(Signature { ty: ty.clone(), type_index });
            }
        }
        signatures
    }

    /// Types of the values that an exception with a tag carries.
    pub(crate) fn tag_values(&self, tag: u32) -> &[ValType] {
        &self.types[self.tags[tag as usize] as usize].params
    }

    /// The type of a value. `None` if it is of a feature that is not supported.
    pub(crate) fn value_type(&self, ty: wasmparser::ValType) -> Option<ValType> {
        Some(match ty {
            wasmparser::ValType::I32 => ValType::I32,
            wasmparser::ValType::I64 => ValType::I64,
            wasmparser::ValType::F32 => ValType::F32,
            wasmparser::ValType::F64 => ValType::F64,
            wasmparser::ValType::V128 => ValType::V128,
            wasmparser::ValType::Ref(ty) => self.reference_type(ty)?,
        })
    }

    /// The type of a reference. `None` if it is of a feature that is not supported.
    pub(crate) fn reference_type(&self, ty: wasmparser::RefType) -> Option<ValType> {
        use wasmparser::{AbstractHeapType, HeapType as Heap, UnpackedIndex};
        let heap = match ty.heap_type() {
            Heap::Abstract { shared: false, ty: AbstractHeapType::Func } => HeapType::Func,
            Heap::Abstract { shared: false, ty: AbstractHeapType::Extern } => HeapType::Extern,
            // A reference to no exception is one to an exception that there never is.
            Heap::Abstract { shared: false, ty: AbstractHeapType::Exn | AbstractHeapType::NoExn } => {
                HeapType::Exn
            }
            // A module's types are all of functions.
            Heap::Concrete(UnpackedIndex::Module(index)) => {
                HeapType::Signature(*self.signatures.get(index as usize)?)
            }
            Heap::Concrete(UnpackedIndex::Id(id)) => HeapType::Signature(*self.type_numbers.get(&id)?),
            _ => return None,
        };
        Some(ValType::reference(RefType { heap, nullable: ty.is_nullable() }))
    }

    pub(crate) fn imported_functions(&self) -> u32 {
        self.imports.len() as u32
    }

    /// The body of a function that is not imported.
    pub(crate) fn body(&self, function: u32) -> &Body<'a> {
        &self.bodies[function as usize - self.imports.len()]
    }
}

/// Why a module is invalid, function bodies included. `None` if it is valid.
fn invalidity(wasm: &[u8], features: Features) -> Option<CompileError> {
    Validator::new_with_features(wasm_features(features)).validate_all(wasm).err().map(CompileError::from)
}

/// The features of WebAssembly that modules may use.
pub(crate) fn wasm_features(features: Features) -> WasmFeatures {
    let mut wasm = WasmFeatures::WASM2;
    wasm.set(WasmFeatures::EXCEPTIONS, features.exceptions);
    wasm.set(WasmFeatures::LEGACY_EXCEPTIONS, features.legacy_exceptions);
    wasm.set(WasmFeatures::FUNCTION_REFERENCES, features.function_references);
    wasm.set(WasmFeatures::TAIL_CALL, features.tail_calls);
    wasm.set(WasmFeatures::MULTI_MEMORY, features.multi_memory);
    wasm.set(WasmFeatures::EXTENDED_CONST, features.extended_const);
    wasm.set(WasmFeatures::MEMORY64, features.memory64);
    wasm.set(WasmFeatures::RELAXED_SIMD, features.relaxed_simd);
    // The validator allows it as a part of garbage collection. The rest of that is refused when types are converted.
    wasm.set(WasmFeatures::GC, features.const_globals);
    wasm
}
