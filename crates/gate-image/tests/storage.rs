//! Instances in directories.

use gate_compiler::{CompiledModule, Options, WasiImports};
use gate_image::{
    Directory, Exit, GuestMemory, Inspector, Instance, InstanceOptions, Program, Purpose, ServiceState,
    StorageError, StoredInstance,
};
use gate_wire::context_offset;
use gate_wire::cow::CHUNK_SIZE;
use gate_wire::load::STATE_FILE_STRIDE;
use rand::RngExt;
use rustix::io::pwrite;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WAT: &str = r#"(module
    (memory 16 64)
    (table 10 20 funcref)
    (elem (i32.const 2) 0)
    (global (mut i32) (i32.const 41))
    (global (mut i64) (i64.const -5))
    (data (i32.const 5) "initial")
    (func (export "f")))"#;

fn module() -> Vec<u8> {
    wat::parse_str(WAT).unwrap()
}

fn compile() -> CompiledModule {
    let options = Options { threads: Some(1), ..Options::default() };
    gate_compiler::compile(&module(), &options, &WasiImports).unwrap()
}

fn program() -> Program {
    Program::new(compile()).unwrap()
}

fn fresh(program: &Program) -> Instance {
    Instance::new(program, &InstanceOptions::default()).unwrap()
}

fn open(dir: &Path) -> Directory {
    Directory::open(dir, b"rt").unwrap()
}

fn bytes(memory: &GuestMemory) -> Vec<u8> {
    let mut bytes = vec![0; memory.size().unwrap() as usize];
    memory.read(0, &mut bytes).unwrap();
    bytes
}

/// Contents' hash, as a service's state.
fn hash(instance: &Instance) -> Vec<ServiceState> {
    let state = blake3::hash(&bytes(&instance.memory(0).unwrap())).as_bytes().to_vec();
    vec![ServiceState { name: "hash".into(), state }]
}

/// The program runs, and ends by returning.
fn run(instance: &mut Instance, changes: impl FnOnce(GuestMemory)) {
    instance.set_entry("f", &[]).unwrap();
    let launch = instance.launch(1 << 20, Purpose::Run).unwrap();
    changes(launch.mutation.memory());
    let exit = STATE_FILE_STRIDE.wrapping_add_signed(context_offset!(exit.kind).into());
    pwrite(launch.mutation.file(), &1u32.to_le_bytes(), exit).unwrap();
}

fn write_randomly(memory: GuestMemory) {
    let mut rng = rand::rng();
    for _ in 0..rng.random_range(1..8) {
        let addr = rng.random_range(0..15 * CHUNK_SIZE);
        memory.write(addr, &vec![rng.random(); rng.random_range(1..CHUNK_SIZE as usize)]).unwrap();
    }
}

fn is_whole(stored: &StoredInstance, program: &Program) -> bool {
    stored.services().unwrap() == hash(&stored.instance(program).unwrap())
}

#[test]
fn an_instance_outlasts_its_host() {
    let temporary = tempfile::tempdir().unwrap();
    let program = program();
    let expected = {
        let dir = open(&temporary.path().join("made"));
        let mut instance = fresh(&program);
        let mut stored = dir.create("a", &module(), &mut instance, &[]).unwrap();
        assert_eq!((stored.name(), stored.generation()), ("a", 1));
        stored.prepare(&mut instance).unwrap();
        run(&mut instance, write_randomly);
        let services = hash(&instance);
        stored.commit(&mut instance, &services).unwrap();
        assert_eq!(stored.generation(), 2);
        assert_eq!(instance.exit().unwrap(), Exit::Returned);
        bytes(&instance.memory(0).unwrap())
    };
    let dir = open(&temporary.path().join("made"));
    assert_eq!(dir.list().unwrap(), ["a"]);
    let stored = dir.open_instance("a").unwrap();
    let instance = stored.instance(&program).unwrap();
    assert!(bytes(&instance.memory(0).unwrap()) == expected);
    assert!(is_whole(&stored, &program));
    assert_eq!(instance.exit().unwrap(), Exit::Returned);
    assert_eq!(stored.module().unwrap(), module());
    assert_eq!(stored.memory_sizes().unwrap(), [16 * CHUNK_SIZE]);
}

