//! Whatever the description of a stored instance is, it is opened, or there is an error.
#![no_main]

use gate_fuzz::{Subject, edited};
use gate_image::{Directory, Instance, InstanceOptions};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

/// A directory with an instance.
struct Stored {
    subject: Subject,
    directory: Directory,
    path: PathBuf,
    meta: Vec<u8>,
    /// Removed in the end.
    _dir: tempfile::TempDir,
}

thread_local!(static STORED: RefCell<Option<Stored>> = const { RefCell::new(None) });

impl Stored {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").expect("directory");
        let subject = Subject::all().pop().expect("subject");
        let directory = Directory::open(dir.path().join("instances"), b"rt").expect("directory");
        let mut instance = Instance::new(&subject.program, &InstanceOptions::default()).expect("instance");
        drop(directory.create("x", &subject.wasm, &mut instance, &[]).expect("stored"));
        let path = directory.path().join("x");
        let path = if path.is_dir() { path } else { find(directory.path().to_path_buf()) };
        let meta = fs::read(path.join("meta")).expect("description");
        Self { subject, directory, path, meta, _dir: dir }
    }
}

/// The directory which has the description.
fn find(path: PathBuf) -> PathBuf {
    let entries = fs::read_dir(&path).expect("directory").map(|entry| entry.expect("entry").path());
    let mut directories = entries.filter(|path| path.is_dir());
    directories.find(|path| path.join("meta").exists()).expect("instance")
}

fuzz_target!(|data: &[u8]| {
    STORED.with_borrow_mut(|slot| {
        let stored = slot.get_or_insert_with(Stored::new);
        let mut file = match data.split_first() {
            Some((0, data)) => data.to_vec(),
            Some((_, data)) => {
                // Between the size and the hash, which are made to fit.
                let contents = edited(&stored.meta[16..stored.meta.len() - 32], data);
                let mut file = stored.meta[..8].to_vec();
                file.extend((contents.len() as u64).to_le_bytes());
                file.extend(contents);
                file
            }
            None => return,
        };
        file.extend(blake3::hash(&file).as_bytes());
        fs::write(stored.path.join("meta"), &file).expect("write");
        if let Ok(mut opened) = stored.directory.open_instance("x") {
            let _ = (opened.memory_sizes(), opened.services());
            let subject = &stored.subject;
            if let Ok(instance) = opened.instance(&subject.program) {
                let _ = instance.exit();
                let _ = instance.backtrace();
            }
            if let Ok(instance) = opened.restore(&subject.program) {
                let _ = instance.exit();
            }
            // What the description does not name is gone.
            drop(opened);
            *slot = None;
        }
    });
});
