//! Which host functions programs may import.

use crate::value::{FuncType, ValType};
use gate_wire::gate::{self, GateFunction};
use gate_wire::wasi::{self, ValueType, WasiFunction};
use gate_wire::wasi_unstable::{self, UnstableFunction};

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
    /// There is one, but not with this number in its name: the largest packet that the program can receive.
    PacketSize,
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
        match module {
            wasi::MODULE => wasi_function(name, ty),
            wasi_unstable::MODULE => {
                wasi_function(name, ty)?;
                let function = WasiFunction::from_name(name).ok_or(ImportProblem::Unknown)?;
                Ok(UnstableFunction::number_of(function))
            }
            _ => Err(ImportProblem::Unknown),
        }
    }
}

/// All functions that there are for programs: those of WASI, those by which packets are exchanged with services, and both under
/// the names which C compilers give them (`env.__wasi_fd_read`, `env.__gate_io_65536`).
#[derive(Clone, Copy, Debug, Default)]
pub struct GateImports;

impl ImportResolver for GateImports {
    fn resolve(&self, module: &str, name: &str, ty: &FuncType) -> Result<u32, ImportProblem> {
        match module {
            gate::MODULE => packet_function(name, ty),
            gate::C_MODULE => match (name.strip_prefix("__wasi_"), name.strip_prefix("__gate_")) {
                (Some(name), _) => wasi_function(name, ty),
                (_, Some(name)) => packet_function(name, ty),
                _ => test_function(name, ty),
            },
            _ => WasiImports.resolve(module, name, ty),
        }
    }
}

fn wasi_function(name: &str, ty: &FuncType) -> Result<u32, ImportProblem> {
    let function = WasiFunction::from_name(name).ok_or(ImportProblem::Unknown)?;
    checked(function as u32, function.params(), function.results(), ty)
}

fn packet_function(name: &str, ty: &FuncType) -> Result<u32, ImportProblem> {
    let (function, size) = match name.split_once('_') {
        Some(("fd", size)) => (GateFunction::Fd, size),
        Some(("io", size)) if ty.params.len() == GateFunction::IoWithoutFlags.params().len() => {
            (GateFunction::IoWithoutFlags, size)
        }
        Some(("io", size)) => (GateFunction::Io, size),
        _ => return Err(ImportProblem::Unknown),
    };
    gate::receive_size(size).ok_or(ImportProblem::PacketSize)?;
    checked(function as u32, function.params(), function.results(), ty)
}

fn test_function(name: &str, ty: &FuncType) -> Result<u32, ImportProblem> {
    let function = match name {
        "rt_read8" => GateFunction::Read8,
        "rt_write8" => GateFunction::Write8,
        "rt_trap" => GateFunction::Trap,
        "rt_debug" => GateFunction::Debug,
        _ => return Err(ImportProblem::Unknown),
    };
    checked(function as u32, function.params(), function.results(), ty)
}

fn checked(
    number: u32,
    params: &[ValueType],
    results: &[ValueType],
    ty: &FuncType,
) -> Result<u32, ImportProblem> {
    let expected = FuncType { params: types(params), results: types(results) };
    if *ty == expected { Ok(number) } else { Err(ImportProblem::WrongType { expected }) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use ValType::{I32, I64};

    fn resolve(
        module: &str,
        name: &str,
        params: &[ValType],
        results: &[ValType],
    ) -> Result<u32, ImportProblem> {
        GateImports.resolve(module, name, &FuncType { params: params.to_vec(), results: results.to_vec() })
    }

    #[test]
    fn functions_have_several_names() {
        let io = [I32, I32, I32, I32, I32, I32, I64, I32];
        for (module, name) in [("gate", "io_65536"), ("env", "__gate_io_65536"), ("gate", "io_99999999999")] {
            assert_eq!(resolve(module, name, &io, &[]), Ok(GateFunction::Io as u32));
            assert_eq!(resolve(module, name, &io[..7], &[]), Ok(GateFunction::IoWithoutFlags as u32));
        }
        assert_eq!(resolve("gate", "fd_65536", &[], &[I32]), Ok(GateFunction::Fd as u32));
        assert_eq!(resolve("env", "rt_read8", &[], &[I64]), Ok(GateFunction::Read8 as u32));
        for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
            assert_eq!(resolve(module, "fd_close", &[I32], &[I32]), Ok(WasiFunction::FdClose as u32));
        }
        let seek = |module| resolve(module, "fd_seek", &[I32, I64, I32, I32], &[I32]);
        assert_eq!(seek("wasi_snapshot_preview1"), Ok(WasiFunction::FdSeek as u32));
        assert_eq!(seek("wasi_unstable"), Ok(UnstableFunction::FdSeek as u32));
        assert_eq!(resolve("env", "__wasi_fd_close", &[I32], &[I32]), Ok(WasiFunction::FdClose as u32));
    }

    #[test]
    fn what_is_wrong_with_an_import_is_told() {
        for (module, name) in [
            ("gate", "io"),
            ("gate", "oi_65536"),
            ("env", "fd_65536"),
            ("env", "fd_close"),
            ("wasi", "fd_close"),
        ] {
            assert_eq!(resolve(module, name, &[], &[I32]), Err(ImportProblem::Unknown), "{module}.{name}");
        }
        assert_eq!(resolve("gate", "fd_65535", &[], &[I32]), Err(ImportProblem::PacketSize));
        let expected = FuncType { params: vec![], results: vec![I32] };
        assert_eq!(resolve("gate", "fd_65536", &[], &[]), Err(ImportProblem::WrongType { expected }));
    }
}
