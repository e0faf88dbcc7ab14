//! The machine to compile for.

use crate::error::{CompileError, ErrorKind};
use crate::options::{OptLevel, Options};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable, Flags};
use std::fmt::Write;

/// The processor of this machine, with all that it can.
pub(crate) fn host(options: &Options) -> Result<OwnedTargetIsa, CompileError> {
    let builder = cranelift_native::builder().map_err(|error| {
        CompileError::new(ErrorKind::Unsupported, None, format!("cannot compile here: {error}"))
    })?;
    let isa = builder
        .finish(flags(options))
        .map_err(|error| CompileError::internal(format!("cannot configure the code generator: {error}")))?;
    if !isa.triple().architecture.to_string().starts_with("x86_64") {
        let message = format!("cannot compile for {}", isa.triple());
        return Err(CompileError::new(ErrorKind::Unsupported, None, message));
    }
    Ok(isa)
}

/// Everything besides the module that decides what text comes out.
///
/// # Errors
///
/// Compilation is impossible on this machine.
pub fn fingerprint(options: &Options) -> Result<String, CompileError> {
    let isa = host(options)?;
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
    let Options { opt_level: _, limits, threads: _, features } = options;
    let _ = writeln!(text, "{limits:?} {features:?}");
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
        // A program shares its process with nobody who has a secret.
        ("enable_heap_access_spectre_mitigation", "false"),
        ("enable_table_access_spectre_mitigation", "false"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
    ] {
        builder.set(name, value).expect("settings of this version of Cranelift");
    }
    Flags::new(builder)
}
