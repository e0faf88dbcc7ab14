//! The same in Wasmtime.

use crate::ending::Ending;
use crate::run::MAX_MEMORY;
use crate::subject::{Entry, Subject};
use gate_compiler::{Limits, Value};
use wasmtime::{Engine, Instance, Module, Store, StoreLimitsBuilder};

/// A program in an encoding that Wasmtime does not know.
const WITHOUT_PEER: &str = "legacy";

/// In what a program's end differs from that in Wasmtime, if it does. Commands are not run: they are compared with native
/// programs elsewhere.
pub(crate) fn difference(subject: &Subject, ending: &Ending) -> anyhow::Result<Option<String>> {
    let Entry::Function(name) = subject.entry else { return Ok(None) };
    if subject.name == WITHOUT_PEER {
        return Ok(None);
    }
    let engine = Engine::default();
    let module = Module::new(&engine, &subject.wasm)?;
    let limits = StoreLimitsBuilder::new()
        .memory_size(MAX_MEMORY as usize)
        .table_elements(Limits::default().table_elements as usize)
        .build();
    let mut store = Store::new(&engine, limits);
    store.limiter(|limits| limits);
    let instance = Instance::new(&mut store, &module, &[])?;
    let result = instance.get_typed_func::<(), i64>(&mut store, name)?.call(&mut store, ());
    let results: Vec<_> = result.iter().map(|&value| Value::I64(value)).collect();
    if results != ending.results {
        return Ok(Some(format!("results {:?} instead of {results:?} ({result:?})", ending.results)));
    }
    let exported: Vec<_> = instance.exports(&mut store).filter_map(|export| export.into_memory()).collect();
    let memories = exported.iter().map(|memory| {
        let data = memory.data(&store);
        (data.len() as u64, blake3::hash(data))
    });
    let memories: Vec<_> = memories.collect();
    Ok((!memories.is_empty() && memories != ending.memories)
        .then(|| format!("memories {:?} instead of {memories:?}", ending.memories)))
}
