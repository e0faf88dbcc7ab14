//! Whatever the bytes, they are read as a snapshot that can be looked at, written again and resumed, or there is an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|snapshot: &[u8]| gate_fuzz::check_snapshot(snapshot));
