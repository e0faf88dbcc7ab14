//! What the cache takes for granted as long as files do not change, and what processes use of its files without a copy.

use gate_compiler::{Options, WasiImports};
use gate_image::{
    Cache, CacheOutcome, Directory, FileIdentity, Instance, InstanceOptions, KeptInstance, Origin, Program,
    Purpose, Restored, ServiceState, Snapshot, SnapshotLimits,
};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Until it is certain that a file has not been changed at the same tick of the clock.
const SETTLING: Duration = Duration::from_millis(60);

fn options() -> Options {
    Options { threads: Some(1), ..Options::default() }
}

/// A module with so much data that it is copied on write.
fn wasm() -> Vec<u8> {
    let data = "0123456789abcdef".repeat(32 << 10);
    let text = format!(
        r#"(module (memory 20) (memory 0) (memory 1)
            (data (i32.const 70000) "{data}") (data (memory 2) (i32.const 5) "last")
            (func (export "f")))"#
    );
    wat::parse_str(text).unwrap()
}

fn identity(file: &Path) -> FileIdentity {
    let file = File::open(file).unwrap();
    for _ in 0..100 {
        if let Some(identity) = FileIdentity::of(&file) {
            return identity;
        }
        std::thread::sleep(SETTLING);
    }
    panic!(
        "the kernel (Linux 6.8 is needed) or the file system of the temporary directory does not tell files apart"
    );
}

struct Fixture {
    dir: TempDir,
    cache: Cache,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache")).unwrap();
        Self { dir, cache }
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.dir.path().join("cache")).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
    }

    fn load(&self) -> (Program, CacheOutcome) {
        let options = Options {
            features: gate_compiler::Features { multi_memory: true, ..options().features },
            ..options()
        };
        self.cache.load_or_compile(&wasm(), &options, &WasiImports).unwrap()
    }
}

#[test]
fn an_entry_is_checked_again_when_its_file_has_changed() {
    let fixture = Fixture::new();
    fixture.load();
    let [entry] = <[PathBuf; 1]>::try_from(fixture.files("gate")).unwrap();
    identity(&entry);
    assert!(matches!(fixture.load().1, CacheOutcome::Hit));
    assert_eq!(fixture.files("known").len(), 1);
    assert!(matches!(fixture.load().1, CacheOutcome::Hit));
    // One byte of its maps, which are not read to start a program.
    let size = fs::metadata(&entry).unwrap().len();
    let file = File::options().read(true).write(true).open(&entry).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, size - 300).unwrap();
    file.write_all_at(&[byte[0] ^ 1], size - 300).unwrap();
    let outcome = fixture.load().1;
    assert!(matches!(outcome, CacheOutcome::Rebuilt(_)), "{outcome:?}");
    // A record that is damaged is none.
    let [entry] = <[PathBuf; 1]>::try_from(fixture.files("gate")).unwrap();
    identity(&entry);
    fixture.load();
    for known in fixture.files("known") {
        fs::write(known, [1; 64]).unwrap();
    }
    assert!(matches!(fixture.load().1, CacheOutcome::Hit));
}

#[test]
fn contents_are_remembered_until_the_file_changes() {
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("module");
    fs::write(&path, "one").unwrap();
    let first = identity(&path);
    let file = File::open(&path).unwrap();
    assert!(fixture.cache.remembered(&first).is_none());
    fixture.cache.remember(&file, &first, &blake3::hash(b"one"));
    assert_eq!(fixture.cache.remembered(&first), Some(blake3::hash(b"one")));
    // In place, with the same size and the same time of modification.
    let modified = file.metadata().unwrap().modified().unwrap();
    fs::write(&path, "two").unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    assert_eq!(FileIdentity::of(&file), None, "it has just been changed");
    let second = identity(&path);
    assert_ne!(first, second);
    assert!(fixture.cache.remembered(&second).is_none());
    // It was another one when it was read.
    fixture.cache.remember(&file, &first, &blake3::hash(b"three"));
    assert_eq!(fixture.cache.remembered(&first), Some(blake3::hash(b"one")));
    // Another file in its place.
    fs::write(path.with_extension("new"), "two").unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    assert_ne!(identity(&path), second);
}

