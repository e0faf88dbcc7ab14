//! Compiles modules.

use crate::breakpoints::Breakpoints;
use crate::callgraph::CallGraph;
use crate::codegen::{Code, Generator};
use crate::compiled::{Anchors, CompiledModule, ModuleInfo};
use crate::deadline::Deadline;
use crate::error::{CompileError, ErrorKind};
use crate::features::Features;
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
/// The bytes are not a valid module, they use or import what there is not, or exceed a limit. A worker is at fault.
pub fn compile(
    wasm: &[u8],
    options: &Options,
    imports: &dyn ImportResolver,
) -> Result<CompiledModule, CompileError> {
    match &options.worker {
        Some(worker) => worker.compile(wasm, options),
        None => compile_here(wasm, options, imports),
    }
}

/// Compiles a module in this process.
pub(crate) fn compile_here(
    wasm: &[u8],
    options: &Options,
    imports: &dyn ImportResolver,
) -> Result<CompiledModule, CompileError> {
    let deadline = Deadline::new(options);
    let isa = isa::target(options)?;
    let module = Module::parse(wasm, options, imports)?;
    let layout = InstanceLayout::new(&module)?;
    let threads = threads(options.threads.unwrap_or(0))?;
    let breakpoints = Breakpoints::new(&options.breakpoints);
    breakpoints.check(&module)?;
    let graph = threads.install(|| CallGraph::new(&module, breakpoints));
    let (linked, anchors, features) = threads.install(|| {
        let env = Env { module: &module, layout: &layout, graph: &graph, breakpoints, deadline };
        text(&env, &*isa, options)
    })?;
    let features = features.union(module.features);
    // One of them can allow the validator more than it is for.
    if let Some(feature) = features.iter().find(|&feature| !options.features.has(feature)) {
        let message = format!("the module uses {feature}, which is off");
        return Err(CompileError::new(ErrorKind::Invalid, None, message));
    }
    let initial = initial_state(&module, &layout);
    let maps = maps(&module, &graph, &linked, anchors);
    let functions = (0..module.functions.len()).map(|function| module.function_type(function as u32));
    let signatures = module.referenced_signatures();
    let info = ModuleInfo {
        functions: functions.collect(),
        imported_functions: module.imported_functions(),
        imports: module.import_names,
        start: module.start,
        trampolines: linked.trampolines,
        memories: layout.memories,
        tables: layout.tables,
        globals: layout.globals,
        exceptions: layout.exceptions,
        signatures,
        layout: layout.region,
        initial,
        features,
        exports: module.exports,
    };
    Ok(CompiledModule { text: linked.text, info, maps })
}

fn text(
    env: &Env<'_>,
    isa: &dyn TargetIsa,
    options: &Options,
) -> Result<(Linked, Anchors, Features), CompileError> {
    let functions: Vec<_> = (0..env.module.functions.len() as u32).collect();
    let functions = generate_all(env, isa, &functions, |generator, &function| generator.function(function))?;
    let entries = entry_functions(env.module);
    let trampolines =
        generate_all(env, isa, &entries, |generator, &function| generator.trampoline(function))?;
    let features = functions.iter().fold(Features::NONE, |all, code| all.union(code.features));
    let trampolines = entries.into_iter().zip(trampolines).collect();
    let (linked, anchors) = link(env.module, functions, trampolines, options.limits.text_size)?;
    Ok((linked, anchors, features))
}

/// So many threads, or one per processor if it is zero.
pub(crate) fn threads(number: usize) -> Result<rayon::ThreadPool, CompileError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(number)
        .stack_size(THREAD_STACK_SIZE)
        .thread_name(|number| format!("compile-{number}"))
        .build()
        .map_err(|error| CompileError::internal(format!("cannot start threads: {error}")))
}

/// Generates code for each of some things. If several fail, the error is that of the first.
pub(crate) fn generate_all<'a, T: Sync>(
    env: &'a Env<'a>,
    isa: &'a dyn TargetIsa,
    what: &[T],
    generate: impl Fn(&mut Generator<'a>, &T) -> Result<Code, CompileError> + Sync,
) -> Result<Vec<Code>, CompileError> {
    let results: Vec<_> = what
        .par_iter()
        .map_init(
            || Generator::new(env, isa),
            |generator, item| {
                env.deadline.check()?;
                generate(generator, item)
            },
        )
        .collect();
    results.into_iter().collect()
}
