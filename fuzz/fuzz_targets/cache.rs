//! Whatever a cache entry is, a program comes out.
#![no_main]

use gate_compiler::WasiImports;
use gate_fuzz::{Subject, edited};
use gate_image::{Cache, Instance, InstanceOptions};
use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;

/// Sizes of what is before the table of sections, of one of its entries, and of all that is behind the sections.
const HEAD: usize = 8 + 32;
const SECTION: usize = 8 + 32;
const SECTIONS: usize = 4;
const FOOTER: usize = HEAD + SECTIONS * SECTION + 32;

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
        let mut paths = fs::read_dir(dir.path().join("cache")).expect("cache").map(|entry| entry.expect("entry").path());
        let is_entry = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gate");
        let path = paths.find(is_entry).expect("entry");
        let file = fs::read(&path).expect("entry");
        let (mut rest, footer) = file.split_at(file.len() - FOOTER);
        let mut section = |index: usize| {
            let size = footer[HEAD + index * SECTION..].first_chunk().expect("size");
            let (section, others) = rest.split_at(u64::from_le_bytes(*size) as usize);
            rest = others;
            section.to_vec()
        };
        let sections = (0..SECTIONS).map(&mut section).collect();
        Self { subject, cache, path, head: footer[..HEAD].to_vec(), sections, _dir: dir }
    }
}

fuzz_target!(|data: &[u8]| {
    let [choice, data @ ..] = data else { return };
    CACHED.with(|cached| {
        let cached = cached.get_or_init(Cached::new);
        let file = match choice % 4 {
            0 => data.to_vec(),
            // Memories, what the compiler says of the text, and the maps. The text is what it is.
            choice => {
                let mut sections = cached.sections.clone();
                sections[usize::from(choice)] = edited(&sections[usize::from(choice)], data);
                let mut footer = cached.head.clone();
                for section in &sections {
                    footer.extend((section.len() as u64).to_le_bytes());
                    footer.extend(blake3::hash(section).as_bytes());
                }
                footer.extend(*blake3::hash(&footer).as_bytes());
                [sections.concat(), footer].concat()
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
