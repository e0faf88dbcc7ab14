//! The cache on disk, and what can happen to it.

use gate_compiler::{OptLevel, Options, WasiImports};
use gate_image::{
    Cache, CacheError, CacheOutcome, Damage, Instance, InstanceOptions, LoadError, Program, Purpose,
    Restored, SnapshotLimits,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

fn options() -> Options {
    Options { threads: Some(1), ..Options::default() }
}

fn wasm(n: u32) -> Vec<u8> {
    let text = format!(
        "(module (memory 1) (data (i32.const 9) \"abc\") (func $f (export \"f\") (result i32) (i32.const {n})))"
    );
    wat::parse_str(text).unwrap()
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

    fn load(&self, n: u32) -> (Program, CacheOutcome) {
        self.cache.load_or_compile(&wasm(n), &options(), &WasiImports).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        // What is known about entries is written whenever it is certain.
        files.filter(|path| path.extension().is_none_or(|extension| extension != "known")).collect()
    }
}

fn text(program: &Program) -> Vec<u8> {
    program.read_text().unwrap()
}

fn assert_same(a: &Program, b: &Program) {
    assert_eq!(a.info(), b.info());
    assert_eq!(a.maps().unwrap(), b.maps().unwrap());
    assert_eq!(text(a), text(b));
    let instances = [a, b].map(|p| Instance::new(p, &InstanceOptions::default()).unwrap());
    let data = instances.map(|instance| {
        let mut data = [0; 16];
        instance.memory(0).unwrap().read(0, &mut data).unwrap();
        data
    });
    assert_eq!(data[0], data[1]);
    assert_eq!(&data[0][9..12], b"abc");
}

#[test]
fn what_was_compiled_is_found_again() {
    let fixture = Fixture::new();
    let (compiled, outcome) = fixture.load(1);
    assert!(matches!(outcome, CacheOutcome::Compiled));
    let (loaded, outcome) = fixture.load(1);
    assert!(matches!(outcome, CacheOutcome::Hit));
    assert_same(&compiled, &loaded);
    assert!(matches!(fixture.load(2).1, CacheOutcome::Compiled));
    let other = Options { opt_level: OptLevel::None, ..options() };
    let outcome = fixture.cache.load_or_compile(&wasm(1), &other, &WasiImports).unwrap().1;
    assert!(matches!(outcome, CacheOutcome::Compiled));
    assert_eq!(fixture.files().len(), 3);
}

#[test]
fn damage_anywhere_is_noticed_and_mended() {
    let fixture = Fixture::new();
    let (compiled, _) = fixture.load(1);
    let path = fixture.files().remove(0);
    let good = fs::read(&path).unwrap();
    let steps = (0..200).chain((200..good.len()).step_by(97)).chain([good.len() - 1]);
    for position in steps {
        let mut bad = good.clone();
        bad[position] ^= 0x40;
        fs::write(&path, bad).unwrap();
        let (program, outcome) = fixture.load(1);
        assert!(matches!(outcome, CacheOutcome::Rebuilt(_)), "{position}: {outcome:?}");
        assert_eq!(text(&program), text(&compiled));
        assert_eq!(fs::read(&path).unwrap(), good);
    }
}

#[test]
fn truncated_and_extended_entries_are_rebuilt() {
    let fixture = Fixture::new();
    fixture.load(1);
    let path = fixture.files().remove(0);
    let good = fs::read(&path).unwrap();
    for len in [0, 1, 7, 8, 100, 191, 192, 200, good.len() / 2, good.len() - 1] {
        fs::write(&path, &good[..len]).unwrap();
        assert!(matches!(fixture.load(1).1, CacheOutcome::Rebuilt(_)), "{len}");
    }
    let mut long = good.clone();
    long.push(0);
    fs::write(&path, long).unwrap();
    assert!(matches!(fixture.load(1).1, CacheOutcome::Rebuilt(_)));
    assert!(matches!(fixture.load(1).1, CacheOutcome::Hit));
}

#[test]
fn an_entry_for_something_else_is_not_used() {
    let fixture = Fixture::new();
    fixture.load(1);
    let first = fixture.files().remove(0);
    let (second, _) = fixture.load(2);
    let path = fixture.files().into_iter().find(|path| *path != first).unwrap();
    fs::copy(&first, &path).unwrap();
    let (program, outcome) = fixture.load(2);
    assert!(matches!(outcome, CacheOutcome::Rebuilt(Damage::Key)));
    assert_eq!(text(&program), text(&second));
}

#[test]
fn many_can_write_at_once() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cache = Cache::open(fixture.path()).unwrap();
                for n in 0..5 {
                    cache.load_or_compile(&wasm(n), &options(), &WasiImports).unwrap();
                }
            });
        }
    });
    assert_eq!(fixture.files().len(), 5);
    assert!((0..5).all(|n| matches!(fixture.load(n).1, CacheOutcome::Hit)));
}

