//! Memories and tables with 64-bit addresses, and relaxed vector instructions.

use crate::machine::{Code, Machine, Outcome};
use crate::resuming::{all_options, check};
use gate_compiler::{SafepointKind, Value, WasiImports};
use gate_wire::MAX_MEMORY64_SIZE;
use gate_wire::trap::TrapId;
use std::collections::BTreeSet;
use std::rc::Rc;

fn machines(wat: &str) -> impl Iterator<Item = Machine> {
    let wasm = wat::parse_str(wat).unwrap();
    all_options(&BTreeSet::new())
        .into_iter()
        .map(move |options| Machine::with_code(Rc::new(Code::new(&wasm, &options, &WasiImports))))
}

#[test]
fn accesses_beyond_the_end_trap() {
    const OUTSIDE: Outcome = Outcome::Trapped(TrapId::MemoryAccessOutOfBounds);
    let offsets: [u64; 8] =
        [0, 1, 65_535, 65_536, 0x7fff_fff0, MAX_MEMORY64_SIZE - 1, MAX_MEMORY64_SIZE, u64::MAX - 7];
    let functions: String = offsets
        .iter()
        .map(|offset| {
            format!(
                r#"(func (export "load {offset}") (param i64) (result i64) (i64.load offset={offset} (local.get 0)))
                (func (export "store {offset}") (param i64) (v128.store offset={offset} (local.get 0) (v128.const i64x2 1 1)))"#
            )
        })
        .collect();
    let size: u64 = 3 << 16;
    for mut machine in machines(&format!("(module (memory i64 3 3) {functions})")) {
        for offset in offsets {
            for (name, width) in [("load", 8), ("store", 16)] {
                let name = format!("{name} {offset}");
                let limit = offset.checked_add(width).and_then(|end| size.checked_sub(end));
                let far = [1 << 32, 1 << 33, (1 << 33) + 70_000, 1 << 34, 1 << 62, 1 << 63, u64::MAX];
                let wrapping = [0_u64.wrapping_sub(offset), 0_u64.wrapping_sub(width)];
                let edges = limit.map_or(vec![], |limit| vec![0, limit, limit + 1, size - 1]);
                for index in far.into_iter().chain(wrapping).chain(edges) {
                    let outcome = machine.run_uninterrupted(&name, &[Value::I64(index as i64)]);
                    if limit.is_some_and(|limit| index <= limit) {
                        assert!(matches!(outcome, Outcome::Returned(_)), "{name} at {index:#x}: {outcome:?}");
                    } else {
                        assert_eq!(outcome, OUTSIDE, "{name} at {index:#x}");
                    }
                }
            }
        }
    }
}

#[test]
fn programs_with_wide_addresses_stop_and_go_on() {
    let wat = r#"(module
        (memory i64 1 20)
        (table $t i64 10 100 funcref)
        (elem (table $t) (i64.const 2) func $f $g)
        (data $data "abcdefghijklmnopqrstuvwxyz")
        (type $get (func (param i64) (result i64)))
        (func $f (type $get) (i64.add (local.get 0) (i64.load (local.get 0))))
        (func $g (type $get) (i64.mul (local.get 0) (memory.size)))
        (func (export "f") (param i64) (result i64) (local i64 i64)
            (drop (memory.grow (i64.const 3)))
            (drop (table.grow $t (ref.func $g) (i64.const 20)))
            (memory.init $data (i64.const 1000) (i32.const 3) (i32.const 20))
            (memory.copy (i64.const 70000) (i64.const 990) (i64.const 5000))
            (memory.fill (i64.const 120000) (i32.const 7) (i64.const 9000))
            (table.copy $t $t (i64.const 5) (i64.const 2) (i64.const 2))
            (table.fill $t (i64.const 8) (ref.func $f) (i64.const 2))
            (loop $again
                (local.set 2 (i64.rotl (i64.add (local.get 2)
                    (call_indirect $t (type $get) (i64.shl (local.get 1) (i64.const 3))
                        (i64.add (i64.const 5) (i64.and (local.get 1) (i64.const 1))))) (i64.const 7)))
                (i64.store offset=8 (i64.shl (local.get 1) (i64.const 6)) (local.get 2))
                (local.set 1 (i64.add (local.get 1) (i64.const 1)))
                (br_if $again (i64.lt_u (local.get 1) (local.get 0))))
            (i64.add (local.get 2) (i64.add (table.size $t) (memory.grow (i64.const 0x1000000000000))))))"#;
    let coverage = check(wat, "f", &[Value::I64(9)]);
    for kind in [SafepointKind::Loop, SafepointKind::Call, SafepointKind::Instruction] {
        assert!(coverage.has(kind, "any"), "{kind:?}");
    }
}

#[test]
fn wide_indices_of_tables_are_checked() {
    let wat = r#"(module
        (table $t i64 3 3 funcref)
        (func (export "get") (param i64) (drop (table.get $t (local.get 0))))
        (func (export "call") (param i64) (call_indirect $t (local.get 0)))
        (func (export "fill") (param i64) (table.fill $t (local.get 0) (ref.null func) (i64.const 0)))
        (func (export "fill more") (param i64) (table.fill $t (i64.const 0) (ref.null func) (local.get 0)))
        (func (export "grow") (param i64) (result i64) (table.grow $t (ref.null func) (local.get 0))))"#;
    for mut machine in machines(wat) {
        for index in [4_i64, 1 << 32, (1 << 32) + 1, i64::MIN, -1] {
            let mut trap = |name| match machine.run_uninterrupted(name, &[Value::I64(index)]) {
                Outcome::Trapped(trap) => trap,
                other => panic!("{name} at {index}: {other:?}"),
            };
            assert_eq!(trap("get"), TrapId::TableAccessOutOfBounds);
            assert_eq!(trap("call"), TrapId::IndirectCallIndexOutOfBounds);
            // All traps of rt are this one here.
            assert_eq!(trap("fill"), TrapId::InternalError);
            assert_eq!(trap("fill more"), TrapId::InternalError);
            assert_eq!(machine.call("grow", &[Value::I64(index)]), [Value::I64(-1)]);
        }
        assert_eq!(machine.call("grow", &[Value::I64(0)]), [Value::I64(3)]);
    }
}