#[test]
fn data_is_copied_on_write_from_the_entry() {
    let fixture = Fixture::new();
    let (compiled, _) = fixture.load();
    let (loaded, outcome) = fixture.load();
    assert!(matches!(outcome, CacheOutcome::Hit), "{outcome:?}");
    let new = |program| Instance::new(program, &InstanceOptions::default()).unwrap();
    let mut instances = [&compiled, &loaded, &loaded].map(new);
    let launch = instances[1].launch(4096, Purpose::Run);
    assert!(launch.is_err(), "no function was chosen");
    let read = |instance: &Instance, index| {
        let memory = instance.memory(index).unwrap();
        let mut bytes = vec![0; memory.size().unwrap() as usize];
        memory.read(0, &mut bytes).unwrap();
        bytes
    };
    for index in 0..3 {
        assert!(read(&instances[0], index) == read(&instances[1], index), "memory {index}");
    }
    // What one of them writes, no other one sees.
    instances[1].memory(0).unwrap().write(100_000, b"written").unwrap();
    instances[1].memory(2).unwrap().write(7, b"written").unwrap();
    assert_eq!(&read(&instances[1], 0)[100_000..100_007], b"written");
    assert!(read(&instances[0], 0) == read(&instances[2], 0));
    assert_eq!(&read(&instances[2], 2)[5..9], b"last");
    // All are written down as what has changed.
    instances[0].memory(0).unwrap().write(100_000, b"written").unwrap();
    instances[0].memory(2).unwrap().write(7, b"written").unwrap();
    let snapshots = [0, 1].map(|index| {
        let mut bytes = Vec::new();
        Snapshot::new(&instances[index], &wasm(), &[]).unwrap().write(&mut bytes).unwrap();
        bytes
    });
    assert!(snapshots[0] == snapshots[1]);
    assert!(snapshots[0].len() < wasm().len() + 1000);
    // A process gets the base.
    instances[2].set_entry("f", &[]).unwrap();
    let launch = instances[2].launch(4096, Purpose::Run).unwrap();
    assert_eq!(launch.files().len(), 3);
    assert_eq!(launch.memories[0].base_size, (70_000u64 + (512 << 10)).next_multiple_of(65536));
    assert_eq!(launch.memories[1].base_size, 0);
    // What is stored has all of it.
    let directory = Directory::open(fixture.dir.path().join("stored"), b"rt").unwrap();
    let expected = read(&instances[1], 0);
    drop(directory.create("a", &wasm(), &mut instances[1], &[]).unwrap());
    let stored = directory.open_instance("a").unwrap();
    assert!(read(&stored.instance(&compiled).unwrap(), 0) == expected);
    // And a copy of an instance goes on sharing it.
    let copy = instances[1].fork().unwrap();
    assert!(read(&copy, 0) == read(&instances[1], 0));
}

/// A golden snapshot of a suspended program, as it was read and prepared.
fn suspended(cache: &Cache) -> KeptInstance {
    let snapshot = include_bytes!("golden/v1/chain.wasm");
    let restored = Restored::read(&snapshot[..], &SnapshotLimits::default()).unwrap();
    let wasm = restored.module().to_vec();
    let (program, _) = cache.load_or_compile(&wasm, &options(), &WasiImports).unwrap();
    let mut instance = restored.instance(&program, &InstanceOptions::default()).unwrap();
    cache.prepare_resume(&mut instance, &wasm, &options(), &WasiImports).unwrap();
    let services = vec![ServiceState { name: "a".into(), state: vec![1, 2] }];
    KeptInstance { instance, services, module: blake3::hash(&wasm).into() }
}

