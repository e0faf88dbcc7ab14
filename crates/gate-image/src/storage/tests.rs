//! What is stored, whatever step is the last.

use super::files::{Step, Steps};
use super::*;
use crate::instance::{Instance, InstanceOptions, Purpose};
use crate::program::Program;
use crate::snapshot::ServiceState;
use gate_compiler::{Options, WasiImports};
use gate_wire::context::memory_desc_distance;
use gate_wire::context_offset;
use gate_wire::cow::{CHUNK_SIZE, CHUNKS_OFFSET, ChunkState};
use gate_wire::load::STATE_FILE_STRIDE;
use rustix::io::pwrite;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

/// Chunks that the program writes to.
const WRITTEN: [u64; 2] = [1, 3];

static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    wat::parse_str("(module (memory 4 8) (data (i32.const 5) \"initial\") (func (export \"f\")))").unwrap()
});

static PROGRAM: LazyLock<Program> = LazyLock::new(|| {
    let options = Options { threads: Some(1), ..Options::default() };
    Program::new(gate_compiler::compile(&MODULE, &options, &WasiImports).unwrap()).unwrap()
});

/// Lets so many things be done, and remembers what a power failure can undo.
#[derive(Debug)]
struct Limit {
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    left: usize,
    /// Files which have been made but not been synced.
    new: BTreeSet<PathBuf>,
    /// Files which have been changed since they were synced.
    changed: BTreeSet<PathBuf>,
    /// Files which have been replaced, with what they were.
    replaced: Vec<(PathBuf, Vec<u8>)>,
}

impl Steps for Limit {
    fn before(&self, step: Step, path: &Path, to: Option<&Path>) -> io::Result<()> {
        let mut progress = self.progress.lock().unwrap();
        if progress.left == 0 {
            // Nor is anything done after it.
            return Err(io::Error::other("the end"));
        }
        progress.left -= 1;
        match step {
            Step::Create => drop(progress.new.insert(path.into())),
            Step::Write if !progress.new.contains(path) => drop(progress.changed.insert(path.into())),
            Step::Write | Step::Remove => {}
            Step::Sync if path.is_dir() => progress.replaced.retain(|(file, _)| file.parent() != Some(path)),
            Step::Sync => {
                progress.new.remove(path);
                progress.changed.remove(path);
            }
            Step::Rename => {
                let to = to.unwrap();
                let renamed = |file: &PathBuf| match file.strip_prefix(path) {
                    Ok(rest) if rest.as_os_str().is_empty() => to.into(),
                    Ok(rest) => to.join(rest),
                    Err(_) => file.clone(),
                };
                progress.new = progress.new.iter().map(renamed).collect();
                if let Ok(contents) = fs::read(to) {
                    progress.replaced.push((to.into(), contents));
                }
            }
        }
        Ok(())
    }
}

/// What happens to what has not been synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Only the process has died.
    Nothing,
    /// Contents of files.
    Contents,
    /// Names of files, too.
    Names,
}

impl Limit {
    fn new(left: usize) -> Arc<Self> {
        let (new, changed, replaced) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        Arc::new(Self { progress: Mutex::new(Progress { left, new, changed, replaced }) })
    }

    fn lose(&self, loss: Loss) {
        let progress = self.progress.lock().unwrap();
        if loss == Loss::Nothing {
            return;
        }
        for path in progress.new.iter().filter(|path| !path.is_dir()) {
            if let Ok(file) = fs::OpenOptions::new().write(true).open(path) {
                file.set_len(0).unwrap();
            }
        }
        for path in &progress.changed {
            if let Ok(file) = fs::OpenOptions::new().write(true).open(path) {
                for chunk in WRITTEN {
                    file.write_all_at(&[0xaa; 5000], STATE_FILE_STRIDE + chunk * CHUNK_SIZE).unwrap();
                }
            }
        }
        if loss == Loss::Names {
            for (path, contents) in progress.replaced.iter().rev() {
                fs::write(path, contents).unwrap();
            }
        }
    }
}

