//! What comes out of the compiler, and what it refuses.

use gate_compiler::{
    CompileError, CompiledModule, ErrorKind, ExportKind, Feature, Features, FuncType, ImportProblem,
    ImportResolver, Limits, OptLevel, Options, SafepointKind, ValType, WasiImports, compile, fingerprint,
    write_listing,
};
use gate_wire::context::{Context, memory_desc_distance};
use gate_wire::trap::TrapId;

fn compiled_with(wat: &str, options: &Options) -> Result<CompiledModule, CompileError> {
    compile(&wat::parse_str(wat).unwrap(), options, &WasiImports)
}

fn compiled(wat: &str) -> CompiledModule {
    compiled_with(wat, &Options::default()).unwrap()
}

fn limited(wat: &str, limits: Limits) -> Result<CompiledModule, CompileError> {
    compiled_with(wat, &Options { limits, ..Options::default() })
}

/// A bit of everything.
fn mixture(functions: usize) -> String {
    let functions: String = (0..functions)
        .map(|n| {
            format!(
                r#"(func $f{n} (export "f{n}") (param i32 i64) (result i64) (local i32 f64)
                    (local.set 2 (i32.const {n}))
                    (loop $l
                        (if (i32.eqz (i32.rem_u (local.get 2) (i32.const 7)))
                            (then (local.set 1 (i64.mul (local.get 1) (call_indirect (type $t)
                                (local.get 2) (local.get 1) (i32.and (local.get 2) (i32.const 3)))))))
                        (i32.store (local.get 2) (i32.load offset=16 (local.get 0)))
                        (br_if $l (local.tee 2 (i32.add (local.get 2) (i32.const 1)))))
                    (f64.store (local.get 2) (f64.sqrt (local.get 3)))
                    (i64.add (local.get 1) (call $f{} (local.get 0) (i64.const {n}))))"#,
                (n + 1) % functions
            )
        })
        .collect();
    format!(
        r#"(module
            (type $t (func (param i32 i64) (result i64)))
            (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
            (memory 1) (table 4 funcref) (elem (i32.const 0) $f0 $f1) (elem func $f0) (data "passive")
            {functions})"#
    )
}

#[test]
fn same_input_gives_same_output() {
    let wat = mixture(60);
    let with_threads = |threads| compiled_with(&wat, &Options { threads, ..Options::default() }).unwrap();
    let first = with_threads(Some(1));
    for threads in [Some(1), Some(2), Some(7), None] {
        assert!(with_threads(threads) == first, "{threads:?}");
    }
}

