//! Programs that have stopped go on with what they have written down, as if nothing had happened.

use crate::machine::{Code, Coverage, Machine, Outcome};
use gate_compiler::{ErrorKind, OptLevel, Options, SafepointKind, Target, Value, WasiImports, compile};
use gate_wire::trap::TrapId;
use std::collections::BTreeSet;
use std::rc::Rc;
use wasmparser::{Parser, Payload};

/// More stops than any of these programs needs.
pub(crate) const STOPS: usize = 100_000;

const NAN32: Value = Value::F32(0x7fa0_1234);
const NAN64: Value = Value::F64(0xfff4_0000_0000_0567);
const VECTOR: Value = Value::V128(0x7fa0_1234_ffff_ffff_7ff4_0000_0000_0001);
const EVERYTHING: [Value; 7] = [
    Value::I32(i32::MIN),
    Value::I64(i64::MIN + 1),
    NAN32,
    NAN64,
    VECTOR,
    Value::FuncRef(Some(0)),
    Value::ExternRef(None),
];

pub(crate) fn options(opt_level: OptLevel, breakpoints: &BTreeSet<u32>) -> Options {
    Options { opt_level, threads: Some(1), breakpoints: breakpoints.clone(), ..Options::default() }
}

/// Ways to compile for this machine. Programs are moved from one text to the other.
pub(crate) fn all_options(breakpoints: &BTreeSet<u32>) -> [Options; 3] {
    [
        options(OptLevel::Speed, breakpoints),
        options(OptLevel::None, breakpoints),
        Options { target: Target::X86_64, ..options(OptLevel::Speed, breakpoints) },
    ]
}

/// Offsets of all instructions.
pub(crate) fn instructions(wasm: &[u8]) -> BTreeSet<u32> {
    let mut offsets = BTreeSet::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::CodeSectionEntry(body) = payload.unwrap() else { continue };
        let reader = body.get_operators_reader().unwrap();
        offsets.extend(reader.into_iter_with_offsets().map(|op| op.unwrap().1 as u32));
    }
    offsets
}

/// Runs a function with stops at each safepoint, or each second and so on. It does the same as without.
pub(crate) fn check(wat: &str, name: &str, args: &[Value]) -> Coverage {
    let wasm = wat::parse_str(wat).unwrap();
    let mut coverage = check_with(&wasm, name, args, &BTreeSet::new());
    let breakpoints = instructions(&wasm);
    coverage.extend(check_with(&wasm, name, args, &breakpoints));
    coverage
}

fn check_with(wasm: &[u8], name: &str, args: &[Value], breakpoints: &BTreeSet<u32>) -> Coverage {
    let plain = options(OptLevel::Speed, &BTreeSet::new());
    let mut reference = Machine::with_code(Code::new(wasm, &plain, &WasiImports));
    let expected = reference.run_uninterrupted(name, args);

    let [speed, none, modest] =
        all_options(breakpoints).map(|options| Rc::new(Code::resumable(wasm, &options, &WasiImports)));
    assert_eq!(speed.module.maps.safepoints, none.module.maps.safepoints);
    assert_eq!(speed.module.maps.safepoints, modest.module.maps.safepoints);
    let mut coverage = Coverage::default();
    for interval in 1..8 {
        let mut machine = Machine::with_code(speed.clone());
        let before = coverage.stops;
        let outcome =
            machine.run(&[&speed, &none, &modest], name, args, |_| Some(interval), STOPS, &mut coverage);
        assert_eq!(outcome, expected, "interval {interval}, {} stops", coverage.stops - before);
        assert!(machine.state() == reference.state(), "interval {interval}");
        assert!(interval > 1 || coverage.stops > before, "did not stop");
    }
    coverage
}

#[test]
fn recursion() {
    let coverage = check(
        r#"(module (func $fib (export "fib") (param i32) (result i32)
            (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                (then (local.get 0))
                (else (i32.add
                    (call $fib (i32.sub (local.get 0) (i32.const 1)))
                    (call $fib (i32.sub (local.get 0) (i32.const 2))))))))"#,
        "fib",
        &[Value::I32(8)],
    );
    assert_eq!(coverage.deepest, 8);
}