/// Where the choice of the deterministic profile shows.
#[test]
fn relaxed_instructions_have_one_result() {
    let f32s = |lanes: [f32; 4]| (0..4).fold(0, |v, i| v | u128::from(lanes[i].to_bits()) << (32 * i));
    let f64s = |lanes: [f64; 2]| u128::from(lanes[0].to_bits()) | u128::from(lanes[1].to_bits()) << 64;
    let i8s = |lanes: [i8; 16]| u128::from_le_bytes(lanes.map(|lane| lane as u8));
    let i16s = |lanes: [i16; 8]| (0..8).fold(0, |v, i| v | u128::from(lanes[i] as u16) << (16 * i));
    let i32s = |lanes: [i32; 4]| (0..4).fold(0, |v, i| v | u128::from(lanes[i] as u32) << (32 * i));
    let least = i8s([i8::MIN; 16]);
    // Rounded twice, that is 2^24 + 4; rounded once, 2^24 + 6.
    let (x, y, z) = (f32s([2796203.5; 4]), f32s([3.0; 4]), f32s([8388611.0; 4]));
    let tiny = 1.0 + f64::EPSILON;
    let cases: Vec<(&str, Vec<u128>, u128)> = vec![
        ("f32x4.relaxed_madd", vec![x, y, z], f32s([16_777_220.0; 4])),
        ("f32x4.relaxed_nmadd", vec![f32s([-2796203.5; 4]), y, z], f32s([16_777_220.0; 4])),
        (
            "f64x2.relaxed_madd",
            vec![f64s([tiny; 2]), f64s([tiny; 2]), f64s([-(1.0 + 2.0 * f64::EPSILON); 2])],
            f64s([0.0; 2]),
        ),
        (
            "i8x16.relaxed_swizzle",
            vec![i8s([9; 16]), i8s([15, 16, 17, -1, 3, 127, 31, 32, 0, 0, 0, 0, 0, 0, 0, 0])],
            i8s([9, 0, 0, 0, 9, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]),
        ),
        (
            "i32x4.relaxed_trunc_f32x4_s",
            vec![f32s([f32::NAN, 1e20, -1e20, -1.9])],
            i32s([0, i32::MAX, i32::MIN, -1]),
        ),
        (
            "i32x4.relaxed_trunc_f32x4_u",
            vec![f32s([f32::NAN, 1e20, -1e20, 3e9])],
            i32s([0, -1, 0, 3_000_000_000_u32 as i32]),
        ),
        ("i32x4.relaxed_trunc_f64x2_s_zero", vec![f64s([f64::NAN, 1e20])], i32s([0, i32::MAX, 0, 0])),
        ("i32x4.relaxed_trunc_f64x2_u_zero", vec![f64s([-1e20, 1e20])], i32s([0, -1, 0, 0])),
        (
            "i16x8.relaxed_laneselect",
            vec![i16s([-1; 8]), 0, i16s([0x8001_u16 as i16; 8])],
            i16s([0x8001_u16 as i16; 8]),
        ),
        (
            "f32x4.relaxed_min",
            vec![f32s([0.0, -0.0, 1.0, 2.0]), f32s([-0.0, 0.0, 2.0, 1.0])],
            f32s([-0.0, -0.0, 1.0, 1.0]),
        ),
        ("f64x2.relaxed_max", vec![f64s([0.0, -0.0]), f64s([-0.0, 0.0])], f64s([0.0, 0.0])),
        ("i16x8.relaxed_q15mulr_s", vec![i16s([i16::MIN; 8]), i16s([i16::MIN; 8])], i16s([i16::MAX; 8])),
        ("i16x8.relaxed_dot_i8x16_i7x16_s", vec![least, least], i16s([i16::MAX; 8])),
        ("i16x8.relaxed_dot_i8x16_i7x16_s", vec![least, i8s([-127; 16])], i16s([32_512; 8])),
        ("i32x4.relaxed_dot_i8x16_i7x16_add_s", vec![least, least, i32s([1; 4])], i32s([65_535; 4])),
    ];
    let functions: String = cases
        .iter()
        .enumerate()
        .map(|(number, (name, args, _))| {
            let params = "v128 ".repeat(args.len());
            let args: String = (0..args.len()).map(|arg| format!("(local.get {arg})")).collect();
            format!(r#"(func (export "{number}") (param {params}) (result v128) ({name} {args}))"#)
        })
        .collect();
    for mut machine in machines(&format!("(module {functions})")) {
        for (number, (name, args, expected)) in cases.iter().enumerate() {
            let args: Vec<_> = args.iter().map(|&arg| Value::V128(arg)).collect();
            assert_eq!(machine.call(&number.to_string(), &args), [Value::V128(*expected)], "{name}");
        }
    }
}
