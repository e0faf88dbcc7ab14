//! Wasmtime: the same code generator behind another translation.

use super::wasi::{self, Exit, Wasi};
use super::{COMMON, Peer};
use crate::account::{self, Account, End};
use crate::run::{MAX_MEMORY, MAX_TABLE};
use crate::subject::{Entry, Subject};
use anyhow::Context;
use gate_compiler::Value;
use gate_image::ValueView;
use gate_runtime::TrapId;
use std::collections::BTreeMap;
use wasmparser::WasmFeatures;
use wasmtime::{
    AsContextMut, Caller, Config, Engine, Error, Extern, Linker, Module, Store, ThrownException, Trap, Val,
};
use wasmtime::{StoreLimits, StoreLimitsBuilder};

pub(super) struct Wasmtime(Engine);

struct Host {
    limits: StoreLimits,
    wasi: Wasi,
}

impl Wasmtime {
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut config = Config::new();
        config.wasm_function_references(true).wasm_gc(true).wasm_exceptions(true);
        Ok(Self(Engine::new(&config)?))
    }
}

impl Peer for Wasmtime {
    fn name(&self) -> &'static str {
        "Wasmtime"
    }

    fn features(&self) -> WasmFeatures {
        COMMON | WasmFeatures::EXCEPTIONS | WasmFeatures::FUNCTION_REFERENCES
    }

    fn run(&self, subject: &Subject) -> anyhow::Result<Account> {
        let module = Module::new(&self.0, &subject.wasm)?;
        let limits = StoreLimitsBuilder::new()
            .memory_size(MAX_MEMORY as usize)
            .table_elements(MAX_TABLE as usize)
            .build();
        let mut store = Store::new(&self.0, Host { limits, wasi: Wasi::new(&subject.entry) });
        store.limiter(|host| &mut host.limits);
        let instance = match linker(&self.0, &module)?.instantiate(&mut store, &module) {
            Ok(instance) => instance,
            Err(error) => return Ok(account(end(error)?, store, BTreeMap::new())),
        };
        let (name, mut results) = match subject.entry {
            Entry::Function(name) => (name, vec![Val::I64(0)]),
            Entry::Command { .. } => ("_start", Vec::new()),
        };
        let function = instance.get_func(&mut store, name).context("no function to call")?;
        let end = match function.call(&mut store, &[], &mut results) {
            Err(error) => end(error)?,
            Ok(()) if results.is_empty() => End::Exited(0),
            Ok(()) => End::Returned(results.iter().filter_map(value).collect()),
        };
        let all: Vec<_> = instance
            .exports(&mut store)
            .map(|export| (export.name().to_owned(), export.into_extern()))
            .collect();
        let mut exports = BTreeMap::new();
        for (name, export) in all {
            let contents = match export {
                Extern::Memory(memory) => {
                    let data = memory.data(&store);
                    account::memory(data.len() as u64, blake3::hash(data))
                }
                Extern::Global(global) => text(&global.get(&mut store)),
                Extern::Table(table) => account::table(
                    (0..table.size(&store))
                        .map(|index| table.get(&mut store, index).is_none_or(|element| element.is_null())),
                ),
                _ => continue,
            };
            exports.insert(name, contents);
        }
        Ok(account(end, store, exports))
    }
}

fn account(end: End, store: Store<Host>, exports: BTreeMap<String, String>) -> Account {
    Account { end, stdout: store.into_data().wasi.stdout, exports }
}

fn linker(engine: &Engine, module: &Module) -> anyhow::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    for import in module.imports().filter(|import| import.module() == wasi::MODULE) {
        let Some(ty) = import.ty().func().cloned() else { continue };
        let name = import.name().to_owned();
        let call = move |mut caller: Caller<'_, Host>, args: &[Val], results: &mut [Val]| {
            let memory = caller.get_export("memory").and_then(Extern::into_memory);
            let args: Vec<_> = args
                .iter()
                .map(|arg| match *arg {
                    Val::I32(value) => u64::from(value as u32),
                    Val::I64(value) => value as u64,
                    _ => 0,
                })
                .collect();
            let (memory, host) = match memory {
                Some(memory) => memory.data_and_store_mut(caller.as_context_mut()),
                None => (&mut [][..], caller.data_mut()),
            };
            let errno = host.wasi.call(memory, &name, &args).map_err(Error::new)?;
            results.iter_mut().for_each(|result| *result = Val::I32(errno));
            Ok(())
        };
        linker.func_new(wasi::MODULE, import.name(), ty, call)?;
    }
    Ok(linker)
}

fn end(error: Error) -> anyhow::Result<End> {
    if let Some(exit) = error.downcast_ref::<Exit>() {
        return Ok(End::Exited(exit.0));
    }
    if error.is::<ThrownException>() {
        return Ok(End::trapped(TrapId::UncaughtException));
    }
    let Some(&trap) = error.downcast_ref::<Trap>() else { return Err(error.into()) };
    Ok(match trap {
        Trap::UnreachableCodeReached => End::trapped(TrapId::Unreachable),
        Trap::MemoryOutOfBounds => End::trapped(TrapId::MemoryAccessOutOfBounds),
        Trap::TableOutOfBounds => End::trapped(TrapId::TableAccessOutOfBounds),
        Trap::IndirectCallToNull => End::trapped(TrapId::IndirectCallToNull),
        Trap::IntegerDivisionByZero => End::trapped(TrapId::IntegerDivideByZero),
        Trap::IntegerOverflow => End::trapped(TrapId::IntegerOverflow),
        Trap::BadConversionToInteger => End::trapped(TrapId::InvalidConversionToInteger),
        Trap::BadSignature => End::trapped(TrapId::IndirectCallSignatureMismatch),
        Trap::NullReference => End::trapped(TrapId::NullReference),
        Trap::StackOverflow => End::Exhausted,
        other => anyhow::bail!("an unexpected trap: {other}"),
    })
}

/// The value, if it is not a reference.
fn value(value: &Val) -> Option<Value> {
    Some(match *value {
        Val::I32(value) => Value::I32(value),
        Val::I64(value) => Value::I64(value),
        Val::F32(bits) => Value::F32(bits),
        Val::F64(bits) => Value::F64(bits),
        Val::V128(value) => Value::V128(value.as_u128()),
        _ => return None,
    })
}

fn text(global: &Val) -> String {
    let null = |null| if null { "null" } else { "not null" };
    match (value(global), global) {
        (Some(value), _) => {
            let view = ValueView::from(value);
            account::value(&view.ty, &view.value)
        }
        (None, Val::FuncRef(func)) => account::value("funcref", null(func.is_none())),
        (None, Val::ExternRef(value)) => account::value("externref", null(value.is_none())),
        (None, Val::ExnRef(value)) => account::value("exnref", null(value.is_none())),
        (None, other) => format!("{other:?}"),
    }
}
