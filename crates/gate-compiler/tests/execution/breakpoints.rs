//! Programs stop at breakpoints, and go on.

use crate::machine::{Code, Coverage, Machine, Outcome};
use crate::resuming::{STOPS, instructions, options};
use gate_compiler::{ErrorKind, OptLevel, SafepointKind, Value, WasiImports, compile};
use std::collections::BTreeSet;

#[test]
fn breakpoints_stop() {
    let wasm = wat::parse_str(
        r#"(module
            (func $leaf (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
            (func (export "f") (param i32) (result i32) (call $leaf (i32.const 5)) (call $leaf (local.get 0)) (i32.mul)))"#,
    )
    .unwrap();
    let all: Vec<_> = instructions(&wasm).into_iter().collect();
    let expected = Outcome::Returned(vec![Value::I32(12)]);
    let run = |breakpoints: &BTreeSet<u32>| {
        let options = options(OptLevel::Speed, breakpoints);
        let code = Code::resumable(&wasm, &options, &WasiImports);
        let safepoints = code.module.maps.safepoints.clone();
        let mut machine = Machine::with_code(Code::new(&wasm, &options, &WasiImports));
        let mut coverage = Coverage::default();
        assert_eq!(machine.run(&[&code], "f", &[Value::I32(1)], |_| None, STOPS, &mut coverage), expected);
        (coverage, safepoints)
    };
    let (none, safepoints) = run(&BTreeSet::new());
    assert_eq!((none.stops, safepoints.len()), (0, 0));
    // The leaf's instructions are executed twice.
    let in_leaf = 4;
    for (index, &offset) in all.iter().enumerate() {
        let (coverage, safepoints) = run(&BTreeSet::from([offset]));
        assert_eq!(coverage.stops, if index < in_leaf { 2 } else { 1 });
        let breakpoint =
            safepoints.iter().find(|safepoint| safepoint.kind == SafepointKind::Breakpoint).unwrap();
        let call = wasm[offset as usize] == 0x10;
        assert_eq!(breakpoint.code_offset, offset + u32::from(call));
    }
    let (coverage, _) = run(&all.iter().copied().collect());
    assert_eq!(coverage.stops, 2 * in_leaf + all.len() - in_leaf);
}

#[test]
fn breakpoints_are_at_instructions() {
    let wasm = wat::parse_str(
        r#"(module (func (drop (i32.const 100000))) (memory 1) (func (i32.store (i32.const 0) (i32.const 1))))"#,
    )
    .unwrap();
    let instructions = instructions(&wasm);
    for offset in 0..wasm.len() as u32 + 10 {
        let result = compile(&wasm, &options(OptLevel::None, &BTreeSet::from([offset])), &WasiImports);
        assert_eq!(result.is_ok(), instructions.contains(&offset), "{offset:#x}");
        if let Err(error) = result {
            assert_eq!(error.kind(), ErrorKind::Breakpoint);
            let nearest = instructions.iter().min_by_key(|instruction| instruction.abs_diff(offset)).unwrap();
            let message = format!(
                "breakpoint {offset:#x} is not at an instruction of a function: the nearest is at {nearest:#x}"
            );
            assert_eq!(error.to_string(), message);
        }
    }
    let no_functions =
        compile(b"\0asm\x01\0\0\0", &options(OptLevel::None, &BTreeSet::from([3])), &WasiImports);
    assert!(no_functions.unwrap_err().to_string().ends_with("there is none"));
}