#[test]
fn the_directory_is_private() {
    let fixture = Fixture::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&fixture.path()), 0o700);
    fixture.load(1);
    assert_eq!(mode(&fixture.files()[0]), 0o600);
    fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Cache::open(fixture.path()), Err(CacheError::NotPrivate { .. })));
}

#[test]
fn places_that_cannot_be_used_are_named() {
    let fixture = Fixture::new();
    for path in [fixture.dir.path().join("a/b"), PathBuf::from("/proc/self/exe")] {
        let error = Cache::open(&path).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    fs::remove_dir(fixture.path()).unwrap();
    let (_, outcome) = fixture.load(1);
    assert!(matches!(outcome, CacheOutcome::NotStored(_)));
    let error = fixture.cache.load_or_compile(b"nonsense", &options(), &WasiImports).unwrap_err();
    assert!(matches!(error, LoadError::Compile(_)), "{error}");
}

#[test]
fn what_was_left_behind_is_removed() {
    let fixture = Fixture::new();
    let (old, new) = (fixture.path().join("tmp-1"), fixture.path().join("tmp-2"));
    fs::write(&new, "x").unwrap();
    let file = fs::File::create(&old).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(10_000)).unwrap();
    fixture.load(1);
    assert!(!old.exists() && new.exists());
}

/// A golden snapshot of a suspended program: its instance, ready to be prepared for going on.
fn suspended() -> (Vec<u8>, Instance) {
    let snapshot = include_bytes!("golden/v1/chain.wasm");
    let restored = Restored::read(&snapshot[..], &SnapshotLimits::default()).unwrap();
    let wasm = restored.module().to_vec();
    let program = Program::new(gate_compiler::compile(&wasm, &options(), &WasiImports).unwrap()).unwrap();
    (wasm, restored.instance(&program, &InstanceOptions::default()).unwrap())
}

#[test]
fn text_for_going_on_is_compiled_once() {
    let fixture = Fixture::new();
    let prepare = |instance: &mut Instance, wasm: &[u8]| {
        fixture.cache.prepare_resume(instance, wasm, &options(), &WasiImports).unwrap()
    };
    let prepared = || {
        let (wasm, mut instance) = suspended();
        let outcome = prepare(&mut instance, &wasm);
        instance.launch(4096, Purpose::Run).unwrap();
        (instance, outcome.unwrap())
    };
    let (first, outcome) = prepared();
    assert!(matches!(outcome, CacheOutcome::Compiled), "{outcome:?}");
    let (second, outcome) = prepared();
    assert!(matches!(outcome, CacheOutcome::Hit), "{outcome:?}");
    assert_same_text(first.program(), second.program());
    // The text is what is compiled without a cache.
    let (wasm, mut third) = suspended();
    third.prepare_resume(&wasm, &options(), &WasiImports).unwrap();
    assert_same_text(first.program(), third.program());
    assert!(prepare(&mut third, &wasm).is_none(), "it has it already");

    let [path] = <[PathBuf; 1]>::try_from(fixture.files()).unwrap();
    let entry = fs::read(&path).unwrap();
    for at in (0..entry.len()).step_by(97).chain([entry.len() - 1]) {
        let mut damaged = entry.clone();
        damaged[at] ^= 1;
        fs::write(&path, damaged).unwrap();
        let (again, outcome) = prepared();
        assert!(matches!(outcome, CacheOutcome::Rebuilt(_)), "{outcome:?}");
        assert_same_text(again.program(), first.program());
    }
    // It is not for another text.
    let other = Options { opt_level: OptLevel::None, ..options() };
    let (wasm, mut instance) = suspended();
    let program = Program::new(gate_compiler::compile(&wasm, &other, &WasiImports).unwrap()).unwrap();
    instance.rebase(&program).unwrap();
    let outcome = fixture.cache.prepare_resume(&mut instance, &wasm, &other, &WasiImports).unwrap();
    assert!(matches!(outcome, Some(CacheOutcome::Compiled)), "{outcome:?}");
}

fn assert_same_text(a: &Program, b: &Program) {
    assert_eq!(a.maps().unwrap(), b.maps().unwrap());
    assert!(text(a) == text(b));
}

#[test]
fn text_for_going_on_is_kept_for_some_days() {
    let fixture = Fixture::new();
    let (wasm, mut instance) = suspended();
    fixture.cache.prepare_resume(&mut instance, &wasm, &options(), &WasiImports).unwrap();
    fixture.load(1);
    let age = |days: u64, n: u32| {
        for path in fixture.files() {
            let time = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
            fs::File::open(path).unwrap().set_modified(time).unwrap();
        }
        // Before something is written, there is a look at what is there.
        fixture.load(n);
        fixture.files().len()
    };
    assert_eq!(age(6, 2), 3);
    assert_eq!(age(8, 3), 3);
    assert!(matches!(fixture.load(1).1, CacheOutcome::Hit));
}