#[test]
fn what_was_not_committed_is_gone() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = open(temporary.path());
    let program = program();
    let mut instance = fresh(&program);
    let services = hash(&instance);
    let mut stored = dir.create("a", &module(), &mut instance, &services).unwrap();
    stored.prepare(&mut instance).unwrap();
    run(&mut instance, write_randomly);
    drop((stored, instance));
    let mut stored = dir.open_instance("a").unwrap();
    assert_eq!(stored.generation(), 1);
    assert!(is_whole(&stored, &program));
    // And may be run again, from there.
    let mut instance = stored.instance(&program).unwrap();
    assert_eq!(instance.exit().unwrap(), Exit::None);
    stored.prepare(&mut instance).unwrap();
    run(&mut instance, write_randomly);
    let services = hash(&instance);
    stored.commit(&mut instance, &services).unwrap();
    assert!(is_whole(&stored, &program));
}

#[test]
fn another_instance_can_take_the_place_of_the_stored_one() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = open(temporary.path());
    let program = program();
    let mut stored = dir.create("a", &module(), &mut fresh(&program), &[]).unwrap();
    let mut other = fresh(&program);
    run(&mut other, write_randomly);
    assert!(matches!(stored.prepare(&mut other), Err(StorageError::NotStored { .. })));
    let services = hash(&other);
    stored.commit(&mut other, &services).unwrap();
    assert_eq!(stored.generation(), 2);
    assert!(is_whole(&stored, &program));
    // It is the stored one now.
    stored.prepare(&mut other).unwrap();
    stored.prepare(&mut other).unwrap();
    assert_eq!(fs::read_dir(temporary.path().join("a")).unwrap().count(), 5);
}

#[test]
fn forks_of_stored_instances_are_on_their_own() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = open(temporary.path());
    let program = program();
    let mut instance = fresh(&program);
    let mut stored = dir.create("a", &module(), &mut instance, &[]).unwrap();
    let mut forks = Vec::new();
    for _ in 0..4 {
        let fork = instance.fork().unwrap();
        let expected = bytes(&fork.memory(0).unwrap());
        forks.push((fork, expected));
        stored.prepare(&mut instance).unwrap();
        let fork = instance.fork().unwrap();
        let expected = bytes(&fork.memory(0).unwrap());
        forks.push((fork, expected));
        run(&mut instance, write_randomly);
        let services = hash(&instance);
        stored.commit(&mut instance, &services).unwrap();
        assert!(is_whole(&stored, &program));
    }
    drop((stored, instance));
    dir.remove("a").unwrap();
    for (fork, expected) in &mut forks {
        assert!(bytes(&fork.memory(0).unwrap()) == *expected);
        run(fork, |memory| memory.write(70_000, b"mine").unwrap());
        assert!(bytes(&fork.memory(0).unwrap()) != *expected);
    }
}

