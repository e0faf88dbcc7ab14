//! Snapshots of each version of the format, which are kept for ever: each is read, shown, written again, and goes on.
//!
//! The files are in `crates/gate-image/tests/golden`, a directory for each version of the format. A file that has been
//! committed is never changed. `cargo test -p gate --test golden -- --ignored` makes those of [`goldens::all`] that are
//! missing.

mod goldens;
mod machine;
mod make;

use gate_compiler::{OptLevel, Options, WasiImports};
use gate_image::{Exit, Inspector, Instance, Program, Restored, Snapshot, SnapshotLimits};
use gate_runtime::HostFunctions;
use goldens::{Ending, Golden};
use machine::{Host, Machine, Output, options};
use std::fs;
use std::path::PathBuf;

/// The directory of the files.
fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../gate-image/tests/golden/v1"))
}

/// What was read from a file.
struct Opened {
    wasm: Vec<u8>,
    options: Options,
    instance: Instance,
    host: Host,
    output: Output,
}

fn read(golden: &Golden) -> Vec<u8> {
    let path = directory().join(golden.file).with_extension("wasm");
    fs::read(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

fn open(golden: &Golden, opt_level: OptLevel) -> Opened {
    let restored = Restored::read(&read(golden)[..], &SnapshotLimits::default())
        .unwrap_or_else(|err| panic!("{}: {err}", golden.file));
    let wasm = restored.module().to_vec();
    let options =
        Options { opt_level, breakpoints: restored.breakpoint().into_iter().collect(), ..options() };
    let program = Program::new(gate_compiler::compile(&wasm, &options, &WasiImports).unwrap()).unwrap();
    let output = Output::default();
    // Other arguments and variables than those of the snapshot must make no difference.
    let mut host = Host::new(golden.reply, &output, &["other"], "other", golden.reach, false);
    host.restore(restored.services()).unwrap_or_else(|err| panic!("{}: {err}", golden.file));
    let sizes = restored.options();
    let instance = restored.instance(&program, &sizes).unwrap_or_else(|err| panic!("{}: {err}", golden.file));
    Opened { wasm, options, instance, host, output }
}

#[test]
fn all_files_are_known() {
    let mut known: Vec<_> = goldens::all().iter().map(|golden| format!("{}.wasm", golden.file)).collect();
    let mut found: Vec<_> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    known.sort();
    found.sort();
    assert_eq!(known, found);
}

#[tokio::test]
async fn they_are_written_again_as_they_were() {
    for golden in goldens::all() {
        let original = read(&golden);
        assert!(original.len() < 50 << 10, "{}: {} bytes", golden.file, original.len());
        let Opened { wasm, instance, host, .. } = open(&golden, OptLevel::None);
        let services = host.save();
        let mut written = Vec::new();
        Snapshot::new(&instance, &wasm, &services).unwrap().write(&mut written).unwrap();
        assert!(written == original, "{}", golden.file);
    }
}

#[tokio::test]
async fn they_show_where_they_stopped() {
    for golden in goldens::all() {
        let Opened { wasm, instance, .. } = open(&golden, OptLevel::Speed);
        let inspector = Inspector::new(&instance, &wasm);
        let stack = match instance.frames() {
            Some(frames) => inspector.stack(&frames).unwrap(),
            None => inspector.trace().unwrap(),
        };
        let mut shown: Vec<_> =
            stack.iter().map(|frame| (frame.name.as_deref().unwrap_or_default(), frame.next)).collect();
        shown.dedup();
        assert_eq!(shown, golden.stack, "{}", golden.file);
    }
}

#[tokio::test]
async fn they_go_on_to_the_right_end() {
    let machine = Machine::new().await;
    for golden in goldens::all() {
        for opt_level in [OptLevel::Speed, OptLevel::None] {
            let Opened { wasm, options, mut instance, mut host, output } = open(&golden, opt_level);
            let goes_on = match instance.exit() {
                Ok(Exit::Frozen) => true,
                Ok(Exit::None) => golden.goes_on,
                _ => false,
            };
            assert_eq!(goes_on, golden.goes_on, "{}", golden.file);
            instance.prepare_resume(&wasm, &options, &WasiImports).unwrap();
            if goes_on {
                machine.run_to_end(&mut instance, &mut host).await;
            }
            let ending = Ending::new(&instance, host.calls, &output.contents());
            assert_eq!(ending, golden.ending, "{} {opt_level:?}", golden.file);
            if let Some((function, results)) = &golden.afterwards {
                instance.set_entry(function, &[]).unwrap();
                machine.run_to_end(&mut instance, &mut host).await;
                assert_eq!(instance.results().unwrap(), *results, "{}", golden.file);
            }
        }
    }
    machine.close().await;
}
