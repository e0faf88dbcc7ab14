//! Generated programs go on after stops anywhere as if nothing had happened.
//!
//! The environment variable `GATE_TEST_SECONDS` says for how long to try (3 seconds if it is not set), and `GATE_TEST_SEED` which
//! program is the first.

use crate::machine::{Code, Coverage, Machine, Outcome, resume_text};
use crate::resuming::{all_options, instructions, options};
use arbitrary::Unstructured;
use gate_compiler::{ExportKind, OptLevel, Options, Target, ValType, Value, WasiImports};
use gate_wire::trap::TrapId;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};
use wasm_smith::{Config, Module};

/// Rounds of loops and calls of functions, together, that a program may make. After that it traps.
const FUEL: u32 = 60;

/// Stops at most, of one call.
const STOPS: usize = 5_000;

const IMPORTS: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_seek" (func (param i32 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sched_yield" (func (result i32))))"#;

#[test]
fn generated_programs() {
    let variable = |name, default| std::env::var(name).map_or(default, |value| value.parse().expect(name));
    let time = Duration::from_secs(variable("GATE_TEST_SECONDS", 3));
    let start = Instant::now();
    let mut coverage = Coverage::default();
    let mut seed = variable("GATE_TEST_SEED", 0);
    let mut programs = 0;
    let mut outcomes = [0; 3];
    while start.elapsed() < time {
        if let Some(wasm) = generate(seed) {
            programs += 1;
            check(&wasm, seed, &mut outcomes, &mut coverage);
        }
        seed += 1;
    }
    let [returned, trapped, unfinished] = outcomes;
    println!("{programs} programs, {returned} calls returned, {trapped} trapped, {unfinished} were given up");
    coverage.print();
    assert!(returned > 0 && coverage.stops > 100);
}

fn generate(seed: u64) -> Option<Vec<u8>> {
    let mut numbers = Numbers(seed);
    let bytes: Vec<u8> = (0..numbers.below(8000) + 500).map(|_| numbers.next() as u8).collect();
    let config = Config {
        available_imports: Some(wat::parse_str(IMPORTS).unwrap()),
        // Two ways to compile the same arithmetic may differ in what bits of a NaN they leave.
        canonicalize_nans: true,
        allow_start_export: false,
        exceptions_enabled: false,
        export_everything: true,
        gc_enabled: false,
        max_memories: 1,
        max_memory32_bytes: 64 << 16,
        max_table_elements: 1000,
        max_tables: 3,
        min_funcs: 3,
        max_funcs: 12,
        max_instructions: 200,
        memory64_enabled: numbers.below(3) == 0,
        max_memory64_bytes: 64 << 16,
        memory_max_size_required: true,
        relaxed_simd_enabled: true,
        tail_call_enabled: true,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        custom_page_sizes_enabled: false,
        ..Config::default()
    };
    let mut module = Module::new(config, &mut Unstructured::new(&bytes)).ok()?;
    module.ensure_termination(FUEL).ok()?;
    Some(module.to_bytes())
}

fn check(wasm: &[u8], seed: u64, outcomes: &mut [usize; 3], coverage: &mut Coverage) {
    let mut numbers = Numbers(!seed);
    let mut breakpoints = BTreeSet::new();
    if numbers.below(2) == 0 {
        let rarity = 1 + numbers.below(20);
        breakpoints = instructions(wasm).into_iter().filter(|_| numbers.below(rarity) == 0).collect();
    }
    let speed = options(OptLevel::Speed, &breakpoints);
    // What the generator makes may be more than is supported.
    let Ok(module) = gate_compiler::compile(wasm, &speed, &WasiImports) else { return };
    if module.info.initial.trap.is_some() {
        return;
    }
    let codes =
        all_options(&breakpoints).map(|options| Rc::new(Code::resumable(wasm, &options, &WasiImports)));
    for code in &codes {
        assert_eq!(code.module.maps.safepoints, module.maps.safepoints, "seed {seed}");
    }
    let other = Options { target: Target::Aarch64, ..speed };
    let other_module = gate_compiler::compile(wasm, &other, &WasiImports).unwrap();
    assert_eq!(other_module.maps.safepoints, module.maps.safepoints, "seed {seed}");
    resume_text(wasm, &other, &WasiImports, &other_module);
    let plain = Rc::new(Code::new(wasm, &options(OptLevel::Speed, &BTreeSet::new()), &WasiImports));
    let exports = module.info.exports.iter().filter(|export| export.kind == ExportKind::Function);
    for export in exports.take(6) {
        let types = &module.info.functions[export.index as usize].params;
        let args: Vec<_> =
            types.iter().map(|&ty| value(ty, &mut numbers, module.info.functions.len())).collect();
        let mut reference = Machine::with_code(plain.clone());
        let expected = reference.run_uninterrupted(&export.name, &args);
        let interval = 1 + numbers.below(6);
        let mut machine = Machine::with_code(codes[0].clone());
        let next = |_: &mut Machine| Some(1 + numbers.below(interval));
        let outcome =
            machine.run(&codes.each_ref().map(|code| &**code), &export.name, &args, next, STOPS, coverage);
        let exhausted = Outcome::Trapped(TrapId::CallStackExhausted);
        if outcome == Outcome::Unfinished || outcome == exhausted || expected == exhausted {
            outcomes[2] += 1;
            continue;
        }
        let what = || format!("seed {seed}, {} with {args:?} at most {interval} apart", export.name);
        assert_eq!(outcome, expected, "{}", what());
        assert!(machine.state() == reference.state(), "{}", what());
        outcomes[usize::from(matches!(outcome, Outcome::Trapped(_)))] += 1;
    }
}

fn value(ty: ValType, numbers: &mut Numbers, functions: usize) -> Value {
    let bits = match numbers.below(3) {
        0 => numbers.below(10),
        1 => numbers.next(),
        _ => 0x7ff4_0000_7fa0_0001 ^ (numbers.next() & 0x8000_0000_8000_0000),
    };
    let wide = u128::from(bits) << 64 | u128::from(numbers.next());
    match ty.general() {
        ValType::I32 => Value::I32(bits as i32),
        ValType::I64 => Value::I64(bits as i64),
        ValType::F32 => Value::F32(bits as u32),
        ValType::F64 => Value::F64(bits),
        ValType::V128 => Value::V128(wide),
        ValType::FuncRef => Value::FuncRef((bits % 2 == 0).then_some((bits % functions as u64) as u32)),
        ValType::ExternRef => Value::ExternRef(None),
        ValType::ExnRef | ValType::Ref(_) => Value::ExnRef(None),
    }
}

/// Numbers as if at random, the same for the same seed.
struct Numbers(u64);

impl Numbers {
    /// The generator called SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