#[test]
fn an_instance_is_open_once() {
    let temporary = tempfile::tempdir().unwrap();
    let (dir, other) = (open(temporary.path()), open(temporary.path()));
    let stored = dir.create("a", &module(), &mut fresh(&program()), &[]).unwrap();
    for dir in [&dir, &other] {
        let error = dir.open_instance("a").unwrap_err();
        assert!(matches!(error, StorageError::InUse { .. }), "{error}");
        assert!(error.to_string().contains("\"a\" is in use"), "{error}");
        assert!(matches!(dir.remove("a"), Err(StorageError::InUse { .. })));
        let exists = dir.create("a", &module(), &mut fresh(&program()), &[]);
        assert!(matches!(exists, Err(StorageError::Exists { .. })));
    }
    drop(stored);
    drop(other.open_instance("a").unwrap());
    dir.remove("a").unwrap();
    assert!(matches!(other.open_instance("a"), Err(StorageError::NotFound { .. })));
    assert!(matches!(other.remove("a"), Err(StorageError::NotFound { .. })));
    assert!(other.list().unwrap().is_empty());
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn names_stay_in_the_directory() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = open(temporary.path());
    let long = "x".repeat(201);
    for name in ["", ".", "..", ".a", "a/b", "/", "a\0", "a b", "ä", &long] {
        let error = dir.create(name, &module(), &mut fresh(&program()), &[]).unwrap_err();
        assert!(matches!(error, StorageError::InvalidName { .. }), "{error}");
        assert!(matches!(dir.open_instance(name), Err(StorageError::InvalidName { .. })));
        assert!(matches!(dir.remove(name), Err(StorageError::InvalidName { .. })));
    }
    for name in ["A-Z_0.9", &long[1..]] {
        drop(dir.create(name, &module(), &mut fresh(&program()), &[]).unwrap());
    }
    assert_eq!(dir.list().unwrap(), ["A-Z_0.9", &long[1..]]);
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 2);
}

#[test]
fn directories_of_others_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Directory::open(temporary.path(), b"rt"), Err(StorageError::NotPrivate { .. })));
    let file = temporary.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(Directory::open(file, b"rt"), Err(StorageError::File { .. })));
    assert!(matches!(Directory::open(temporary.path().join("a/b"), b"rt"), Err(StorageError::File { .. })));
}

#[test]
fn damage_is_told_and_nothing_is_lost() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = open(temporary.path());
    let program = program();
    drop(dir.create("a", &module(), &mut fresh(&program), &[]).unwrap());
    let files = || -> Vec<(PathBuf, u64)> {
        let entries = fs::read_dir(temporary.path().join("a")).unwrap().map(Result::unwrap);
        let mut files: Vec<_> = entries.map(|e| (e.path(), e.metadata().unwrap().len())).collect();
        files.sort();
        files
    };
    let meta = temporary.path().join("a/meta");
    let good = fs::read(&meta).unwrap();
    let before = files();
    let refused = |expected: &str| {
        let error = dir.open_instance("a").unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    let mut bad = good.clone();
    bad[40] ^= 0x10;
    fs::write(&meta, &bad).unwrap();
    refused("a/meta: wrong hash");
    assert_eq!(files(), before);
    fs::write(&meta, &good[..50]).unwrap();
    refused("a/meta: wrong size");
    fs::write(&meta, [b"gateins9", &good[8..]].concat()).unwrap();
    refused("a/meta: written by a later version of Gate");
    fs::remove_file(&meta).unwrap();
    refused("a/meta: it is missing");
    assert_eq!(files().len(), before.len() - 1);
    fs::write(&meta, &good).unwrap();

    for name in ["state.2", "memory.1"] {
        let path = temporary.path().join("a").join(name);
        let size = fs::metadata(&path).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(size / 4).unwrap();
        refused("too short");
        file.set_len(size).unwrap();
    }
    let module_path = temporary.path().join("a/module.wasm");
    fs::write(&module_path, "something else").unwrap();
    let error = dir.open_instance("a").unwrap().module().unwrap_err();
    assert!(error.to_string().contains("module.wasm is damaged: wrong hash"), "{error}");
    fs::write(&module_path, module()).unwrap();
    dir.open_instance("a").unwrap().instance(&program).unwrap();
}

#[test]
fn what_crashes_leave_is_removed() {
    let temporary = tempfile::tempdir().unwrap();
    let program = program();
    drop(open(temporary.path()).create("a", &module(), &mut fresh(&program), &[]).unwrap());
    let instance = temporary.path().join("a");
    for name in ["state.77", "memory.78", "meta.new"] {
        fs::write(instance.join(name), "left").unwrap();
    }
    for name in [".new-1", ".old-2"] {
        fs::create_dir(temporary.path().join(name)).unwrap();
        fs::write(temporary.path().join(name).join("meta"), "left").unwrap();
    }
    // Of somebody who is still at work.
    let busy = temporary.path().join(".new-3");
    fs::create_dir(&busy).unwrap();
    let lock = fs::File::open(&busy).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();

    let dir = open(temporary.path());
    assert_eq!(dir.list().unwrap(), ["a"]);
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 2);
    assert!(busy.exists());
    drop(dir.open_instance("a").unwrap());
    assert_eq!(fs::read_dir(&instance).unwrap().count(), 4);
}

