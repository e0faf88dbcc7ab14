//! Every valid module within the limits compiles, and to the same bytes every time.
#![no_main]

use arbitrary::Unstructured;
use gate_compiler::{Options, WasiImports, compile};
use libfuzzer_sys::fuzz_target;
use wasm_smith::{Config, Module};

fuzz_target!(|data: &[u8]| {
    let config = Config {
        max_imports: 0,
        max_memories: 1,
        max_tables: 4,
        bulk_memory_enabled: true,
        reference_types_enabled: true,
        multi_value_enabled: true,
        simd_enabled: true,
        relaxed_simd_enabled: false,
        threads_enabled: false,
        exceptions_enabled: false,
        tail_call_enabled: false,
        memory64_enabled: false,
        gc_enabled: false,
        wide_arithmetic_enabled: false,
        custom_page_sizes_enabled: false,
        ..Config::default()
    };
    let Ok(module) = Module::new(config, &mut Unstructured::new(data)) else { return };
    let wasm = module.to_bytes();
    let options = |threads| Options { threads: Some(threads), ..Options::default() };
    let first = compile(&wasm, &options(1), &WasiImports).expect("valid module");
    let second = compile(&wasm, &options(2), &WasiImports).expect("valid module");
    assert_eq!(first, second);
});
