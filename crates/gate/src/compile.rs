//! `gate compile`: native text for inspection.

use crate::cli::CompileArgs;
use crate::exit::{Problem, Status};
use crate::load::compile_problem;
use crate::module::Source;
use crate::output::print;
use crate::replace::{Cancel, Replacement};
use anyhow::{Context, anyhow};
use gate_compiler::{GateImports, Options};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What to compile, and where to.
#[derive(Debug)]
pub(crate) struct Compile {
    source: Source,
    output: Option<PathBuf>,
    listing: bool,
    options: Options,
}

impl From<CompileArgs> for Compile {
    fn from(args: CompileArgs) -> Self {
        Self {
            source: Source::new(args.file),
            output: args.output,
            listing: args.listing,
            options: args.compilation.options(&[]),
        }
    }
}

/// Compiles a module and writes the text.
pub(crate) fn run(compile: Compile) -> Result<Status, Problem> {
    let about = |problem: Problem| problem.about(&compile.source);
    let output = match (&compile.output, compile.source.path()) {
        (Some(output), _) => output.clone(),
        (None, Some(path)) => path.with_extension("text"),
        (None, None) => {
            return Err(Problem::usage(anyhow!(
                "module from standard input: where to write is missing (-o OUT)"
            )));
        }
    };
    let to_stdout = output.as_os_str() == "-";
    if to_stdout && compile.listing {
        return Err(Problem::usage(anyhow!("a listing is written next to the text, which must be a file")));
    }
    let wasm = compile.source.read(compile.options.limits.module_size).map_err(about)?;
    let module = gate_compiler::compile(&wasm, &compile.options, &GateImports)
        .map_err(compile_problem)
        .map_err(about)?;
    if to_stdout {
        return print(&module.text);
    }
    write(&output, &module.text)?;
    if compile.listing {
        let mut listing = String::new();
        gate_compiler::write_listing(&module, &compile.options, &mut listing)
            .map_err(compile_problem)
            .map_err(about)?;
        write(&output.with_extension("lst"), listing.as_bytes())?;
    }
    Ok(Status::Success)
}

fn write(path: &Path, contents: &[u8]) -> Result<(), Problem> {
    let attempt = || -> io::Result<()> {
        let mut file = Replacement::create(path, 0o666, &Cancel::default())?;
        file.write_all(contents)?;
        file.commit()
    };
    attempt().with_context(|| format!("write {}", path.display())).map_err(Problem::gate_failed)
}
