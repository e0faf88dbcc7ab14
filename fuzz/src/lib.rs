//! What the targets have in common.

pub mod services;

use gate_compiler::{Features, Limits, Options, WasiImports, compile};
use gate_image::{
    Inspector, Instance, InstanceOptions, Program, Purpose, Restored, Snapshot, SnapshotLimits,
};
use gate_wire::context::ExitKind;
use gate_wire::context_offset;
use gate_wire::load::STATE_FILE_STRIDE;
use std::cell::RefCell;
use std::collections::HashMap;

/// Size of what plays rt, in bytes.
pub const RT_SPAN: u64 = 16 << 10;

macro_rules! golden {
    ($($name:literal),*) => {
        [$(include_bytes!(concat!("../../crates/gate-image/tests/golden/v1/", $name, ".wasm")).as_slice()),*]
    };
}

/// Snapshots whose modules have places of all kinds.
const GOLDEN: [&[u8]; 5] = golden!["loop", "chain", "bulk", "host_unsent", "regions"];

/// Compiles quickly, and only what is small.
pub fn options() -> Options {
    Options {
        threads: Some(1),
        features: Features { multi_memory: true, ..Features::default() },
        limits: Limits {
            module_size: 64 << 10,
            table_elements: 10_000,
            text_size: 1 << 24,
            ..Limits::default()
        },
        ..Options::default()
    }
}

/// A module and the program that is made of it.
#[derive(Clone)]
pub struct Subject {
    pub wasm: Vec<u8>,
    pub options: Options,
    pub program: Program,
}

impl Subject {
    /// `None` if the module is not accepted. What was compiled is kept, as most inputs have a module that was there before.
    pub fn new(wasm: &[u8], options: Options) -> Option<Self> {
        thread_local!(static KNOWN: RefCell<HashMap<Vec<u8>, Option<Subject>>> = RefCell::default());
        let mut key = wasm.to_vec();
        key.extend(options.breakpoints.iter().flat_map(|offset| offset.to_le_bytes()));
        KNOWN.with_borrow_mut(|known| {
            if known.len() > 100 {
                known.clear();
            }
            let make = || {
                let module = compile(wasm, &options, &WasiImports).ok()?;
                let program = Program::new(module).expect("a compiled module is a program");
                Some(Self { wasm: wasm.to_vec(), options, program })
            };
            known.entry(key).or_insert_with(make).clone()
        })
    }

    /// Modules of golden snapshots.
    pub fn all() -> Vec<Self> {
        let subject = |snapshot: &&[u8]| {
            let restored = Restored::read(*snapshot, &SnapshotLimits::default()).expect("golden");
            Self::new(restored.module(), options()).expect("golden")
        };
        GOLDEN.iter().map(subject).collect()
    }

    /// An instance that was stopped in its first exported function that takes nothing, or has been given what it takes.
    pub fn frozen(&self) -> Instance {
        let mut instance = Instance::new(&self.program, &InstanceOptions::default()).expect("instance");
        let info = self.program.info();
        let entry = info.trampolines.iter().map(|trampoline| trampoline.function).find(|&function| {
            let params = &info.functions[function as usize].params;
            let zeros: Vec<_> = params.iter().map(|&ty| gate_compiler::Value::from_slot(ty, 0)).collect();
            instance.set_entry_function(function, &zeros).is_ok()
        });
        entry.expect("something to run");
        let launch = instance.launch(RT_SPAN, Purpose::Run).expect("launch");
        let exit = STATE_FILE_STRIDE.wrapping_add_signed(context_offset!(exit.kind).into());
        let kind = (ExitKind::Frozen as u32).to_le_bytes();
        rustix::io::pwrite(launch.mutation.file(), &kind, exit).expect("write");
        drop(launch);
        instance
    }

    /// What can be done with an instance that was read.
    pub fn exercise(&self, mut instance: Instance, services: &[gate_image::ServiceState]) {
        self.look(&instance);
        // What was accepted is written, and read again as the same.
        let first = self.write(&instance, services);
        let restored = Restored::read(&first[..], &limits()).expect("what was written");
        assert_eq!((restored.module(), restored.services()), (&self.wasm[..], services));
        let options = restored.options();
        let again = restored.instance(&self.program, &options).expect("what was written");
        assert!(self.write(&again, services) == first, "another snapshot of the same state");
        let resumed = instance.prepare_resume(&self.wasm, &self.options, &WasiImports);
        resumed.expect("text for frames which have been checked");
        // Whether there is something to run is another question.
        let _ = instance.launch(RT_SPAN, Purpose::Run);
    }

    fn look(&self, instance: &Instance) {
        let inspector = Inspector::new(instance, &self.wasm);
        if let Some(frames) = instance.frames() {
            inspector.stack(&frames).expect("stack");
        }
        inspector.trace().expect("trace");
        inspector.globals().expect("globals");
        for index in 0..inspector.tables().expect("tables").len() {
            inspector.table_elements(index, None).expect("elements");
        }
        inspector.memories().expect("memories");
        instance.results().expect("results");
    }

    fn write(&self, instance: &Instance, services: &[gate_image::ServiceState]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let snapshot = Snapshot::new(instance, &self.wasm, services).expect("snapshot");
        snapshot.write(&mut bytes).expect("snapshot");
        bytes
    }
}

/// How large snapshots may be.
pub fn limits() -> SnapshotLimits {
    SnapshotLimits { module_size: 64 << 10, memory: 128 << 20, stack_size: 1 << 20, services_size: 1 << 20 }
}

/// Reads a snapshot, and does with it what can be done.
pub fn check_snapshot(bytes: &[u8]) {
    let Ok(restored) = Restored::read(bytes, &limits()) else { return };
    let mut options = options();
    options.breakpoints.extend(restored.breakpoint());
    let Some(subject) = Subject::new(restored.module(), options) else { return };
    let services = restored.services().to_vec();
    let sizes = restored.options();
    let Ok(instance) = restored.instance(&subject.program, &sizes) else { return };
    subject.exercise(instance, &services);
}

/// The sections of a module: numbers and contents. `None` if they are not whole.
pub fn split(module: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut rest = module.get(8..)?;
    let mut sections = Vec::new();
    while let Some((&id, after)) = rest.split_first() {
        let mut size = 0usize;
        let mut at = 0;
        loop {
            let byte = *after.get(at)?;
            size |= usize::from(byte & 0x7f) << (7 * at);
            at += 1;
            match byte & 0x80 {
                0 => break,
                _ if at == 5 => return None,
                _ => {}
            }
        }
        let contents = after.get(at..)?.get(..size)?;
        sections.push((id, contents.to_vec()));
        rest = &after[at + size..];
    }
    Some(sections)
}

/// A module of sections.
pub fn join(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    for (id, contents) in sections {
        module.push(*id);
        let mut size = contents.len();
        while size >= 0x80 {
            module.push(size as u8 | 0x80);
            size >>= 7;
        }
        module.push(size as u8);
        module.extend(contents);
    }
    module
}

/// Changes bytes as the input says: each four bytes are one change.
pub fn edited(original: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for &[kind, low, high, byte] in edits.as_chunks().0 {
        let at = usize::from(u16::from_le_bytes([low, high])) % (bytes.len() + 1);
        match kind % 4 {
            0 if at < bytes.len() => bytes[at] = byte,
            1 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
            2 => drop(bytes.drain(at..bytes.len().min(at + usize::from(byte)))),
            _ => bytes.insert(at, byte),
        }
    }
    bytes
}