#[test]
fn maps_are_sorted_and_within_the_text() {
    let module = compiled(&mixture(20));
    let maps = &module.maps;
    assert_eq!(module.text.len() % 4096, 0);
    assert_eq!(maps.functions.len(), 20);
    assert_eq!(maps.functions[3].name.as_deref(), Some("f3"));
    assert!(maps.functions.is_sorted_by(|a, b| a.text_offset + a.text_size <= b.text_offset));
    assert!(maps.traps.is_sorted_by(|a, b| a.text_offset < b.text_offset));
    assert!(maps.addresses.is_sorted_by(|a, b| a.text_offset <= b.text_offset));
    assert!(maps.safepoints.is_sorted_by_key(|safepoint| (safepoint.function, safepoint.code_offset)));
    assert!(maps.traps.iter().any(|site| site.trap == TrapId::MemoryAccessOutOfBounds as u8));
    assert!(maps.traps.iter().any(|site| site.trap == TrapId::IndirectCallToNull as u8));

    // Each function: entry, loop, and two calls. The imported one: its thunk.
    let kinds = |function| {
        let safepoints = maps.safepoints.iter().filter(move |safepoint| safepoint.function == function);
        safepoints.map(|safepoint| safepoint.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(0), [SafepointKind::Entry]);
    for function in 1..21 {
        use SafepointKind::{Call, Entry, Loop};
        assert_eq!(kinds(function), [Entry, Loop, Call, Call]);
    }
    for function in &maps.functions {
        let entry = maps.safepoints.iter().find(|safepoint| safepoint.function == function.function).unwrap();
        assert_eq!(entry.code_offset, function.code_offset);
    }
}

#[test]
fn info_describes_the_module() {
    let module = compiled(
        r#"(module
            (import "wasi_unstable" "sched_yield" (func $yield (result i32)))
            (memory (export "m") 2 5)
            (table (export "t") 3 10 funcref)
            (global $g (export "g") (mut i32) (i32.const -2))
            (global i64 (i64.const 0))
            (global (mut v128) (v128.const i64x2 1 2))
            (func $start drop_nothing)
            (func (export "f") (param v128 i32) (result i64) (i64.const 0))
            (elem (i32.const 1) func $yield)
            (elem funcref (ref.null func) (ref.func $start))
            (data (i32.const 65536) "abc") (data "passive")
            (start $start))"#
            .replace("drop_nothing", "")
            .as_str(),
    );
    let info = &module.info;
    assert_eq!((info.imported_functions, info.start), (1, Some(1)));
    assert_eq!(
        info.functions[2],
        FuncType { params: vec![ValType::V128, ValType::I32], results: vec![ValType::I64] }
    );
    let exports: Vec<_> =
        info.exports.iter().map(|export| (export.name.as_str(), export.kind, export.index)).collect();
    use ExportKind::{Function, Global, Memory, Table};
    assert_eq!(exports, [("m", Memory, 0), ("t", Table, 0), ("g", Global, 0), ("f", Function, 2)]);
    assert_eq!(info.trampolines.iter().map(|t| t.function).collect::<Vec<_>>(), [1, 2]);

    let memory = info.memories[0];
    assert_eq!((memory.min_pages, memory.max_pages), (2, Some(5)));
    assert_eq!(u64::from(memory.desc_distance), memory_desc_distance(0));
    assert_eq!((info.tables[0].min, info.tables[0].max), (3, 10));
    assert_eq!((info.layout.instance_size % 4096, info.layout.entry_size), (0, 24));

    let initial = |distance: u32| {
        let parts = info.initial.instance.iter();
        parts.filter(move |part| part.distance == distance).map(|part| part.bytes.clone()).collect::<Vec<_>>()
    };
    assert_eq!(initial(info.globals[0].distance), [0xffff_fffe_u64.to_le_bytes()]);
    assert!(initial(info.globals[1].distance).is_empty());
    assert_eq!(initial(info.globals[2].distance), [(1_u128 | 2 << 64).to_le_bytes()]);
    assert_eq!(initial(info.tables[0].distance - 4), [1_u32.to_le_bytes()]);
    let [data] = &info.initial.memory[..] else { panic!() };
    assert_eq!((data.memory, data.offset, &data.bytes[..]), (0, 65536, &b"abc"[..]));

    let contains = |bytes: &[u8]| module.text.windows(bytes.len()).any(|window| window == bytes);
    assert!(contains(b"passive") && contains(&[0, 0, 0, 0, 2, 0, 0, 0]));
}

#[test]
fn nothing_in_the_instance_region_overlaps() {
    let module = compiled(
        r#"(module (memory 1) (global (mut i32) (i32.const 1)) (global (mut v128) (v128.const i64x2 1 2))
            (global (mut f64) (f64.const 1)) (table 5 funcref) (table 1 7 externref) (data "x") (elem func)
            (func (export "f") (param v128 v128 v128)))"#,
    );
    let info = &module.info;
    let mut ranges = vec![(0, size_of::<Context>() as u32)];
    let mut add = |distance: u32, size: u32| {
        assert!(distance >= size && distance <= info.layout.instance_size);
        ranges.push((distance - size, distance));
    };
    info.globals.iter().for_each(|global| add(global.distance, global.ty.slot_size()));
    info.memories.iter().for_each(|memory| add(memory.desc_distance, 16));
    for table in &info.tables {
        add(table.distance, 4 * table.max);
        add(table.desc_distance, 16);
    }
    add(info.layout.entry_distance, info.layout.entry_size);
    let listed: Vec<_> = ranges.iter().map(|range| range.1).collect();
    let lengths =
        info.initial.instance.iter().filter(|part| part.bytes.len() == 4 && !listed.contains(&part.distance));
    lengths.for_each(|part| ranges.push((part.distance - 4, part.distance)));
    assert_eq!(ranges.len(), 1 + 3 + 1 + 4 + 1 + 2);
    ranges.sort_unstable();
    assert!(ranges.is_sorted_by(|a, b| a.1 <= b.0), "{ranges:?}");
}

