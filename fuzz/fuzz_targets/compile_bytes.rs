//! Whatever the bytes, compilation ends in a compiled module or an error.
#![no_main]

use gate_compiler::{Limits, Options, WasiImports, compile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|wasm: &[u8]| {
    let options = Options {
        threads: Some(1),
        limits: Limits { table_elements: 10_000, text_size: 1 << 24, ..Limits::default() },
        ..Options::default()
    };
    let _ = compile(wasm, &options, &WasiImports);
});
