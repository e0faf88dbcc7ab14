//! `gate inspect`: what a suspended program is doing.

mod text;

use crate::cli::{InspectArgs, MemoryRange};
use crate::exit::{Problem, Status};
use crate::load::CachePlace;
use crate::module::Source;
use crate::output::print;
use crate::runtime;
use crate::snapshot::{self, Saved};
use anyhow::anyhow;
use gate_image::{
    Exit, FrameView, Frames, GlobalView, InspectError, Inspector, Instance, MemoryView, TableView, ValueView,
};
use serde::Serialize;
use std::io::Write;

/// What to look at, and how to show it.
#[derive(Debug)]
pub(crate) struct Inspect {
    source: Source,
    json: bool,
    parts: Parts,
    cache: CachePlace,
}

/// What to show, if not an overview.
#[derive(Debug)]
struct Parts {
    stack: bool,
    memory: Vec<MemoryRange>,
    tables: Vec<u32>,
}

impl From<InspectArgs> for Inspect {
    fn from(args: InspectArgs) -> Self {
        Self {
            source: Source::new(args.snapshot),
            json: args.json,
            parts: Parts { stack: args.stack, memory: args.memory, tables: args.table },
            cache: args.cache.into(),
        }
    }
}

/// What is shown. What was not asked for is left out.
#[derive(Debug, Default, Serialize)]
struct View {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    overview: Option<Overview>,
    /// Innermost frame first.
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<Vec<FrameView>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    memory: Vec<BytesView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    elements: Vec<ElementsView>,
}

#[derive(Debug, Serialize)]
struct Overview {
    module: ModuleView,
    state: StateView,
    globals: Vec<GlobalView>,
    tables: Vec<TableView>,
    memories: Vec<MemoryView>,
    services: Vec<ServiceView>,
}

#[derive(Debug, Serialize)]
struct ModuleView {
    /// From the name section, on one line.
    name: Option<String>,
    /// Size in bytes.
    size: usize,
    /// BLAKE3.
    hash: String,
}

#[derive(Debug, Serialize)]
struct StateView {
    /// `suspended`, `breakpoint`, `fresh`, `returned`, `exited`, `trapped` or `killed`.
    status: &'static str,
    /// Exit code or trap.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// What the program's monotonic clock shows, in nanoseconds.
    monotonic_time: u64,
    /// How many functions are on the stack.
    frames: usize,
    /// Size of the stack in bytes.
    stack_size: u64,
}

#[derive(Debug, Serialize)]
struct ServiceView {
    name: String,
    /// Size of its state in bytes.
    size: usize,
}

/// A part of a memory.
#[derive(Debug, Serialize)]
struct BytesView {
    index: u32,
    start: u64,
    #[serde(serialize_with = "as_hexadecimal")]
    bytes: Vec<u8>,
}

/// Elements of a table.
#[derive(Debug, Serialize)]
struct ElementsView {
    index: u32,
    elements: Vec<ValueView>,
}

/// Looks at a program, and prints what there is to see.
pub(crate) fn run(inspect: Inspect) -> Result<Status, Problem> {
    runtime::block_on(inspect.run())
}

impl Inspect {
    async fn run(self) -> Result<Status, Problem> {
        let (source, purpose) = (self.source.clone(), snapshot::Purpose::Look);
        let saved = snapshot::restore(source, snapshot::look_options(), self.cache.clone(), purpose).await?;
        let view = view(&saved, &self.parts).map_err(|problem| problem.about(&self.source))?;
        let shown = match self.json {
            true => {
                let json = serde_json::to_string_pretty(&view)
                    .map_err(|err| Problem::gate_failed(anyhow!(err)).about("JSON"))?;
                json + "\n"
            }
            false => text::format(&self.source.to_string(), &view),
        };
        print(shown.as_bytes())
    }
}

/// Says on standard error where a suspended program is. Whether anybody listens is of no interest.
pub(crate) fn print_stack(instance: &Instance, wasm: &[u8], frames: &Frames) {
    if let Ok(stack) = Inspector::new(instance, wasm).stack(frames) {
        let _ = std::io::stderr().write_all(text::format_stack(&stack).as_bytes());
    }
}

fn view(saved: &Saved, parts: &Parts) -> Result<View, Problem> {
    let wasm = saved.wasm.get()?;
    let inspector = Inspector::new(&saved.instance, &wasm);
    let in_parts = parts.stack || !parts.memory.is_empty() || !parts.tables.is_empty();
    let frames = saved.instance.frames();
    let mut view = View::default();
    if parts.stack || !in_parts {
        let stack = match frames.as_deref() {
            Some(frames) => inspector.stack(frames),
            None => inspector.trace(),
        };
        view.stack = Some(stack.map_err(problem)?);
    }
    if !in_parts {
        view.overview = Some(overview(saved, &wasm, &inspector, view.stack.as_deref().unwrap_or_default())?);
    }
    for MemoryRange { memory, range } in &parts.memory {
        let bytes = inspector.memory_bytes(*memory as usize, range.clone()).map_err(problem)?;
        view.memory.push(BytesView { index: *memory, start: range.start, bytes });
    }
    for &index in &parts.tables {
        let elements = inspector.table_elements(index as usize, None).map_err(problem)?;
        view.elements.push(ElementsView { index, elements });
    }
    Ok(view)
}

fn overview(
    saved: &Saved,
    wasm: &[u8],
    inspector: &Inspector<'_>,
    stack: &[FrameView],
) -> Result<Overview, Problem> {
    let service = |service: &gate_runtime::SavedService| ServiceView {
        name: crate::exit::one_line(&service.name),
        size: service.state.len(),
    };
    let (status, detail) = match saved.instance.exit() {
        Ok(Exit::Frozen) if stack.first().is_some_and(|frame| frame.next == "breakpoint") => {
            ("breakpoint", None)
        }
        Ok(Exit::Frozen) => ("suspended", None),
        Ok(Exit::None) => ("fresh", None),
        Ok(Exit::Returned) => ("returned", None),
        Ok(Exit::Terminated { code }) => ("exited", Some(code.to_string())),
        Ok(Exit::Trapped(trap)) => ("trapped", Some(trap.to_string())),
        Err(err) => ("killed", Some(err.to_string())),
    };
    Ok(Overview {
        module: ModuleView {
            name: inspector.module_name().map(str::to_owned),
            size: wasm.len(),
            hash: blake3::hash(wasm).to_hex().to_string(),
        },
        state: StateView {
            status,
            detail,
            monotonic_time: saved.instance.monotonic_time(),
            frames: stack.len(),
            stack_size: saved.instance.stack_size(),
        },
        globals: inspector.globals().map_err(problem)?,
        tables: inspector.tables().map_err(problem)?,
        memories: inspector.memories().map_err(problem)?,
        services: saved.services.iter().map(service).collect(),
    })
}

fn problem(err: InspectError) -> Problem {
    match err {
        InspectError::NoSuch { .. } | InspectError::OutOfBounds { .. } => Problem::usage(err),
        err => Problem::gate_failed(err),
    }
}

fn as_hexadecimal<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&text::Hexadecimal(bytes))
}
