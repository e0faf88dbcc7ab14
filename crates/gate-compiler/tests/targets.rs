//! Text for other machines than this one.

use gate_compiler::{
    CompiledBase, CompiledModule, OptLevel, Options, ResumePoint, ResumeText, Target, WasiImports, compile,
    compile_resume, fingerprint, write_listing,
};
use std::collections::BTreeSet;

/// Code with calls of every kind, references to the function table and to passive segments, and traps.
const MODULE: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
    (type $t (func (param i32 v128) (result f64)))
    (memory 1) (data $d "passive") (table 10 funcref) (elem $e func $a $b)
    (func $a (type $t) (f64.floor (f64.div (f64.const 1) (f64x2.extract_lane 0 (local.get 1)))))
    (func $b (type $t)
        (drop (call $seek (local.get 0) (i64.const 1) (i32.div_s (local.get 0) (i32.const 3)) (i32.const 0)))
        (f64.add (call $a (local.get 0) (i8x16.swizzle (local.get 1) (local.get 1)))
            (call_indirect (type $t) (local.get 0) (local.get 1) (i32.const 3))))
    (func $c (export "c") (param i32) (result f64) (local f64 v128)
        (local.get 1)
        (loop $l (result f64)
            (memory.init $d (i32.const 0) (i32.const 0) (local.get 0))
            (table.init $e (i32.const 0) (i32.const 0) (i32.const 2))
            (local.set 1 (f64.sub (local.get 1) (call $b (local.get 0) (f32x4.ceil (local.get 2)))))
            (i32.store (local.get 0) (i32.trunc_f64_s (local.get 1)))
            (local.get 1)
            (br_if $l (local.tee 0 (i32.div_u (local.get 0) (i32.const 2))))
            (drop) (local.get 1))
        (f64.nearest) (f64.mul))
    (start $s) (func $s))"#;

fn options(target: Target, opt_level: OptLevel) -> Options {
    Options { target, opt_level, threads: Some(1), ..Options::default() }
}

fn compiled(options: &Options) -> (CompiledModule, ResumeText) {
    let wasm = wat::parse_str(MODULE).unwrap();
    let module = compile(&wasm, options, &WasiImports).unwrap();
    let points: BTreeSet<_> = module
        .maps
        .safepoints
        .iter()
        .map(|safepoint| ResumePoint { function: safepoint.function, code_offset: safepoint.code_offset })
        .collect();
    let base = CompiledBase { text: &module.text, info: &module.info, maps: &module.maps };
    let resume = compile_resume(&wasm, options, &WasiImports, &base, &points, &BTreeSet::from([3])).unwrap();
    (module, resume)
}

#[test]
fn safepoints_are_the_same() {
    let (first, _) = compiled(&options(Target::Host, OptLevel::Speed));
    assert!(first.maps.safepoints.len() > 8);
    for target in [Target::Host, Target::X86_64, Target::Aarch64] {
        for opt_level in [OptLevel::None, OptLevel::Speed] {
            let (other, resume) = compiled(&options(target, opt_level));
            assert_eq!(first.maps.safepoints, other.maps.safepoints, "{target:?}");
            assert_eq!(first.maps.signatures, other.maps.signatures);
            assert_eq!(first.info.layout, other.info.layout);
            assert_eq!(resume.entries.len(), first.maps.safepoints.len());
        }
    }
}

#[test]
fn fingerprints_name_the_target() {
    let fingerprints = [Target::Host, Target::X86_64, Target::Aarch64]
        .map(|target| fingerprint(&options(target, OptLevel::Speed)).unwrap());
    assert!(fingerprints[0] != fingerprints[1] && fingerprints[1] != fingerprints[2]);
    assert!(fingerprints[1].contains("x86_64") && fingerprints[1].contains("has_avx=0"));
    assert!(fingerprints[2].contains("aarch64"));
    let breakpoint =
        Options { breakpoints: BTreeSet::from([1]), ..options(Target::Aarch64, OptLevel::Speed) };
    assert_ne!(fingerprint(&breakpoint).unwrap(), fingerprints[2]);
}

/// Text which any processor of the architecture can execute has no instructions that only some have.
#[test]
fn x86_64_is_modest() {
    let options = options(Target::X86_64, OptLevel::Speed);
    let mut listing = String::new();
    write_listing(&compiled(&options).0, &options, &mut listing).unwrap();
    let mnemonics = listing.lines().filter_map(|line| line.split_whitespace().nth(1));
    assert!(!mnemonics.clone().any(|mnemonic| mnemonic.starts_with('v')));
    assert!(mnemonics.clone().any(|mnemonic| mnemonic == "roundsd"));
}

/// Branches lead to functions, and addresses to what is meant.
#[test]
fn aarch64_text_is_linked() {
    let (module, resume) = compiled(&options(Target::Aarch64, OptLevel::Speed));
    let text = [&module.text[..], &resume.text].concat();
    let word = |offset: u32| u32::from_le_bytes(*text[offset as usize..].first_chunk().unwrap());
    let anchors = &module.maps.anchors;
    let function = |index: u32| {
        anchors.function_table.checked_add_signed(word(anchors.function_table + 8 * (1 + index) + 4) as i32)
    };
    for map in &module.maps.functions {
        assert_eq!(function(map.function), Some(map.text_offset));
    }
    let functions: Vec<_> = (0..5).map(|index| function(index).unwrap()).collect();
    let places = [anchors.function_table, anchors.data[0], anchors.elements[0]];
    for maps in [&module.maps, &resume.maps] {
        let (mut called, mut addressed) = (BTreeSet::new(), BTreeSet::new());
        let code = maps
            .functions
            .iter()
            .flat_map(|map| (map.text_offset..map.text_offset + map.text_size).step_by(4));
        for offset in code {
            let (first, second) = (word(offset), word(offset + 4));
            if first >> 26 == 0b100101 {
                // bl
                let distance = (first << 6) as i32 >> 4;
                called.insert(offset.checked_add_signed(distance).unwrap());
            }
            if first & 0x9f00_0000 == 0x9000_0000 {
                // adrp, add
                assert_eq!((second >> 22, second & 31), (0x91_0000 >> 14, first & 31), "at {offset:#x}");
                let pages = ((first >> 5) << 13) as i32 >> 11 | (first >> 29 & 3) as i32;
                let page = (offset & !0xfff).checked_add_signed(pages << 12).unwrap();
                addressed.insert(page + (second >> 10 & 0xfff));
            }
        }
        assert!(called.iter().all(|target| functions.contains(target)), "{called:x?}");
        assert!(called.contains(&functions[0]) && called.contains(&functions[1]));
        assert!(addressed.iter().eq(BTreeSet::from(places).iter()), "{addressed:x?}");
    }
    // udf, with which everything traps that is not an access to memory.
    let traps = module.maps.traps.iter().chain(&resume.maps.traps);
    assert!(traps.filter(|site| word(site.text_offset) >> 16 == 0).count() > 10);
    assert!(resume.trampolines.iter().all(|trampoline| word(trampoline.text_offset) != 0xcccc_cccc));
}
