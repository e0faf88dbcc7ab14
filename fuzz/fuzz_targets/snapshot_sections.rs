//! Like `snapshot`, but the contents of one section at a time are changed, and sizes fit.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|snapshot: &[u8]| gate_fuzz::check_snapshot(snapshot));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let changed = gate_fuzz::split(&data[..size]).and_then(|mut sections| {
        // Mostly Gate's own: the first one, and those at the end.
        let own: Vec<_> = (0..sections.len())
            .filter(|&index| sections[index].1.get(1..).is_some_and(|name| name.starts_with(b"gate.")))
            .collect();
        let seed = seed as usize;
        let index = match seed % 8 {
            0 => seed / 8 % sections.len().max(1),
            _ => *own.get(seed / 8 % own.len().max(1))?,
        };
        let contents = &mut sections.get_mut(index)?.1;
        let name = if own.contains(&index) { 1 + usize::from(contents[0]) } else { 0 };
        let old = contents.len().checked_sub(name)?;
        contents.resize(name + old + 64, 0);
        let new = fuzzer_mutate(&mut contents[name..], old, old + 64);
        contents.truncate(name + new);
        let changed = gate_fuzz::join(&sections);
        (changed.len() <= max_size).then_some(changed)
    });
    match changed {
        Some(changed) => {
            data[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        None => fuzzer_mutate(data, size, max_size),
    }
});