#[test]
fn growable_tables_share_what_room_there_is() {
    let module = compiled(&format!("(module {})", "(table 1000 funcref)".repeat(100)));
    for table in &module.info.tables {
        assert!(table.max >= 1_000_000 && table.max < 10_000_000);
    }
    assert!(module.info.layout.instance_size < 1 << 31);
    let error = limited(&format!("(module {})", "(table 10000000 funcref)".repeat(100)), Limits::default());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn segments_that_do_not_fit_trap_at_instantiation() {
    let module = compiled(
        r#"(module (memory 1) (table 2 funcref) (func $f)
            (elem (i32.const 0) func $f) (data (i32.const 1) "in") (data (i32.const 65535) "out") (data (i32.const 0) "x"))"#,
    );
    let initial = &module.info.initial;
    let trap = initial.trap.as_ref().unwrap();
    assert_eq!(trap.trap, TrapId::MemoryAccessOutOfBounds as u8);
    assert!(trap.message.contains("0xffff..0x10002 of memory 0"), "{}", trap.message);
    assert_eq!(initial.memory.iter().map(|part| &part.bytes[..]).collect::<Vec<_>>(), [b"in"]);

    let module = compiled(
        "(module (table 2 funcref) (func $f) (elem (i32.const 2) func $f) (memory 1) (data (i32.const 0) \"x\"))",
    );
    let initial = &module.info.initial;
    assert_eq!(initial.trap.as_ref().unwrap().trap, TrapId::TableAccessOutOfBounds as u8);
    assert!(initial.memory.is_empty());
}

