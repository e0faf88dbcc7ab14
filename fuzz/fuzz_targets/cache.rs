//! Whatever a cache entry is, a program comes out.
#![no_main]

use gate_compiler::WasiImports;
use gate_fuzz::{Subject, edited};
use gate_image::{Cache, Instance, InstanceOptions};
use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;

/// Sizes of what is before the table of sections, and of one of its entries.
const HEAD: usize = 8 + 32;
const SECTION: usize = 8 + 32;
const SECTIONS: usize = 3;

struct Cached {
    subject: Subject,
    cache: Cache,
    path: PathBuf,
    head: Vec<u8>,
    sections: Vec<Vec<u8>>,
    _dir: tempfile::TempDir,
}

thread_local!(static CACHED: OnceCell<Cached> = const { OnceCell::new() });

impl Cached {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").expect("directory");
        let subject = Subject::all().remove(3);
        let cache = Cache::open(dir.path().join("cache")).expect("cache");
        cache.load_or_compile(&subject.wasm, &subject.options, &WasiImports).expect("program");
        let path = fs::read_dir(dir.path().join("cache"))
            .expect("cache")
            .next()
            .expect("entry")
            .expect("entry")
            .path();
        let file = fs::read(&path).expect("entry");
        let mut rest = &file[HEAD + SECTIONS * SECTION + 32..];
        let mut section = |index: usize| {
            let size = file[HEAD + index * SECTION..].first_chunk().expect("size");
            let (section, others) = rest.split_at(u64::from_le_bytes(*size) as usize);
            rest = others;
            section.to_vec()
        };
        let sections = (0..SECTIONS).map(&mut section).collect();
        Self { subject, cache, path, head: file[..HEAD].to_vec(), sections, _dir: dir }
    }
}

fuzz_target!(|data: &[u8]| {
    let [choice, data @ ..] = data else { return };
    CACHED.with(|cached| {
        let cached = cached.get_or_init(Cached::new);
        let file = match choice % 3 {
            0 => data.to_vec(),
            // What the compiler says of the text, and the maps. The text is what it is.
            choice => {
                let mut sections = cached.sections.clone();
                sections[usize::from(choice)] = edited(&sections[usize::from(choice)], data);
                let mut file = cached.head.clone();
                for section in &sections {
                    file.extend((section.len() as u64).to_le_bytes());
                    file.extend(blake3::hash(section).as_bytes());
                }
                file.extend(*blake3::hash(&file).as_bytes());
                file.extend(sections.concat());
                file
            }
        };
        fs::write(&cached.path, &file).expect("write");
        let subject = &cached.subject;
        let loaded = cached.cache.load_or_compile(&subject.wasm, &subject.options, &WasiImports);
        let (program, _) = loaded.expect("program");
        if program.maps().is_ok()
            && let Ok(instance) = Instance::new(&program, &InstanceOptions::default())
        {
            let _ = (instance.exit(), instance.backtrace());
        }
    });
});
