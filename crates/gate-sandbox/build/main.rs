//! Builds the static programs that the library embeds.
//!
//! The compiler is run directly, not through a nested cargo: these are a few small crates without dependencies, and
//! what the user has configured for the host's build (flags, wrappers, coverage) must not reach them.

mod arch;
mod compile;
mod elf;
mod filter;
mod image;

use arch::Arch;
use gate_wire::load::SETUP_RANGE;
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// Page size of the target.
const PAGE_SIZE: usize = 4096;

/// Address space for each of executor and loader.
const SETUP_SPACE: u64 = (SETUP_RANGE.end - SETUP_RANGE.start) / 2;

fn main() -> Result<(), Box<dyn Error>> {
    let target = env::var("TARGET")?;
    let arch = Arch::of_target(&target)
        .ok_or_else(|| format!("the sandbox programs cannot be built for {target} yet"))?;

    let source = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("programs");
    let wire = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../gate-wire/src");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for dir in [Path::new("build"), &source, &wire] {
        println!("cargo::rerun-if-changed={}", dir.display());
    }

    let filter = out.join("filter.rs");
    fs::write(&filter, filter::source(arch)?)?;

    let compiler = compile::Compiler::new(target, source.join("image.ld"), out.clone())?;
    compiler.library("gate_wire", &wire.join("lib.rs"), &[])?;
    compiler.library("sys", &source.join("sys/lib.rs"), &[])?;
    compiler.library("handover", &source.join("handover/lib.rs"), &["gate_wire"])?;

    let rt = compiler.program("rt", &source.join("rt/main.rs"), 0, &[])?;
    let rt = image::pad(image::extract("rt", &fs::read(rt)?, 0)?, PAGE_SIZE);
    fs::write(out.join("rt.bin"), &rt)?;

    let filter = filter.to_str().ok_or("the output directory's path is not UTF-8")?;
    let rt_size = rt.len().to_string();
    let programs = [
        ("executor", SETUP_RANGE.start, ("GATE_FILTER", filter)),
        ("loader", SETUP_RANGE.start + SETUP_SPACE, ("GATE_RT_SIZE", rt_size.as_str())),
    ];
    for (name, addr, variable) in programs {
        let main = source.join(name).join("main.rs");
        let linked = compiler.program(name, &main, elf::HEADER_SIZE, &[variable])?;
        let image = image::extract(name, &fs::read(linked)?, elf::HEADER_SIZE)?;
        let executable = elf::wrap(arch.elf_machine, addr, &image);
        if executable.len() as u64 > SETUP_SPACE {
            return Err(format!("{name} is larger than its address space of {SETUP_SPACE} bytes").into());
        }
        fs::write(out.join(format!("{name}.elf")), executable)?;
    }
    Ok(())
}