#[test]
fn constants_are_computed() {
    let module = compiled(
        r#"(module (memory 1)
            (global $a i32 (i32.sub (i32.mul (i32.const 3) (i32.const -7)) (i32.const 1)))
            (global $b (mut i64) (i64.add (i64.const -1) (i64.const 1)))
            (global $c (mut i32) (i32.add (global.get $a) (i32.const 30)))
            (data (offset (i32.add (global.get $a) (i32.const 100))) "x"))"#,
    );
    let parts = &module.info.initial.instance;
    let value = |global: usize| {
        let part = parts.iter().find(|part| part.distance == module.info.globals[global].distance);
        part.map(|part| part.bytes.clone())
    };
    assert_eq!(value(0), Some(0xffff_ffea_u64.to_le_bytes().to_vec()));
    assert_eq!(value(1), None);
    assert_eq!(value(2), Some(8_u64.to_le_bytes().to_vec()));
    assert_eq!(module.info.initial.memory[0].offset, 78);
    // Not without the option.
    let error = compiled_with(
        "(module (global $a i32 (i32.const 1)) (global i32 (global.get $a)))",
        &Options { features: Features { const_globals: false, ..Features::default() }, ..Options::default() },
    );
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn imports_are_checked() {
    let error = |wat: &str| {
        let error = compiled_with(wat, &Options::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Import);
        assert!(error.offset().is_some());
        error.to_string()
    };
    let text = error(r#"(module (import "env" "nope" (func (param i32 f32))))"#);
    assert_eq!(
        text,
        r#"import "env" "nope": unknown import (a function of type (i32 f32) -> ()) (at offset 0x13)"#
    );
    let text =
        error(r#"(module (import "wasi_snapshot_preview1" "fd_close" (func (param i64) (result i32))))"#);
    assert!(
        text.contains(r#"import "wasi_snapshot_preview1" "fd_close": incompatible import type"#),
        "{text}"
    );
    assert!(text.contains("expected (i32) -> (i32), found (i64) -> (i32)"), "{text}");
    for (item, what) in [("(memory 1)", "memory"), ("(table 1 funcref)", "table"), ("(global i32)", "global")]
    {
        let text = error(&format!(r#"(module (import "a" "b" {item}))"#));
        assert!(text.contains(&format!("unknown import (a {what};")), "{text}");
    }
}

#[test]
fn host_functions_must_fit_a_call_record() {
    struct Everything;
    impl ImportResolver for Everything {
        fn resolve(&self, _module: &str, _name: &str, _ty: &FuncType) -> Result<u32, ImportProblem> {
            Ok(0)
        }
    }
    for ty in ["(param v128)", "(result i32 i32)", &format!("(param {})", "i32 ".repeat(13))] {
        let wasm = wat::parse_str(format!(r#"(module (import "a" "b" (func {ty})))"#)).unwrap();
        let error = compile(&wasm, &Options::default(), &Everything).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Import);
    }
}

#[test]
fn errors_say_where() {
    let wasm = wat::parse_str("(module (func) (func (result i32) (i64.const 0)))").unwrap();
    let offset = wasm.windows(3).position(|window| window == [0x42, 0, 0x0b]).unwrap() as u64 + 2;
    let error = compile(&wasm, &Options::default(), &WasiImports).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Invalid, Some(offset)));
    assert!(error.to_string().starts_with("type mismatch") && !error.to_string().contains('\n'), "{error}");

    // The first of many, every time.
    let functions = format!("(func){}", "(func (result i32) (i64.const 0))".repeat(500));
    let wasm = wat::parse_str(format!("(module {functions})")).unwrap();
    let first = compile(&wasm, &Options::default(), &WasiImports).unwrap_err();
    for threads in [1, 4] {
        let options = Options { threads: Some(threads), ..Options::default() };
        assert_eq!(compile(&wasm, &options, &WasiImports).unwrap_err(), first);
    }
    // In a function that is scanned for safepoints before it is validated.
    let error = |wat: &str| compiled_with(wat, &Options::default()).unwrap_err();
    let missing = error("(module (func (loop (call 7) (br 3) (drop (local.get 9)))))");
    assert_eq!(missing.kind(), ErrorKind::Invalid);
}

#[test]
fn every_prefix_is_an_error() {
    let wasm = wat::parse_str(mixture(2)).unwrap();
    for size in 0..wasm.len() {
        let error = compile(&wasm[..size], &Options::default(), &WasiImports);
        // Without its custom section, it is still a module.
        if let Err(error) = error {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{size}: {error}");
            assert!(error.offset().is_some_and(|offset| offset <= wasm.len() as u64));
        } else {
            assert!(wasm[size..].windows(4).any(|window| window == b"name"), "{size}");
        }
    }
}

#[test]
fn damaged_modules_do_no_harm() {
    let wasm = wat::parse_str(mixture(2)).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let options = Options { threads: Some(1), ..Options::default() };
    let mut valid = 0;
    for _ in 0..3000 {
        let mut damaged = wasm.clone();
        for _ in 0..=random() % 3 {
            let place = random() as usize % damaged.len();
            damaged[place] = random() as u8;
        }
        match compile(&damaged, &options, &WasiImports) {
            Ok(_) => valid += 1,
            Err(error) => assert_ne!(error.kind(), ErrorKind::Internal, "{error}"),
        }
    }
    assert!(valid > 100);
}

#[test]
fn limits_are_kept() {
    let default = Limits::default();
    let two_functions = "(module (func) (func (local i32 i32 i32)))";
    let cases = [
        (Limits { module_size: 20, ..default }, two_functions, "size of the module"),
        (Limits { functions: 1, ..default }, two_functions, "number of functions"),
        (Limits { function_size: 3, ..default }, two_functions, "size of a function body"),
        (Limits { locals: 2, ..default }, two_functions, "number of locals"),
        (Limits { globals: 0, ..default }, "(module (global i32 (i32.const 0)))", "number of globals"),
        (Limits { tables: 0, ..default }, "(module (table 0 funcref))", "number of tables"),
        (Limits { table_elements: 9, ..default }, "(module (table 10 funcref))", "number of table elements"),
        (Limits { memories: 0, ..default }, "(module (memory 0))", "number of linear memories"),
        (Limits { text_size: 64, ..default }, two_functions, "size of the text"),
    ];
    for (limits, wat, what) in cases {
        let error = limited(wat, limits).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(error.to_string().starts_with(what), "{error}");
        limited(wat, default).unwrap();
    }
}

#[test]
fn hostile_functions_are_refused_or_compiled_in_time() {
    let nested = format!("(func {} {})", "block ".repeat(20_000), "end ".repeat(20_000));
    let loops = format!("(func (param i32) {} {})", "loop ".repeat(3_000), "end ".repeat(3_000));
    // Each call keeps all operands below it.
    let operands = format!("(func $f {} {})", "i32.const 1 call $g ".repeat(4_000), "drop ".repeat(4_000));
    let branches = format!("(func (param i32) (block (br_table {} (local.get 0))))", "0 ".repeat(100_000));
    // Each loop keeps all locals alive.
    let locals = format!(
        "(func (local {}) {} {})",
        "i64 ".repeat(20_000),
        "loop end ".repeat(2_000),
        (0..20_000).map(|local| format!("local.get {local} drop ")).collect::<String>()
    );
    for (function, accepted) in
        [(nested, true), (loops, true), (operands, false), (branches, true), (locals, false)]
    {
        let wat = format!("(module {function} (func $g call $g))");
        match compiled_with(&wat, &Options::default()) {
            Ok(_) => assert!(accepted, "{}...", &wat[..80]),
            Err(error) => {
                assert!(!accepted && error.kind() == ErrorKind::Limit, "{error}");
                assert!(error.to_string().starts_with("function 0: too complex"), "{error}");
            }
        }
    }
}

#[test]
fn features_beyond_are_refused() {
    for wat in ["(module (memory 1 1 shared))", "(module (type (struct)))", "(module (func (param anyref)))"]
    {
        for const_globals in [false, true] {
            let features = Features { const_globals, ..Features::default() };
            let error = compiled_with(wat, &Options { features, ..Options::default() }).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported), "{wat}: {error}");
        }
    }
    for (wat, features) in [
        ("(module (tag))", Features { exceptions: false, ..Features::default() }),
        ("(module (func try end))", Features { legacy_exceptions: false, ..Features::default() }),
        (
            "(module (func (param (ref null 0))))",
            Features { function_references: false, ..Features::default() },
        ),
        (
            "(module (func (param (ref func))))",
            Features { function_references: false, ..Features::default() },
        ),
    ] {
        let error = compiled_with(wat, &Options { features, ..Options::default() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{wat}: {error}");
        compiled_with(wat, &Options::default()).unwrap();
    }
    let component = b"\0asm\x0d\0\x01\0";
    let error = compile(component, &Options::default(), &WasiImports).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn features_are_refused_if_they_are_off_and_known_if_they_are_used() {
    for (wat, feature) in [
        ("(module (memory 1) (memory 1))", Feature::MultiMemory),
        ("(module (memory i64 1))", Feature::Memory64),
        ("(module (table i64 1 funcref))", Feature::Memory64),
        ("(module (func (return_call 0)))", Feature::TailCalls),
        ("(module (table 1 funcref) (func (return_call_indirect (i32.const 0))))", Feature::TailCalls),
        ("(module (func unreachable (return_call 0)))", Feature::TailCalls),
        ("(module (global i32 (i32.add (i32.const 1) (i32.const 2))))", Feature::ExtendedConst),
        ("(module (global i32 (i32.const 1)) (global i32 (global.get 0)))", Feature::ConstGlobals),
        (
            "(module (func (param v128) (result v128)
                (f32x4.relaxed_madd (local.get 0) (local.get 0) (local.get 0))))",
            Feature::RelaxedSimd,
        ),
        (
            "(module (func (param v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))",
            Feature::RelaxedSimd,
        ),
    ] {
        let used: Vec<_> = compiled(wat).info.features.iter().collect();
        assert_eq!(used, [feature], "{wat}");
        let mut features = Features::ALL;
        features.set(feature, false);
        let error = compiled_with(wat, &Options { features, ..Options::default() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{wat}: {error}");
        assert_eq!(compiled("(module (memory 1))").info.features, Features::NONE);
    }
}

#[test]
fn host_functions_use_memory_0_with_short_addresses() {
    let import = |name: &str, params: &str, rest: &str| {
        compiled_with(
            &format!(
                r#"(module (import "wasi_snapshot_preview1" "{name}" (func {params} (result i32))) {rest})"#
            ),
            &Options::default(),
        )
    };
    let two = "(param i32 i32)";
    for rest in [r#"(memory i64 1)"#, r#"(memory 1) (memory (export "memory") 1)"#] {
        let error = import("random_get", two, rest).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Import);
        assert!(error.message().contains("memory 0"), "{error}");
        import("sched_yield", "", rest).unwrap();
    }
    import("random_get", two, r#"(memory (export "memory") 1) (memory i64 1)"#).unwrap();
    let error = compiled_with("(module (memory i64 131073))", &Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    compiled("(module (memory i64 131072 0x1000000000000))");
}

#[test]
fn fingerprints_tell_results_apart() {
    let default = Options::default();
    let first = fingerprint(&default).unwrap();
    assert_eq!(first, fingerprint(&Options { threads: Some(3), ..default.clone() }).unwrap());
    let limits = Limits { table_elements: 5, ..Limits::default() };
    let features = Features { multi_memory: false, ..Features::default() };
    for other in [
        Options { opt_level: OptLevel::None, ..default.clone() },
        Options { limits, ..default.clone() },
        Options { features, ..default },
    ] {
        assert_ne!(first, fingerprint(&other).unwrap());
    }
    assert!(first.contains("x86_64") && first.contains("has_sse41="));
}

#[test]
fn listings_show_instructions_and_safepoints() {
    // A table of branches among the instructions is no reason to stop.
    let table = "(func (param i32) (block (block (block (block (br_table 0 1 2 3 (local.get 0)))
        (call 0 (i32.const 1))) (call 0 (i32.const 2))) (call 0 (i32.const 3))))";
    let module = compiled(&mixture(2).replace("(table 4", &format!("{table} (table 4")));
    let mut listing = String::new();
    write_listing(&module, &Options::default(), &mut listing).unwrap();
    assert!(listing.contains("; function 2 f0: wasm offset 0x") && listing.contains(".byte 0x"));
    assert!(listing.contains("safepoint (loop, ") && listing.contains("; trap: memory_access_out_of_bounds"));
    assert!(listing.contains("; trampoline of function 3"));
    assert!(listing.lines().filter(|line| line.contains("retq")).count() >= 5);
}
