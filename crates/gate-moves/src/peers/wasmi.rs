//! wasmi: an interpreter, which has nothing in common with Gate's compiler but the decoder and validator.

use super::Peer;
use super::wasi::{self, Exit, Wasi};
use crate::account::{self, Account, End};
use crate::run::{MAX_MEMORY, MAX_TABLE};
use crate::subject::{Entry, Subject};
use anyhow::Context;
use gate_compiler::Value;
use gate_image::ValueView;
use gate_runtime::TrapId;
use std::collections::BTreeMap;
use wasmi::errors::{ErrorKind, HostError, InstantiationError};
use wasmi::{Caller, Config, Engine, Error, Extern, Linker, Module, Ref, Store, TrapCode, Val};
use wasmi::{StoreLimits, StoreLimitsBuilder};

pub(super) struct Wasmi(Engine);

struct Host {
    limits: StoreLimits,
    wasi: Wasi,
}

impl HostError for Exit {}

impl Wasmi {
    pub(super) fn new() -> Self {
        let mut config = Config::default();
        config.set_max_recursion_depth(50_000).set_max_stack_height(64 << 20);
        Self(Engine::new(&config))
    }
}

impl Peer for Wasmi {
    fn name(&self) -> &'static str {
        "wasmi"
    }

    fn run(&self, subject: &Subject) -> anyhow::Result<Account> {
        let module = Module::new(&self.0, &subject.wasm)?;
        let limits = StoreLimitsBuilder::new()
            .memory_size(MAX_MEMORY as usize)
            .table_elements(MAX_TABLE as usize)
            .build();
        let mut store = Store::new(&self.0, Host { limits, wasi: Wasi::new(&subject.entry) });
        store.limiter(|host| &mut host.limits);
        let instance = match linker(&self.0, &module)?.instantiate_and_start(&mut store, &module) {
            Ok(instance) => instance,
            Err(error) => return Ok(account(end(error)?, store, BTreeMap::new())),
        };
        let (name, mut results) = match subject.entry {
            Entry::Function(name) => (name, vec![Val::I64(0)]),
            Entry::Command { .. } => ("_start", Vec::new()),
        };
        let function = instance.get_func(&store, name).context("no function to call")?;
        let end = match function.call(&mut store, &[], &mut results) {
            Err(error) => end(error)?,
            Ok(()) if results.is_empty() => End::Exited(0),
            Ok(()) => End::Returned(results.iter().filter_map(value).collect()),
        };
        let mut exports = BTreeMap::new();
        for export in instance.exports(&store) {
            let contents = match export.clone().into_extern() {
                Extern::Func(_) => continue,
                Extern::Memory(memory) => {
                    let data = memory.data(&store);
                    account::memory(data.len() as u64, blake3::hash(data))
                }
                Extern::Global(global) => text(&global.get(&store)),
                Extern::Table(table) => {
                    account::table((0..table.size(&store)).map(|index| match table.get(&store, index) {
                        Some(Ref::Func(func)) => func.is_null(),
                        Some(Ref::Extern(value)) => value.is_null(),
                        None => true,
                    }))
                }
            };
            exports.insert(export.name().to_owned(), contents);
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
        let Some(ty) = import.ty().func() else { continue };
        let name = import.name().to_owned();
        let call = move |mut caller: Caller<'_, Host>, args: &[Val], results: &mut [Val]| {
            let memory = caller.get_export("memory").and_then(Extern::into_memory);
            let (memory, host) = match memory {
                Some(memory) => memory.data_and_store_mut(&mut caller),
                None => (&mut [][..], caller.data_mut()),
            };
            let args: Vec<_> = args
                .iter()
                .map(|arg| match *arg {
                    Val::I32(value) => u64::from(value as u32),
                    Val::I64(value) => value as u64,
                    _ => 0,
                })
                .collect();
            let errno = host.wasi.call(memory, &name, &args).map_err(Error::host)?;
            results.iter_mut().for_each(|result| *result = Val::I32(errno));
            Ok(())
        };
        linker.func_new(wasi::MODULE, import.name(), ty.clone(), call)?;
    }
    Ok(linker)
}

fn end(error: Error) -> anyhow::Result<End> {
    if let Some(exit) = error.downcast_ref::<Exit>() {
        return Ok(End::Exited(exit.0));
    }
    let trap = match error.kind() {
        ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. }) => {
            TrapCode::TableOutOfBounds
        }
        kind => match kind.as_trap_code() {
            Some(trap) => trap,
            None => return Err(error.into()),
        },
    };
    Ok(match trap {
        TrapCode::UnreachableCodeReached => End::trapped(TrapId::Unreachable),
        TrapCode::MemoryOutOfBounds => End::trapped(TrapId::MemoryAccessOutOfBounds),
        TrapCode::TableOutOfBounds => End::trapped(TrapId::TableAccessOutOfBounds),
        TrapCode::IndirectCallToNull => End::trapped(TrapId::IndirectCallToNull),
        TrapCode::IntegerDivisionByZero => End::trapped(TrapId::IntegerDivideByZero),
        TrapCode::IntegerOverflow => End::trapped(TrapId::IntegerOverflow),
        TrapCode::BadConversionToInteger => End::trapped(TrapId::InvalidConversionToInteger),
        TrapCode::BadSignature => End::trapped(TrapId::IndirectCallSignatureMismatch),
        TrapCode::StackOverflow
        | TrapCode::OutOfFuel
        | TrapCode::GrowthOperationLimited
        | TrapCode::OutOfSystemMemory => End::Exhausted,
    })
}

/// The value, if it is not a reference.
fn value(value: &Val) -> Option<Value> {
    Some(match *value {
        Val::I32(value) => Value::I32(value),
        Val::I64(value) => Value::I64(value),
        Val::F32(value) => Value::F32(value.to_bits()),
        Val::F64(value) => Value::F64(value.to_bits()),
        Val::V128(value) => Value::V128(value.as_u128()),
        Val::FuncRef(_) | Val::ExternRef(_) => return None,
    })
}

fn text(global: &Val) -> String {
    let null = |null| if null { "null" } else { "not null" };
    match (value(global), global) {
        (Some(value), _) => {
            let view = ValueView::from(value);
            account::value(&view.ty, &view.value)
        }
        (None, Val::FuncRef(func)) => account::value("funcref", null(func.is_null())),
        (None, Val::ExternRef(value)) => account::value("externref", null(value.is_null())),
        (None, _) => unreachable!("all else are values"),
    }
}
