//! Whatever the debugging information and the names are, places in the source code are found, or none.
#![no_main]

use gate_image::{Inspector, Instance, InstanceOptions, Lines};
use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;

/// Sections that are read.
const NAMES: [&[u8]; 10] = [
    b".debug_abbrev",
    b".debug_info",
    b".debug_line",
    b".debug_str",
    b".debug_line_str",
    b".debug_ranges",
    b".debug_rnglists",
    b".debug_addr",
    b".debug_str_offsets",
    b"name",
];

thread_local!(static INSTANCE: OnceCell<Instance> = const { OnceCell::new() });

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else { return };
    let wasm = match kind {
        0 => data.to_vec(),
        _ => module(data),
    };
    if let Some(lines) = Lines::new(&wasm) {
        lines.find(&(0..64).chain([1000, u32::MAX - 1, u32::MAX]).collect());
    }
    INSTANCE.with(|instance| {
        let instance = instance.get_or_init(|| {
            let subject = gate_fuzz::Subject::all().remove(1);
            Instance::new(&subject.program, &InstanceOptions::default()).expect("instance")
        });
        let inspector = Inspector::new(instance, &wasm);
        let _ = inspector.module_name();
        (0..8).for_each(|function| drop(inspector.function_name(function)));
        inspector.globals().expect("globals");
        inspector.tables().expect("tables");
    });
});

/// A module with such sections: each begins with its name's number and its size.
fn module(mut data: &[u8]) -> Vec<u8> {
    let mut sections = vec![(10, vec![0])];
    while let [name, low, high, rest @ ..] = data {
        let name = NAMES[usize::from(*name) % NAMES.len()];
        let size = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (contents, others) = rest.split_at(size);
        sections.push((0, [&[name.len() as u8], name, contents].concat()));
        data = others;
    }
    gate_fuzz::join(&sections)
}
