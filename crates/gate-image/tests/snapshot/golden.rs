//! The golden snapshots of version 1, changed at random.

use crate::hostile::{join, split};
use gate_compiler::{Features, Options, WasiImports};
use gate_image::{Inspector, InstanceOptions, Program, Restored, Snapshot, SnapshotLimits};
use std::fs;

/// How many changed snapshots there are of each.
const CHANGES: usize = 2000;

/// Always the same numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

fn limits() -> SnapshotLimits {
    SnapshotLimits { module_size: 1 << 16, memory: 128 << 20, stack_size: 1 << 16, services_size: 1 << 16 }
}

/// Changes the contents of one section of Gate's, so that only what is in it is wrong.
fn change(snapshot: &[u8], random: &mut Random) -> Vec<u8> {
    let mut sections = split(snapshot);
    let own: Vec<_> = (0..sections.len())
        .filter(|&index| sections[index].1.get(1..).is_some_and(|name| name.starts_with(b"gate.")))
        .collect();
    let contents = &mut sections[own[random.below(own.len())]].1;
    let name = 1 + usize::from(contents[0]);
    for _ in 0..1 + random.below(3) {
        let at = name + random.below(contents.len() - name + 1);
        match random.below(4) {
            0 if at < contents.len() => contents[at] ^= 1 << random.below(8),
            1 if at < contents.len() => drop(contents.remove(at)),
            2 if at < contents.len() => contents[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            _ => contents.insert(at, random.below(256) as u8),
        }
    }
    join(&sections)
}

#[test]
fn whatever_is_changed_is_refused_or_all_right() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1");
    let mut random = Random(42);
    let (mut accepted, mut refused) = (0, 0);
    for entry in fs::read_dir(directory).unwrap() {
        let original = fs::read(entry.unwrap().path()).unwrap();
        let restored = Restored::read(&original[..], &limits()).unwrap();
        let options = Options {
            threads: Some(1),
            features: Features { multi_memory: true, ..Features::default() },
            breakpoints: restored.breakpoint().into_iter().collect(),
            ..Options::default()
        };
        let wasm = restored.module().to_vec();
        let program = Program::new(gate_compiler::compile(&wasm, &options, &WasiImports).unwrap()).unwrap();
        for _ in 0..CHANGES {
            let changed = change(&original, &mut random);
            let instance = Restored::read(&changed[..], &limits()).and_then(|restored| {
                assert_eq!(restored.module(), wasm, "the hash tells");
                let services = restored.services().to_vec();
                Ok((restored.instance(&program, &InstanceOptions::default())?, services))
            });
            let Ok((instance, services)) = instance else {
                refused += 1;
                continue;
            };
            accepted += 1;
            let inspector = Inspector::new(&instance, &wasm);
            inspector.trace().unwrap();
            if let Some(frames) = instance.frames() {
                inspector.stack(&frames).unwrap();
            }
            // It can be written, and what is written can be read.
            let mut written = Vec::new();
            Snapshot::new(&instance, &wasm, &services).unwrap().write(&mut written).unwrap();
            let again = Restored::read(&written[..], &limits()).unwrap();
            again.instance(&program, &InstanceOptions::default()).unwrap();
        }
    }
    assert!(accepted > CHANGES && refused > CHANGES, "{accepted} accepted, {refused} refused");
}