/// Operands of every type below nested loops, whose headers are reached again after having gone on in the innermost.
#[test]
fn operands_below_loops() {
    check(
        r#"(module
            (func (export "f") (param $i32 i32) (param $i64 i64) (param $f32 f32) (param $f64 f64) (param $v128 v128)
                (param $f funcref) (param $e externref)
                (result i32 i64 f32 f64 v128 funcref externref i32 i64)
                (local $a i32) (local $b i32) (local $c i32) (local $sum i64)
                (local.get $i32) (local.get $i64)
                (loop $outer
                    (local.get $f32) (local.get $f64)
                    (local.set $b (i32.const 3))
                    (loop $middle
                        (local.get $v128) (local.get $f) (local.get $e)
                        (local.set $c (i32.const 2))
                        (i64.extend_i32_u (local.get $b))
                        (loop $inner (param i64) (result i64)
                            (i64.add (i64.extend_i32_u (local.get $c)))
                            (br_if $inner (local.tee $c (i32.sub (local.get $c) (i32.const 1)))))
                        (local.set $sum (i64.add (local.get $sum)))
                        (local.set $e) (local.set $f) (local.set $v128)
                        (br_if $middle (local.tee $b (i32.sub (local.get $b) (i32.const 1)))))
                    (local.set $f64) (local.set $f32)
                    (br_if $outer (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (i32.const 4))))
                (local.get $f32) (local.get $f64) (local.get $v128) (local.get $f) (local.get $e)
                (local.get $a) (local.get $sum)))"#,
        "f",
        &EVERYTHING,
    );
}

/// Values of every type, in locals and as operands, across each kind of safepoint.
#[test]
fn every_type_at_every_kind_of_safepoint() {
    let types = ["i32", "i64", "f32", "f64", "v128", "funcref", "externref"];
    let gets: String = (0..7).map(|local| format!("(local.get {local})")).collect();
    let params = types.join(" ");
    let coverage = check(
        &format!(
            r#"(module
                (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
                (memory 1)
                (func $callee (param {params}) (result {params}) (drop (call $yield)) {gets})
                (func (export "f") (param {params}) (result {params} i32 {params} i32) (local $n i32)
                    {gets}
                    (i32.const 0)
                    (loop (param i32) (result i32)
                        (memory.fill (i32.const 100) (i32.const 1) (i32.const 10))
                        {gets}
                        (call $callee)
                        (local.set 6) (local.set 5) (local.set 4) (local.set 3) (local.set 2) (local.set 1) (local.set 0)
                        (i32.add (i32.const 1))
                        (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 3))))
                    {gets} (i32.load (i32.const 103))))"#
        ),
        "f",
        &EVERYTHING,
    );
    coverage.print();
    use SafepointKind::{Breakpoint, Call, Entry, Instruction, Loop};
    for kind in [Entry, Loop, Call, Instruction, Breakpoint] {
        for ty in types {
            let places: &[_] = if kind == Entry { &["local"] } else { &["local", "operand"] };
            for place in places {
                assert!(coverage.has(kind, &format!("{place} {ty}")), "{kind:?} with {place} {ty}");
            }
        }
    }
}

#[test]
fn branches() {
    for selector in 0..5 {
        check(
            r#"(module
                (func $stop (param i32) (result i32) (loop (br_if 0 (i32.eqz (i32.const 1)))) (local.get 0))
                (func (export "f") (param $s i32) (result i32 i64 f32) (local $n i32) (local $t i64) (local $x f32)
                    (f32.const -1)
                    (i64.const 1000)
                    (loop $again (param i64) (result i64)
                        (local.set $n (i32.add (local.get $n) (i32.const 1)))
                        (f32.const 1) (i64.const 7)
                        (block $c (param i64) (result i64)
                            (block $b (param i64) (result i64)
                                (block $a (param i64) (result i64)
                                    (i64.add (i64.extend_i32_u (call $stop (local.get $n))))
                                    (if (param i64) (result i64) (i32.and (call $stop (local.get $s)) (i32.const 1))
                                        (then (i64.const 5) (drop (call $stop (i32.const 9))) (i64.mul))
                                        (else (i64.const 3) (drop (call $stop (i32.const 8))) (i64.sub)))
                                    (if (i32.gt_u (local.get $n) (i32.const 3)) (then (local.set $s (i32.const 0))))
                                    (br_table $a $b $c $again $b (local.get $s)))
                                (i64.add (i64.const 100))
                                (drop (call $stop (i32.const 1)))
                                (br_if $c (local.get $s)))
                            (i64.extend_i32_u (call $stop (i32.const 2)))
                            (i64.add))
                        (if (param i64) (result i64) (i32.lt_u (local.get $n) (call $stop (i32.const 4)))
                            (then (i64.add (i64.extend_i32_u (call $stop (i32.const 6)))) (br $again)))
                        (local.set $t) (drop) (i64.add (local.get $t)))
                    (local.set $t) (local.set $x) (local.get $n) (local.get $t) (local.get $x)))"#,
            "f",
            &[Value::I32(selector)],
        );
    }
}

