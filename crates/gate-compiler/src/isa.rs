//! The machine to compile for.

use crate::error::{CompileError, ErrorKind};
use crate::options::{OptLevel, Options, Target};
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable, Flags};
use std::fmt::Write;
use target_lexicon::{
    Aarch64Architecture, Architecture, BinaryFormat, Environment, OperatingSystem, Triple, Vendor,
};

/// The machine to compile for.
pub(crate) fn target(options: &Options) -> Result<OwnedTargetIsa, CompileError> {
    let cannot = |error: String| CompileError::new(ErrorKind::Unsupported, None, error);
    let builder = match options.target {
        Target::Host => cranelift_native::builder().map_err(|error| error.to_owned()),
        Target::X86_64 => lookup(Architecture::X86_64).and_then(level_2),
        Target::Aarch64 => lookup(Architecture::Aarch64(Aarch64Architecture::Aarch64)),
    };
    let builder = builder.map_err(|error| cannot(format!("cannot compile for this machine: {error}")))?;
    let isa = builder
        .finish(flags(options))
        .map_err(|error| CompileError::internal(format!("cannot configure the code generator: {error}")))?;
    let has =
        |name: &str| isa.isa_flags().iter().any(|flag| flag.name == name && flag.as_bool() == Some(true));
    match isa.triple().architecture {
        Architecture::X86_64 => match X86_64_LEVEL_2.iter().find(|name| !has(name)) {
            None => Ok(isa),
            Some(name) => {
                Err(cannot(format!("cannot compile for a processor without {}", &name["has_".len()..])))
            }
        },
        Architecture::Aarch64(_) => Ok(isa),
        other => Err(cannot(format!("cannot compile for {other}"))),
    }
}

/// What processors have that are not older than 2009 or so (x86-64-v2). Without them, Cranelift calls functions of the C library to
/// round and to shuffle.
const X86_64_LEVEL_2: [&str; 5] = ["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];

fn level_2(mut builder: isa::Builder) -> Result<isa::Builder, String> {
    for name in X86_64_LEVEL_2 {
        builder.enable(name).map_err(|error| error.to_string())?;
    }
    Ok(builder)
}

/// A machine with no more than what all of its architecture have.
fn lookup(architecture: Architecture) -> Result<isa::Builder, String> {
    let triple = Triple {
        architecture,
        vendor: Vendor::Unknown,
        operating_system: OperatingSystem::Linux,
        environment: Environment::Gnu,
        binary_format: BinaryFormat::Elf,
    };
    isa::lookup(triple).map_err(|error| error.to_string())
}

/// Everything besides the module that decides what text comes out.
///
/// # Errors
///
/// Compilation is impossible on this machine.
pub fn fingerprint(options: &Options) -> Result<String, CompileError> {
    let isa = target(options)?;
    let mut text = format!(
        "gate-compiler {} sources {} cranelift {} target {}\n",
        env!("CARGO_PKG_VERSION"),
        env!("GATE_COMPILER_SOURCES"),
        cranelift_codegen::VERSION,
        isa.triple(),
    );
    for flag in isa.flags().iter().chain(isa.isa_flags()) {
        let _ = writeln!(text, "{flag}");
    }
    let Options { opt_level: _, target, limits, threads: _, features, breakpoints, timeout: _, worker: _ } =
        options;
    let _ = writeln!(text, "{target:?} {limits:?} {features:?} breakpoints {breakpoints:?}");
    Ok(text)
}

fn flags(options: &Options) -> Flags {
    let opt_level = match options.opt_level {
        OptLevel::None => "none",
        OptLevel::Speed => "speed",
    };
    let mut builder = settings::builder();
    for (name, value) in [
        ("opt_level", opt_level),
        // The text is position-independent all the same: everything is at a known distance. This setting
        // would have addresses loaded from a table.
        ("is_pic", "false"),
        // Backtraces, and addresses that rt reports.
        ("preserve_frame_pointers", "true"),
        ("unwind_info", "false"),
        // Frames are checked against the stack's end instead.
        ("enable_probestack", "false"),
        // WebAssembly functions may have more results than there are registers.
        ("enable_multi_ret_implicit_sret", "true"),
        // A program shares its process with nobody who has a secret. But it should not even find out where things are.
        ("enable_heap_access_spectre_mitigation", "true"),
        ("enable_table_access_spectre_mitigation", "true"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
    ] {
        builder.set(name, value).expect("settings of this version of Cranelift");
    }
    Flags::new(builder)
}