#[test]
fn another_build_goes_on_with_what_this_one_has_stored() {
    let temporary = tempfile::tempdir().unwrap();
    let program = program();
    let expected = {
        let dir = open(temporary.path());
        let mut instance = fresh(&program);
        let mut stored = dir.create("a", &module(), &mut instance, &[]).unwrap();
        stored.prepare(&mut instance).unwrap();
        run(&mut instance, write_randomly);
        let services = hash(&instance);
        stored.commit(&mut instance, &services).unwrap();
        bytes(&instance.memory(0).unwrap())
    };
    // Its instance region is larger, and everything in it is somewhere else.
    let mut moved = compile();
    moved.info.layout.instance_size += 8192;
    moved.info.layout.entry_distance += 4096;
    for global in &mut moved.info.globals {
        global.distance += 4096;
    }
    for table in &mut moved.info.tables {
        table.distance += 4096;
    }
    for item in &mut moved.info.initial.instance {
        item.distance += 4096;
    }
    let moved = Program::new(moved).unwrap();

    let dir = Directory::open(temporary.path(), b"another rt").unwrap();
    let mut stored = dir.open_instance("a").unwrap();
    for program in [&program, &moved] {
        let error = stored.instance(program).unwrap_err();
        assert!(matches!(error, StorageError::OtherBuild { .. }), "{error}");
    }
    let services = stored.services().unwrap();
    for round in 0..3 {
        let mut instance = stored.restore(&moved).unwrap();
        assert!(bytes(&instance.memory(0).unwrap()) == expected);
        assert_eq!(services, hash(&instance));
        assert_eq!(instance.exit().unwrap(), Exit::Returned);
        let globals = Inspector::new(&instance, &module()).globals().unwrap();
        let globals: Vec<_> = globals.into_iter().map(|global| global.value.value).collect();
        assert_eq!(globals, ["41", "-5"]);
        assert_eq!(fs::read_dir(temporary.path().join("a")).unwrap().count(), 5);
        if round == 2 {
            run(&mut instance, write_randomly);
            let services = hash(&instance);
            stored.commit(&mut instance, &services).unwrap();
        }
    }
    drop(stored);
    let stored = dir.open_instance("a").unwrap();
    assert!(is_whole(&stored, &moved));
    // The first build is the other one now.
    let dir = open(temporary.path());
    drop(stored);
    let mut stored = dir.open_instance("a").unwrap();
    assert!(matches!(stored.instance(&program), Err(StorageError::OtherBuild { .. })));
    let instance = stored.restore(&program).unwrap();
    assert_eq!(stored.services().unwrap(), hash(&instance));
}

