//! Snapshots: what is written can be read, and nothing else.

mod crafted;
mod ended;
mod features;
mod golden;
mod hostile;
mod process;
mod references;
mod sparse;
mod suspended;
mod trace;

use gate_compiler::{Options, WasiImports};
use gate_image::{Instance, InstanceOptions, Program, Restored, ServiceState, Snapshot, SnapshotLimits};

/// A module and the program that is made of it.
struct Subject {
    wasm: Vec<u8>,
    program: Program,
}

impl Subject {
    fn new(wat: &str) -> Self {
        Self::with_options(wat, Options::default())
    }

    fn with_options(wat: &str, options: Options) -> Self {
        let wasm = wat::parse_str(wat).unwrap();
        let program = compile(&wasm, options);
        Self { wasm, program }
    }

    fn instance(&self) -> Instance {
        Instance::new(&self.program, &InstanceOptions::default()).unwrap()
    }

    /// A snapshot, which is a valid module and the same each time.
    fn snapshot(&self, instance: &Instance, services: &[ServiceState]) -> Vec<u8> {
        let snapshot = Snapshot::new(instance, &self.wasm, services).unwrap();
        let mut bytes = Vec::new();
        snapshot.write(&mut bytes).unwrap();
        assert_eq!(snapshot.size(), bytes.len() as u64);
        wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all())
            .validate_all(&bytes)
            .unwrap();
        assert!(gate_image::is_snapshot(&bytes));
        let mut again = Vec::new();
        Snapshot::new(instance, &self.wasm, services).unwrap().write(&mut again).unwrap();
        assert!(bytes == again);
        bytes
    }

    /// Makes an instance of a snapshot, which has the same snapshot.
    fn restore(&self, snapshot: &[u8]) -> Instance {
        let restored = read(snapshot).unwrap();
        assert_eq!(restored.module(), self.wasm);
        let services = restored.services().to_vec();
        let options = restored.options();
        let instance = restored.instance(&self.program, &options).unwrap();
        assert!(self.snapshot(&instance, &services) == snapshot, "another snapshot of the same state");
        instance
    }
}

fn compile(wasm: &[u8], options: Options) -> Program {
    let options = Options { threads: Some(1), ..options };
    Program::new(gate_compiler::compile(wasm, &options, &WasiImports).unwrap()).unwrap()
}

fn read(snapshot: &[u8]) -> Result<Restored, gate_image::SnapshotError> {
    Restored::read(snapshot, &SnapshotLimits::default())
}
