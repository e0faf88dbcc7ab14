//! Which host functions programs may import.

use crate::value::{FuncType, ValType};
use gate_wire::wasi::{self, ValueType, WasiFunction};

/// Finds the host function that an import means.
pub trait ImportResolver: Sync {
    /// The number of the host function, as in [`CallRequest::func`](gate_wire::call::CallRequest::func).
    fn resolve(&self, module: &str, name: &str, ty: &FuncType) -> Result<u32, ImportProblem>;
}

/// Why an import cannot be satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportProblem {
    /// There is no such function.
    Unknown,
    /// There is one, but it has another type.
    WrongType {
        /// The type it has.
        expected: FuncType,
    },
}

/// The functions of WASI preview 1, under its module name and its older one.
#[derive(Clone, Copy, Debug, Default)]
pub struct WasiImports;

impl ImportResolver for WasiImports {
    fn resolve(&self, module: &str, name: &str, ty: &FuncType) -> Result<u32, ImportProblem> {
        if module != wasi::MODULE && module != "wasi_unstable" {
            return Err(ImportProblem::Unknown);
        }
        let function = WasiFunction::from_name(name).ok_or(ImportProblem::Unknown)?;
        let expected = FuncType { params: types(function.params()), results: types(function.results()) };
        if *ty != expected {
            return Err(ImportProblem::WrongType { expected });
        }
        Ok(function as u32)
    }
}

fn types(types: &[ValueType]) -> Vec<ValType> {
    types
        .iter()
        .map(|ty| match ty {
            ValueType::I32 => ValType::I32,
            ValueType::I64 => ValType::I64,
        })
        .collect()
}