#[test]
fn a_full_disk_leaves_what_was_stored() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mounted::new(temporary.path(), 2 << 20) else {
        eprintln!("skipped: needs the right to mount a file system");
        return;
    };
    let dir = open(temporary.path());
    let program = program();
    let mut instance = fresh(&program);
    let services = hash(&instance);
    let mut stored = dir.create("a", &module(), &mut instance, &services).unwrap();
    let mut failures = [0; 3];
    for round in 0..40u64 {
        let ballast = temporary.path().join("ballast");
        let mut expected = stored.services().unwrap();
        if let Err(error) = stored.prepare(&mut instance) {
            assert!(error.to_string().contains("No space"), "{error}");
            failures[0] += 1;
        } else {
            instance.set_entry("f", &[]).unwrap();
            let launch = instance.launch(1 << 20, Purpose::Run).unwrap();
            let exit = STATE_FILE_STRIDE.wrapping_add_signed(context_offset!(exit.kind).into());
            pwrite(launch.mutation.file(), &1u32.to_le_bytes(), exit).unwrap();
            let mut written = true;
            for chunk in 0..round % 16 {
                written &= launch.mutation.memory().write(chunk * CHUNK_SIZE, &[round as u8; 9]).is_ok();
            }
            drop(launch);
            // Sometimes nothing is left for the description.
            let full = round % 3 == 0;
            if full {
                let _ = fs::write(&ballast, vec![1; 2 << 20]);
            }
            let services = hash(&instance);
            match stored.commit(&mut instance, &services) {
                Ok(()) => expected = services,
                Err(error) => {
                    assert!(error.to_string().contains("No space"), "{error}");
                    failures[1] += 1;
                }
            }
            failures[2] += usize::from(!written);
            let _ = fs::remove_file(&ballast);
        }
        drop((stored, instance));
        stored = dir.open_instance("a").unwrap();
        assert_eq!(stored.services().unwrap(), expected);
        assert!(is_whole(&stored, &program));
        instance = stored.instance(&program).unwrap();
    }
    assert!(failures[1] > 0 && failures[0] + failures[2] > 0, "{failures:?}");
}

/// A small file system.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path, size: usize) -> Option<Self> {
        let options = format!("size={size},mode=700");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        status.ok()?.success().then(|| Self(path.into()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// How often the host is killed. More with this variable.
const ROUNDS: &str = "GATE_KILL_ROUNDS";
const KILLED_DIR: &str = "GATE_KILLED_DIR";

#[test]
fn a_host_that_is_killed_leaves_an_old_or_a_new_state() {
    let rounds = std::env::var(ROUNDS).map_or(200, |rounds| rounds.parse().unwrap());
    let temporary = tempfile::tempdir().unwrap();
    let program = program();
    let mut before = 0;
    let mut rng = rand::rng();
    let start = Instant::now();
    for round in 0..rounds {
        let mut child = Command::new("/proc/self/exe")
            .args(["--exact", "host_that_is_killed", "--ignored", "--nocapture"])
            .env(KILLED_DIR, temporary.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("begins")), "{round}");
        let commits = rng.random_range(0..4);
        assert_eq!(lines.by_ref().take(commits).filter(|line| line.is_ok()).count(), commits);
        std::thread::sleep(Duration::from_micros(rng.random_range(0..10_000)));
        child.kill().unwrap();
        child.wait().unwrap();

        let dir = open(temporary.path());
        let Ok(mut stored) = dir.open_instance("it") else {
            // It was not made yet.
            assert!(before == 0 && commits == 0 && dir.list().unwrap().is_empty());
            continue;
        };
        assert!(is_whole(&stored, &program), "{round}");
        assert!(stored.generation() >= before + commits as u64, "{round}");
        before = stored.generation();
        let instance = stored.restore(&program).unwrap();
        assert_eq!(stored.services().unwrap(), hash(&instance));
    }
    println!("killed {rounds} times in {:?}, stored {before} times", start.elapsed());
}

#[test]
#[ignore = "the other end of a test: it is killed"]
fn host_that_is_killed() {
    let dir = open(Path::new(&std::env::var(KILLED_DIR).unwrap()));
    let program = program();
    println!("begins");
    let (mut stored, mut instance) = match dir.open_instance("it") {
        Ok(stored) => {
            let instance = stored.instance(&program).unwrap();
            (stored, instance)
        }
        Err(StorageError::NotFound { .. }) => {
            let mut instance = fresh(&program);
            let services = hash(&instance);
            (dir.create("it", &module(), &mut instance, &services).unwrap(), instance)
        }
        Err(error) => panic!("{error}"),
    };
    loop {
        stored.prepare(&mut instance).unwrap();
        // Sometimes somebody else uses the base.
        let _fork = rand::rng().random_bool(0.3).then(|| instance.fork().unwrap());
        run(&mut instance, write_randomly);
        let services = hash(&instance);
        stored.commit(&mut instance, &services).unwrap();
        println!("committed");
    }
}