fn written(kept: &KeptInstance) -> Vec<u8> {
    let snapshot = include_bytes!("golden/v1/chain.wasm");
    let restored = Restored::read(&snapshot[..], &SnapshotLimits::default()).unwrap();
    let mut bytes = Vec::new();
    Snapshot::new(&kept.instance, restored.module(), &kept.services).unwrap().write(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_a_snapshot_was_read_to_is_kept() {
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("snapshot");
    fs::write(&path, include_bytes!("golden/v1/chain.wasm")).unwrap();
    let identity = identity(&path);
    let restored = |stack_size, max_memory| {
        fixture.cache.restored(&identity, &options(), stack_size, max_memory).unwrap()
    };
    assert!(restored(None, None).is_none());
    let original = suspended(&fixture.cache);
    let origin = Origin { sizes: InstanceOptions::default(), options: &options() };
    let file = File::open(&path).unwrap();
    fixture.cache.keep_restored(&file, &identity, &original, &origin);
    assert!(restored(None, None).is_none(), "most are read only once");
    fixture.cache.keep_restored(&file, &identity, &original, &origin);
    let kept = restored(None, None).expect("it was kept");
    assert_eq!((&kept.services, kept.module), (&original.services, original.module));
    assert_eq!(kept.instance.options(), original.instance.options());
    assert_eq!(kept.instance.monotonic_time(), original.instance.monotonic_time());
    assert!(kept.instance.program().read_text().unwrap() == original.instance.program().read_text().unwrap());
    assert!(written(&kept) == written(&original));
    // It goes on without its frames' having been read.
    let mut kept = restored(Some(2 << 20), None).unwrap();
    assert_eq!(kept.instance.options().stack_size, 2 << 20);
    let mut original = original;
    let launches = [&mut kept, &mut original].map(|kept| kept.instance.launch(4096, Purpose::Run).unwrap());
    let frames = launches.each_ref().map(|launch| {
        let file = File::from(launch.files()[3].try_clone_to_owned().unwrap());
        let mut bytes = vec![0; launch.request.frames_size as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    });
    assert_eq!(frames[0], frames[1]);
    assert!(launches[0].request.extension_size > 0);
    // Copies do, too.
    let mut kept = restored(None, None).unwrap();
    let mut copy = kept.instance.fork().unwrap();
    copy.launch(4096, Purpose::Run).unwrap();
    // Nothing is made of it that would not be allowed.
    assert!(fixture.cache.restored(&identity, &options(), Some(1), None).is_err());

    let [entry] = <[PathBuf; 1]>::try_from(fixture.files("restored")).unwrap();
    let good = fs::read(&entry).unwrap();
    for at in (0..good.len()).step_by(97) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&entry, bad).unwrap();
        assert!(restored(None, None).is_none(), "{at}");
    }
    fs::write(&entry, good).unwrap();
    assert!(restored(None, None).is_some());
    for part in ["resume", "gate"] {
        fs::remove_file(&fixture.files(part)[0]).unwrap();
        assert!(restored(None, None).is_none());
    }
}

#[test]
fn only_so_many_are_kept() {
    let fixture = Fixture::new();
    let original = suspended(&fixture.cache);
    let origin = Origin { sizes: InstanceOptions::default(), options: &options() };
    let paths: Vec<_> = (0..20).map(|n| fixture.dir.path().join(format!("snapshot{n}"))).collect();
    for path in &paths {
        fs::write(path, include_bytes!("golden/v1/chain.wasm")).unwrap();
    }
    for path in &paths {
        let (identity, file) = (identity(path), File::open(path).unwrap());
        for _ in 0..2 {
            fixture.cache.keep_restored(&file, &identity, &original, &origin);
        }
    }
    // Before something is written, there is a look at what is there.
    assert_eq!(fixture.files("restored").len(), 17);
    assert!(fixture.cache.restored(&identity(&paths[19]), &options(), None, None).unwrap().is_some());
    assert!(fixture.cache.restored(&identity(&paths[0]), &options(), None, None).unwrap().is_none());
}