#[test]
fn indirect_calls() {
    let coverage = check(
        r#"(module
            (type $t (func (param i32 f64) (result f64 i32)))
            (table funcref (elem $a $b $c))
            (func $a (type $t) (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (local.get 1) (i32.const 1)))
            (func $b (type $t) (local i32)
                (f64.neg (local.get 1))
                (loop $l (br_if $l (i32.lt_u (local.tee 2 (i32.add (local.get 2) (i32.const 1))) (i32.const 3))))
                (if (result f64 i32) (local.get 0)
                    (then (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (local.get 1) (i32.const 2)))
                    (else (local.get 1) (local.get 2)))
                (i32.add (local.get 0))
                (local.set 2) (f64.add) (local.get 2))
            (func $c (type $t) (call $a (local.get 0) (local.get 1)))
            (func (export "f") (param i32 f64) (result f64 i32)
                (call_indirect (type $t) (local.get 0) (local.get 1) (i32.const 0))))"#,
        "f",
        &[Value::I32(9), Value::F64(1.5_f64.to_bits())],
    );
    assert!(coverage.deepest > 8);
}

#[test]
fn bulk_operations() {
    check(
        r#"(module (memory 1) (data $d "0123456789abcdefghijklmnopqrstuvwxyz")
            (table $t 40 funcref) (table $u 10 20 externref) (elem $e func $f $g $f $g $f $g $f $g $f $g $f $g)
            (func $f) (func $g)
            (func (export "f") (param i64) (result i64 i32 i32 funcref)
                (local.get 0)
                (memory.fill (i32.const 10) (i32.const 0x55) (i32.const 20))
                (memory.init $d (i32.const 100) (i32.const 1) (i32.const 30))
                (memory.copy (i32.const 105) (i32.const 100) (i32.const 25))
                (memory.copy (i32.const 20) (i32.const 103) (i32.const 25))
                (table.fill $t (i32.const 1) (ref.func $g) (i32.const 11))
                (table.init $t $e (i32.const 20) (i32.const 0) (i32.const 12))
                (table.copy $t $t (i32.const 5) (i32.const 18) (i32.const 10))
                (table.copy $t $t (i32.const 22) (i32.const 18) (i32.const 10))
                (data.drop $d) (elem.drop $e)
                (table.fill $u (i32.const 0) (ref.null extern) (table.size $u))
                (i32.load (i32.const 107)) (i32.load (i32.const 25)) (table.get $t (i32.const 8))))"#,
        "f",
        &[Value::I64(-5)],
    );
}

#[test]
fn host_calls() {
    let coverage = check(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
            (table funcref (elem $yield))
            (func (export "f") (param i32) (result i32)
                (i64.const 3)
                (call $seek (local.get 0) (i64.const -2) (i32.const 3) (call $yield))
                (i32.add (local.get 0))
                (i32.add (call_indirect (result i32) (i32.const 0)))
                (local.set 0) (drop) (local.get 0)))"#,
        "f",
        &[Value::I32(1)],
    );
    assert!(coverage.has(SafepointKind::Entry, "local i64"));
}

#[test]
fn code_that_cannot_be_reached() {
    check(
        r#"(module
            (func $stop (loop))
            (func (export "f") (param i32) (result i32)
                (block $b (result i32)
                    (loop $l (call $stop) (br $b (i32.const 3)) (call $stop) (unreachable)) (unreachable))
                (loop (call $stop))
                (block (call $stop) (br 0) (loop (call $stop) (br 0)) (drop) (call $stop))
                (if (param i32) (result i32) (local.get 0)
                    (then (call $stop) (return) (call $stop))
                    (else (call $stop) (drop) (br 1 (i32.const 4)) (loop (call $stop)) (unreachable)))))"#,
        "f",
        &[Value::I32(1)],
    );
}

