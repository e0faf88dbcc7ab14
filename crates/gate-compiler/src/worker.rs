//! Compilation in a process of its own, which has no rights and little of everything.
//!
//! A module is input from somebody who is not trusted, and a compiler is a large program. A [`Worker`] says which
//! executable to start for each compilation: one that calls [`main`] first thing. It gets the module through its standard
//! input, and writes what it has made of it to its standard output. Before it reads anything, it gives up all that it
//! does not need: files, network, other processes.
//!
//! What comes back is not trusted either: its size is limited, and its form is checked, so that all that follows can rely on
//! it. What the text does is for the sandbox to contain, as always.

mod confine;
mod exchange;
mod form;

use crate::compile::compile_here;
use crate::compiled::{CompiledModule, Maps, ModuleInfo};
use crate::error::{CompileError, ErrorKind};
use crate::imports::ImportResolver;
use crate::options::Options;
use crate::resume::compile_resume_here;
use crate::resumed::{CompiledBase, ResumePoint, ResumeText};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// A process for each compilation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// What to execute. It must call [`main`], with the host functions that this process would have used.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// How much address space it may use, in bytes. Besides what compiling takes, that includes the executable, and a stack
    /// of 8 MiB for each thread.
    pub memory: Option<u64>,
}

/// What is sent to a worker.
#[derive(Serialize, Deserialize)]
struct Request<'a> {
    options: Options,
    memory: Option<u64>,
    #[serde(borrow)]
    wasm: &'a [u8],
    #[serde(borrow)]
    resume: Option<ResumeRequest<'a>>,
}

/// If what is compiled is text with which stopped programs go on.
#[derive(Serialize, Deserialize)]
struct ResumeRequest<'a> {
    #[serde(borrow)]
    text: &'a [u8],
    info: ModuleInfo,
    maps: Maps,
    points: BTreeSet<ResumePoint>,
    outermost: BTreeSet<u32>,
}

/// What a worker answers.
#[derive(Serialize, Deserialize)]
enum Answer {
    Module { text: Vec<u8>, info: Box<ModuleInfo>, maps: Maps },
    Resume(ResumeText),
    Failed(CompileError),
}

impl Worker {
    pub(crate) fn compile(&self, wasm: &[u8], options: &Options) -> Result<CompiledModule, CompileError> {
        match self.ask(wasm, options, None)? {
            Answer::Module { text, info, maps } => {
                let module = CompiledModule { text, info: *info, maps };
                form::check_module(&module, &options.limits).map_err(malformed)?;
                Ok(module)
            }
            Answer::Failed(error) => Err(presentable(error)),
            Answer::Resume(_) => Err(malformed("kind of answer")),
        }
    }

    pub(crate) fn compile_resume(
        &self,
        wasm: &[u8],
        options: &Options,
        base: &CompiledBase<'_>,
        points: &BTreeSet<ResumePoint>,
        outermost: &BTreeSet<u32>,
    ) -> Result<ResumeText, CompileError> {
        let resume = ResumeRequest {
            text: base.text,
            info: base.info.clone(),
            maps: base.maps.clone(),
            points: points.clone(),
            outermost: outermost.clone(),
        };
        match self.ask(wasm, options, Some(resume))? {
            Answer::Resume(text) => {
                form::check_resume(&text, base, points, outermost, &options.limits).map_err(malformed)?;
                Ok(text)
            }
            Answer::Failed(error) => Err(presentable(error)),
            Answer::Module { .. } => Err(malformed("kind of answer")),
        }
    }

    fn ask(
        &self,
        wasm: &[u8],
        options: &Options,
        resume: Option<ResumeRequest<'_>>,
    ) -> Result<Answer, CompileError> {
        // Nothing of that size is copied only to be refused.
        if wasm.len() > options.limits.module_size {
            return Err(CompileError::limit(
                None,
                "size of the module",
                wasm.len(),
                options.limits.module_size,
            ));
        }
        let request = Request { options: options.clone(), memory: self.memory, wasm, resume };
        let request = postcard::to_stdvec(&request)
            .map_err(|error| CompileError::internal(format!("cannot encode the worker's task: {error}")))?;
        let answer = exchange::exchange(self, &request, options)?;
        postcard::from_bytes(&answer).map_err(|_| malformed("encoding"))
    }
}

/// Errors of a worker's are shown to people, and may have been written by the module.
fn presentable(error: CompileError) -> CompileError {
    const MAX_LENGTH: usize = 1000;
    let message = error.message().chars().take(MAX_LENGTH);
    let message: String =
        message.map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    CompileError::new(error.kind(), error.offset(), message)
}

fn malformed(what: &'static str) -> CompileError {
    CompileError::new(
        ErrorKind::Internal,
        None,
        format!("the compiler's process has answered nonsense: {what}"),
    )
}

/// What the executable of a [`Worker`] does: compiles what its standard input contains. `imports` are its host functions.
///
/// It must be called before there are other threads. It never returns to do something else: the process has no rights any
/// more.
pub fn main(imports: &dyn ImportResolver) -> ExitCode {
    match serve(imports) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever reads this knows what to do, or there is nobody.
            let _ = writeln!(io::stderr(), "compiler's process: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(imports: &dyn ImportResolver) -> io::Result<()> {
    confine::give_up_rights()?;
    let mut request = Vec::new();
    io::stdin().lock().read_to_end(&mut request)?;
    let request: Request<'_> = postcard::from_bytes(&request).map_err(io::Error::other)?;
    confine::limit(request.memory, request.options.timeout)?;
    let answer = postcard::to_stdvec(&answer(&request, imports)).map_err(io::Error::other)?;
    io::stdout().lock().write_all(&answer)
}

fn answer(request: &Request<'_>, imports: &dyn ImportResolver) -> Answer {
    let Request { options, wasm, resume, .. } = request;
    let answer = match resume {
        None => compile_here(wasm, options, imports)
            .map(|CompiledModule { text, info, maps }| Answer::Module { text, info: info.into(), maps }),
        Some(ResumeRequest { text, info, maps, points, outermost }) => {
            let base = CompiledBase { text, info, maps };
            compile_resume_here(wasm, options, imports, &base, points, outermost).map(Answer::Resume)
        }
    };
    answer.unwrap_or_else(Answer::Failed)
}
