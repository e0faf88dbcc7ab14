//! Compiles modules.

use crate::callgraph::CallGraph;
use crate::codegen::{Code, Generator};
use crate::compiled::{CompiledModule, ModuleInfo};
use crate::error::CompileError;
use crate::imports::ImportResolver;
use crate::initial::initial_state;
use crate::isa;
use crate::layout::{InstanceLayout, entry_functions};
use crate::link::{Linked, link};
use crate::maps::maps;
use crate::module::Module;
use crate::options::Options;
use crate::translate::Env;
use cranelift_codegen::isa::TargetIsa;
use rayon::prelude::*;

/// Stack of a thread that compiles, in bytes: what a main thread usually has.
const THREAD_STACK_SIZE: usize = 8 << 20;

/// Compiles a module.
///
/// The same module and options give the same result on the same kind of processor, whatever the number of threads.
///
/// # Errors
///
/// The bytes are not a valid module, they use or import what there is not, or exceed a limit.
pub fn compile(
    wasm: &[u8],
    options: &Options,
    imports: &dyn ImportResolver,
) -> Result<CompiledModule, CompileError> {
    let isa = isa::host(options)?;
    let module = Module::parse(wasm, options, imports)?;
    let layout = InstanceLayout::new(&module)?;
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads.unwrap_or(0))
        .stack_size(THREAD_STACK_SIZE)
        .thread_name(|number| format!("compile-{number}"))
        .build()
        .map_err(|error| CompileError::internal(format!("cannot start threads: {error}")))?;
    let linked = threads.install(|| {
        let graph = CallGraph::new(&module);
        let env = Env { module: &module, layout: &layout, graph: &graph };
        text(&env, &*isa, options)
    })?;
    let initial = initial_state(&module, &layout);
    let maps = maps(&module, &linked);
    let functions = (0..module.functions.len()).map(|function| module.function_type(function as u32).clone());
    let info = ModuleInfo {
        functions: functions.collect(),
        imported_functions: module.imported_functions(),
        start: module.start,
        trampolines: linked.trampolines,
        memories: layout.memories,
        tables: layout.tables,
        globals: layout.globals,
        layout: layout.region,
        initial,
        exports: module.exports,
    };
    Ok(CompiledModule { text: linked.text, info, maps })
}

fn text(env: &Env<'_>, isa: &dyn TargetIsa, options: &Options) -> Result<Linked, CompileError> {
    let functions =
        generate_all(env, isa, (0..env.module.functions.len() as u32).collect(), Generator::function)?;
    let entries = entry_functions(env.module);
    let trampolines = generate_all(env, isa, entries.clone(), Generator::trampoline)?;
    link(env.module, functions, entries.into_iter().zip(trampolines).collect(), options.limits.text_size)
}

/// Generates code for each of some functions. If several fail, the error is that of the first.
fn generate_all<'a>(
    env: &'a Env<'a>,
    isa: &'a dyn TargetIsa,
    functions: Vec<u32>,
    generate: impl Fn(&mut Generator<'a>, u32) -> Result<Code, CompileError> + Sync,
) -> Result<Vec<Code>, CompileError> {
    let results: Vec<_> = functions
        .into_par_iter()
        .map_init(|| Generator::new(env, isa), |generator, function| generate(generator, function))
        .collect();
    results.into_iter().collect()
}
