//! What comes out when text is compiled with which programs go on, and what is refused.

use gate_compiler::{
    CompileError, CompiledBase, CompiledModule, ErrorKind, Options, ResumePoint, ResumeText, SafepointKind,
    WasiImports, compile, compile_resume,
};
use std::collections::BTreeSet;

/// Text that resumes at all safepoints.
fn resume_text(wasm: &[u8], options: &Options, module: &CompiledModule) -> Result<ResumeText, CompileError> {
    let safepoints = module.maps.safepoints.iter();
    let points = safepoints
        .map(|safepoint| ResumePoint { function: safepoint.function, code_offset: safepoint.code_offset })
        .collect();
    let base = CompiledBase { text: &module.text, info: &module.info, maps: &module.maps };
    compile_resume(wasm, options, &WasiImports, &base, &points, &BTreeSet::from([0]))
}

#[test]
fn resume_text_is_deterministic_and_appended() {
    let wasm = wat::parse_str(
        r#"(module (func $f (export "f") (param i32) (loop (call $g (local.get 0)) (br 0)))
            (func $g (param i32) (call $f (local.get 0))) (func $unused (loop)))"#,
    )
    .unwrap();
    let module = compile(&wasm, &Options::default(), &WasiImports).unwrap();
    let texts = [1, 2, 5].map(|threads| {
        let options = Options { threads: Some(threads), ..Options::default() };
        resume_text(&wasm, &options, &module).unwrap()
    });
    let [text, ..] = &texts;
    assert!(texts.iter().all(|other| other == text));
    assert!(text.text.len().is_multiple_of(4096));
    let start = module.text.len() as u32;
    assert_eq!(text.maps.functions.len(), module.maps.safepoints.len());
    assert!(text.maps.functions.is_sorted_by(|a, b| a.text_offset + a.text_size <= b.text_offset));
    assert!(
        text.maps.functions.iter().all(|function| function.text_offset >= start && function.frame_size > 0)
    );
    assert!(text.maps.addresses.iter().all(|mapping| mapping.text_offset >= start));
    assert!(text.maps.addresses[0].text_offset == start);
    assert_eq!(text.trampolines.len(), 1);
    assert!(text.entries.is_sorted_by_key(|entry| entry.point));

    // Only what is asked for.
    let base = CompiledBase { text: &module.text, info: &module.info, maps: &module.maps };
    let points: BTreeSet<_> = text.entries[..1].iter().map(|entry| entry.point).collect();
    let some =
        compile_resume(&wasm, &Options::default(), &WasiImports, &base, &points, &BTreeSet::new()).unwrap();
    assert_eq!((some.entries.len(), some.maps.functions.len(), some.trampolines.len()), (1, 1, 0));
}

#[test]
fn what_cannot_be_resumed_is_refused() {
    let wasm = wat::parse_str(r#"(module (func (export "f") (call 1)) (func (loop)))"#).unwrap();
    let module = compile(&wasm, &Options::default(), &WasiImports).unwrap();
    let base = CompiledBase { text: &module.text, info: &module.info, maps: &module.maps };
    let resume = |point: Option<ResumePoint>, outermost: &[u32]| {
        let (points, outermost) = (point.into_iter().collect(), outermost.iter().copied().collect());
        compile_resume(&wasm, &Options::default(), &WasiImports, &base, &points, &outermost)
    };
    let safepoint = &module.maps.safepoints[0];
    let point = ResumePoint { function: safepoint.function, code_offset: safepoint.code_offset };
    assert!(resume(Some(point), &[0]).is_ok());
    for wrong in [ResumePoint { function: 7, ..point }, ResumePoint { code_offset: 1000, ..point }] {
        assert_eq!(resume(Some(wrong), &[0]).map_err(|error| error.kind()).err(), Some(ErrorKind::Invalid));
    }
    for wrong in [1, 2, u32::MAX] {
        assert_eq!(resume(Some(point), &[wrong]).unwrap_err().kind(), ErrorKind::Invalid);
    }
    // Another module's maps.
    let other = wat::parse_str(r#"(module (func (export "f") nop (call 1)) (func nop (loop)))"#).unwrap();
    let call = module.maps.safepoints.iter().find(|safepoint| safepoint.kind == SafepointKind::Call).unwrap();
    let points = BTreeSet::from([ResumePoint { code_offset: call.code_offset, ..point }]);
    let error = compile_resume(&other, &Options::default(), &WasiImports, &base, &points, &BTreeSet::new());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Internal);
}

/// The time it takes depends on what is resumed, not on what else there is in the module.
#[test]
fn few_points_of_a_large_module_take_little_time() {
    let functions = "(func (loop (br_if 0 (i32.const 1))) call 1)".repeat(20_000);
    let wasm = wat::parse_str(format!("(module {functions})")).unwrap();
    let time = std::time::Instant::now();
    let module = compile(&wasm, &Options::default(), &WasiImports).unwrap();
    let whole = time.elapsed();
    let base = CompiledBase { text: &module.text, info: &module.info, maps: &module.maps };
    let safepoint = &module.maps.safepoints[30_000];
    let point = ResumePoint { function: safepoint.function, code_offset: safepoint.code_offset };
    let time = std::time::Instant::now();
    let points = BTreeSet::from([point]);
    compile_resume(&wasm, &Options::default(), &WasiImports, &base, &points, &BTreeSet::new()).unwrap();
    let one = time.elapsed();
    println!("{whole:?} for the module, {one:?} to resume");
    assert!(one < whole / 10, "{whole:?}, {one:?}");
}
