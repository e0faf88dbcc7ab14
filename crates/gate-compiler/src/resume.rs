//! Compiles text with which stopped programs go on.

use crate::breakpoints::Breakpoints;
use crate::callgraph::CallGraph;
use crate::compile::{generate_all, threads};
use crate::compiled::Safepoint;
use crate::deadline::Deadline;
use crate::error::{CompileError, ErrorKind};
use crate::imports::ImportResolver;
use crate::isa;
use crate::layout::{InstanceLayout, entry_functions};
use crate::link::link_behind;
use crate::maps::resume_maps;
use crate::module::Module;
use crate::options::Options;
use crate::resumed::{CompiledBase, ResumeEntry, ResumePoint, ResumeText};
use crate::translate::Env;
use std::collections::BTreeSet;

/// Compiles text with which programs go on that have stopped.
///
/// The bytes of the module, the options and the imports are those with which `base` was compiled. `points` are the
/// safepoints of all frames, `outermost` the functions of the outermost ones. Only the functions at these points are
/// looked at, so that the time depends on them more than on the size of the module.
///
/// The text goes on with any stack of frames at these points. It does not know whether a stack makes sense: that each frame's callee is
/// the next inner frame's function is for the caller to check.
///
/// # Errors
///
/// A point is not a safepoint of the module, or an outermost function cannot be called by rt. Resume bodies may exceed the
/// limit of the text's size, or the time. Everything else is an internal error, or `base` is not the result of compiling the
/// same bytes with the same options.
pub fn compile_resume(
    wasm: &[u8],
    options: &Options,
    imports: &dyn ImportResolver,
    base: &CompiledBase<'_>,
    points: &BTreeSet<ResumePoint>,
    outermost: &BTreeSet<u32>,
) -> Result<ResumeText, CompileError> {
    match &options.worker {
        Some(worker) => worker.compile_resume(wasm, options, base, points, outermost),
        None => compile_resume_here(wasm, options, imports, base, points, outermost),
    }
}

/// Compiles such text in this process.
pub(crate) fn compile_resume_here(
    wasm: &[u8],
    options: &Options,
    imports: &dyn ImportResolver,
    base: &CompiledBase<'_>,
    points: &BTreeSet<ResumePoint>,
    outermost: &BTreeSet<u32>,
) -> Result<ResumeText, CompileError> {
    let deadline = Deadline::new(options);
    let safepoints = points.iter().map(|&point| safepoint(base, point)).collect::<Result<Vec<_>, _>>()?;
    let isa = isa::target(options)?;
    let module = Module::parse(wasm, options, imports)?;
    if module.bodies.len() != base.maps.functions.len() || module.functions.len() != base.info.functions.len()
    {
        return Err(CompileError::internal("the compiled module is of another one: number of functions"));
    }
    let entries = entry_functions(&module);
    if let Some(function) = outermost.iter().find(|function| entries.binary_search(function).is_err()) {
        let message = format!("function {function} is neither exported nor the start function");
        return Err(CompileError::new(ErrorKind::Invalid, None, message));
    }
    let layout = InstanceLayout::new(&module)?;
    let breakpoints = Breakpoints::new(&options.breakpoints);
    let graph = CallGraph::from_maps(&module, base.maps);
    let env = Env { module: &module, layout: &layout, graph: &graph, breakpoints, deadline };

    let most = safepoints.len().max(1);
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let number = options.threads.unwrap_or_else(processors).clamp(1, most);
    let outermost: Vec<_> = outermost.iter().copied().collect();
    let (bodies, trampolines) = threads(number)?.install(|| {
        let bodies = generate_all(&env, &*isa, &safepoints, |generator, point| generator.resume(point))?;
        let trampolines = generate_all(&env, &*isa, &outermost, |generator, &function| {
            generator.resume_trampoline(function)
        })?;
        Ok::<_, CompileError>((bodies, trampolines))
    })?;
    let trampolines = outermost.into_iter().zip(trampolines).collect();
    let anchors = &base.maps.anchors;
    let linked = link_behind(base.text, anchors, bodies, trampolines, options.limits.text_size)?;

    let word = |text_offset: u32| (i64::from(text_offset) - i64::from(anchors.function_table)) as u64;
    let entries = points
        .iter()
        .zip(&linked.functions)
        .map(|(&point, function)| ResumeEntry { point, word: word(function.text_offset) })
        .collect();
    let maps = resume_maps(base.maps, module.imported_functions(), &safepoints, &linked);
    Ok(ResumeText { text: linked.text, entries, trampolines: linked.trampolines, maps })
}

fn safepoint<'a>(base: &CompiledBase<'a>, point: ResumePoint) -> Result<&'a Safepoint, CompileError> {
    let ResumePoint { function, code_offset } = point;
    base.maps.safepoint(function, code_offset).ok_or_else(|| {
        let message = format!("function {function}: there is no safepoint");
        CompileError::new(ErrorKind::Invalid, u64::from(code_offset), message)
    })
}
