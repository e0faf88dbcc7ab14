//! The cache on disk, and what can happen to it.

use gate_compiler::{OptLevel, Options, WasiImports};
use gate_image::{Cache, CacheError, CacheOutcome, Damage, Instance, InstanceOptions, LoadError, Program};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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
        fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

fn text(program: &Program) -> Vec<u8> {
    let mut text = vec![0; program.text_size() as usize];
    assert_eq!(rustix::io::pread(program.text(), &mut text[..], 0).unwrap(), text.len());
    text
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
    assert!(matches!(fixture.load(1).1, CacheOutcome::Rebuilt(Damage::Size)));
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
    Cache::open(fixture.path()).unwrap();
    assert!(!old.exists() && new.exists());
}