fn contents(instance: &Instance) -> Vec<u8> {
    let memory = instance.memory(0).unwrap();
    let mut contents = vec![0; memory.size().unwrap() as usize + 16];
    let (stack, rest) = contents.split_at_mut(16);
    instance.state().read(instance.state().stack_offset(), stack).unwrap();
    memory.read(0, rest).unwrap();
    contents
}

fn services(instance: &Instance, round: u8) -> Vec<ServiceState> {
    let hash = blake3::hash(&contents(instance));
    vec![ServiceState { name: "test".into(), state: [&[round], &hash.as_bytes()[..]].concat() }]
}

/// A process runs the program, and rt copies what it writes to.
fn run(instance: &mut Instance, round: u8) {
    instance.set_entry("f", &[]).unwrap();
    let launch = instance.launch(1 << 20, Purpose::Run).unwrap();
    let file = launch.mutation.file();
    pwrite(file, &[round; 16], launch.request.state_offset).unwrap();
    for chunk in WRITTEN {
        pwrite(file, &vec![round; CHUNK_SIZE as usize], STATE_FILE_STRIDE + chunk * CHUNK_SIZE).unwrap();
        if chunk * CHUNK_SIZE < launch.memories[0].base_size {
            pwrite(file, &[ChunkState::Own as u8], CHUNKS_OFFSET + chunk).unwrap();
        }
    }
    launch.mutation.memory().write(2 * CHUNK_SIZE + u64::from(round), &[round]).unwrap();
    if round == 3 {
        let size = 6 * CHUNK_SIZE;
        pwrite(file, &size.to_le_bytes(), STATE_FILE_STRIDE - memory_desc_distance(0)).unwrap();
        pwrite(file, b"grown", STATE_FILE_STRIDE + 5 * CHUNK_SIZE).unwrap();
    }
    let exit = STATE_FILE_STRIDE.wrapping_add_signed(context_offset!(exit.kind).into());
    pwrite(file, &1u32.to_le_bytes(), exit).unwrap();
}

fn fresh() -> Instance {
    Instance::new(&PROGRAM, &InstanceOptions::default()).unwrap()
}

/// Stores an instance, and lets it run and stores it some times. Tells which round was stored, and whether there is another
/// which may have been.
fn live(
    dir: &Path,
    steps: Arc<dyn Steps>,
    with_forks: bool,
    reached: &mut (u8, u8),
) -> Result<(), StorageError> {
    let dir = Directory::open_with(dir.into(), b"rt", steps)?;
    let mut instance = fresh();
    let mut forks = Vec::new();
    run(&mut instance, 1);
    reached.1 = 1;
    let services_1 = services(&instance, 1);
    let mut stored = dir.create("it", &MODULE, &mut instance, &services_1)?;
    reached.0 = 1;
    for round in 2..=5 {
        stored.prepare(&mut instance)?;
        if with_forks {
            forks.push((instance.fork().unwrap(), contents(&instance)));
        }
        run(&mut instance, round);
        let services = services(&instance, round);
        reached.1 = round;
        stored.commit(&mut instance, &services)?;
        reached.0 = round;
    }
    for (fork, expected) in forks {
        assert!(contents(&fork) == expected);
    }
    Ok(())
}

/// Opens what is stored, and checks that it is all of one round. Tells which.
fn check(dir: &Path) -> Option<u8> {
    let dir = Directory::open(dir, b"rt").unwrap();
    if dir.list().unwrap().is_empty() {
        return None;
    }
    let mut stored = dir.open_instance("it").unwrap();
    let mut instance = stored.instance(&PROGRAM).unwrap();
    let services_found = stored.services().unwrap();
    let round = services_found[0].state[0];
    assert_eq!(services_found, services(&instance, round));
    assert_eq!(u64::from(round), stored.generation());
    assert_eq!(stored.module().unwrap(), *MODULE);
    let mut names: Vec<_> = fs::read_dir(dir_of(&dir)).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 4, "{names:?}");

    // It goes on.
    stored.prepare(&mut instance).unwrap();
    assert_eq!(services_found, services(&instance, round));
    run(&mut instance, 9);
    let services_9 = services(&instance, 9);
    stored.commit(&mut instance, &services_9).unwrap();
    drop((stored, instance));
    let stored = dir.open_instance("it").unwrap();
    assert_eq!(services(&stored.instance(&PROGRAM).unwrap(), 9), services_9);
    Some(round)
}