#[test]
fn traps_are_mapped_in_resumed_code() {
    let cases = [
        ("(drop (i32.div_u (local.get 0) (local.get 1)))", TrapId::IntegerDivideByZero),
        ("(unreachable)", TrapId::Unreachable),
        ("(drop (i32.load (i32.const 65536)))", TrapId::MemoryAccessOutOfBounds),
        ("(call_indirect (i32.const 0))", TrapId::IndirectCallToNull),
    ];
    for (code, trap) in cases {
        let wat = format!(
            r#"(module (memory 1) (table 1 funcref) (func (export "f") (param i32 i32) (local i32)
                (loop (br_if 0 (i32.lt_u (local.tee 2 (i32.add (local.get 2) (i32.const 1))) (i32.const 20)))) {code}))"#
        );
        let wasm = wat::parse_str(&wat).unwrap();
        let code = Code::resumable(&wasm, &options(OptLevel::Speed, &BTreeSet::new()), &WasiImports);
        let mut machine = Machine::with_code(Code::new(&wasm, &Options::default(), &WasiImports));
        let mut coverage = Coverage::default();
        let args = [Value::I32(1), Value::I32(0)];
        let outcome = machine.run(&[&code], "f", &args, |_| Some(1), STOPS, &mut coverage);
        assert_eq!(outcome, Outcome::Trapped(trap));
        assert!(coverage.stops >= 5);
        let map = machine.trapped_in(&code).expect("in resumed code");
        assert_eq!(map.function, 0);
    }
}

/// Frames of resume bodies are not those of the original ones, so they need not fit the stack.
#[test]
fn resumed_stacks_can_be_exhausted() {
    let wasm = wat::parse_str(
        r#"(module (func $f (export "f") (param i32 v128) (result v128)
            (if (local.get 0)
                (then (return (i8x16.add (local.get 1) (call $f (i32.sub (local.get 0) (i32.const 1)) (local.get 1))))))
            (loop (br_if 0 (i32.const 0)))
            (local.get 1)))"#,
    )
    .unwrap();
    let plain = options(OptLevel::Speed, &BTreeSet::new());
    let code = Code::resumable(&wasm, &plain, &WasiImports);
    for (stack_size, expected) in [
        (1 << 20, Outcome::Returned(vec![Value::V128(137)])),
        (64 << 10, Outcome::Trapped(TrapId::CallStackExhausted)),
    ] {
        let mut machine = Machine::with_code(Code::new(&wasm, &plain, &WasiImports));
        let mut coverage = Coverage::default();
        // The first entry is noticed, and then the loop.
        let mut runs = [(1 << 20, Some(2)), (stack_size, None)].into_iter();
        let next = |machine: &mut Machine| {
            let (stack_size, count) = runs.next().unwrap();
            machine.stack_size = stack_size;
            count
        };
        let args = [Value::I32(5000), Value::V128(1)];
        assert_eq!(machine.run(&[&code], "f", &args, next, 10, &mut coverage), expected);
        assert_eq!((coverage.stops, coverage.deepest), (1, 5001));
    }
}

/// Frames are no larger than the guard behind the file into which they are written.
#[test]
fn frames_are_bounded() {
    let operands = |count: usize| {
        let wat = format!(
            "(module (func (param i64 v128) {} (loop (br_if 0 (i64.eqz (local.get 0)))) {}))",
            "local.get 1 ".repeat(count),
            "drop ".repeat(count)
        );
        compile(&wat::parse_str(wat).unwrap(), &options(OptLevel::None, &BTreeSet::new()), &WasiImports)
    };
    // Head, one local, and operands.
    let most = ((1 << 20) - 16) / 16;
    let module = operands(most).unwrap();
    let frames = module.maps.safepoints.iter().map(|point| point.operands.len());
    assert_eq!(frames.max(), Some(most));
    let error = operands(most + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().starts_with("function 0: too complex"), "{error}");
}

/// What can be compiled can be resumed, even if operands lie below many blocks.
#[test]
fn deep_stacks_below_deep_blocks_are_resumed() {
    let (operands, blocks) = (5_000, 2_000);
    let wat = format!(
        "(module (func (export \"f\") (param i64) (result i64) (local i64) {} {} {} {}))",
        "local.get 0 ".repeat(operands),
        "block ".repeat(blocks),
        "(loop (br_if 0 (i64.lt_u (local.tee 1 (i64.add (local.get 1) (i64.const 1))) (i64.const 9)))) (br_if 1000 (i64.eqz (local.get 0)))"
            .to_owned() + &"end ".repeat(blocks),
        "i64.add ".repeat(operands - 1),
    );
    let wasm = wat::parse_str(wat).unwrap();
    let code = Rc::new(Code::resumable(&wasm, &options(OptLevel::Speed, &BTreeSet::new()), &WasiImports));
    let mut machine = Machine::with_code(code.clone());
    let mut coverage = Coverage::default();
    let outcome = machine.run(&[&code], "f", &[Value::I64(3)], |_| Some(1), STOPS, &mut coverage);
    assert_eq!(outcome, Outcome::Returned(vec![Value::I64(15_000)]));
    // At the entry, in each fourth round, and twice in what has no loop.
    assert_eq!(coverage.stops, 6);
}