fn dir_of(dir: &Directory) -> PathBuf {
    dir.path().join("it")
}

#[test]
fn whatever_step_is_the_last_what_is_stored_is_whole() {
    for loss in [Loss::Nothing, Loss::Contents, Loss::Names] {
        for with_forks in [false, true] {
            let mut found = BTreeSet::new();
            for left in 0.. {
                let dir = tempfile::tempdir_in("/dev/shm").unwrap();
                let steps = Limit::new(left);
                let mut reached = (0, 0);
                let result = live(dir.path(), steps.clone(), with_forks, &mut reached);
                steps.lose(loss);
                let (at_least, at_most) = reached;
                let round = check(dir.path()).unwrap_or(0);
                assert!((at_least..=at_most).contains(&round), "{loss:?} {left}: {round} not in {reached:?}");
                found.insert((round, at_most));
                if result.is_ok() {
                    assert!(left > 50, "{left}");
                    break;
                }
            }
            // Each round was found after a crash during its commit and after one during the next one's.
            let expected = (0..5).flat_map(|round| [(round, round + 1), (round + 1, round + 1)]);
            assert!(expected.clone().all(|pair| found.contains(&pair)), "{found:?}");
        }
    }
}

#[test]
fn files_stay_few_and_no_larger_than_what_they_hold() {
    let temporary = tempfile::tempdir_in("/dev/shm").unwrap();
    let dir = Directory::open(temporary.path(), b"rt").unwrap();
    let mut instance = fresh();
    let mut stored = dir.create("it", &MODULE, &mut instance, &[]).unwrap();
    let space = || {
        let entries = fs::read_dir(dir_of(&dir)).unwrap();
        let blocks = |entry: io::Result<fs::DirEntry>| {
            std::os::unix::fs::MetadataExt::blocks(&entry.unwrap().metadata().unwrap()) * 512
        };
        let sizes: Vec<u64> = entries.map(blocks).collect();
        (sizes.len(), sizes.iter().sum::<u64>())
    };
    let mut most = 0;
    for round in 10..60 {
        stored.prepare(&mut instance).unwrap();
        run(&mut instance, round);
        let (files, size) = space();
        assert_eq!(files, 5);
        most = most.max(size);
        stored.commit(&mut instance, &[]).unwrap();
        assert_eq!(space().0, 4);
    }
    // Three files at most, each with four chunks at most, the stack's and the instance region's pages.
    assert!(most <= 3 * (4 * CHUNK_SIZE + 8 * 4096) + 2 * 4096, "{most}");
}

#[test]
fn what_is_committed_cannot_be_changed() {
    let temporary = tempfile::tempdir_in("/dev/shm").unwrap();
    let dir = Directory::open(temporary.path(), b"rt").unwrap();
    let mut instance = fresh();
    let mut stored = dir.create("it", &MODULE, &mut instance, &[]).unwrap();
    assert!(instance.memory(0).unwrap().write(0, b"x").is_err());
    instance.set_entry("f", &[]).unwrap();
    let error = instance.launch(1 << 20, Purpose::Run).unwrap_err();
    assert!(error.to_string().contains("has not been prepared"), "{error}");
    assert!(pwrite(instance.state(), b"x", 0).is_err());
    stored.prepare(&mut instance).unwrap();
    let handle = instance.memory(0).unwrap();
    handle.write(0, b"x").unwrap();
    stored.commit(&mut instance, &[]).unwrap();
    let expected = contents(&instance);

    stored.prepare(&mut instance).unwrap();
    // A handle from before the commit is one to what was committed.
    let mut byte = [0];
    handle.read(0, &mut byte).unwrap();
    assert_eq!(byte, *b"x");
    run(&mut instance, 7);
    drop((stored, instance, handle));
    let stored = dir.open_instance("it").unwrap();
    assert!(contents(&stored.instance(&PROGRAM).unwrap()) == expected);
}
