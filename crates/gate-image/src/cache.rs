//! Compiled modules on disk.

use crate::entry_file::{self, Damage, Entry};
use crate::error::ImageError;
use crate::instance::Instance;
use crate::program::Program;
use blake3::Hash;
use gate_compiler::{
    CompileError, CompiledModule, ImportResolver, Options, ResumeEntry, ResumePoint, ResumeText, Trampoline,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How old a file must be that somebody has begun to write, before it is taken for left behind.
const ABANDONED: Duration = Duration::from_secs(3600);

/// How long text is kept with which one stopped program goes on. It is made again in a moment, and most is never asked for
/// again.
const RESUME_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

const RESUME_EXTENSION: &str = "resume";

const TEMPORARY_PREFIX: &str = "tmp-";

/// A directory of compiled modules.
///
/// An entry is named by a hash of the module, of the compiler's version, of the processor's features and of the
/// options. It is written as a whole or not at all, and carries hashes of all that is in it: one that is damaged is compiled
/// anew. Any number of processes may use a directory at the same time.
///
/// The directory must belong to the user, and nobody else may write to it: who can write to it chooses what
/// programs' text is. It must also be used with one [`ImportResolver`] only, because the numbers of the host functions
/// are in the text.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

/// Why a directory cannot be a cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be made or looked at.
    #[error("open cache directory {}: {source}", .dir.display())]
    Open {
        /// The directory.
        dir: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Somebody else could put text into it.
    #[error("cache directory {} belongs to somebody else, or others may write to it", .dir.display())]
    NotPrivate {
        /// The directory.
        dir: PathBuf,
    },
}

/// Why a program could be neither found nor made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The module was not accepted.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The host is at fault.
    #[error(transparent)]
    Host(#[from] ImageError),
}

/// Where a program has come from.
#[derive(Debug)]
pub enum CacheOutcome {
    /// It was in the cache.
    Hit,
    /// It was compiled, and stored.
    Compiled,
    /// It was in the cache, but damaged; it was compiled again and stored.
    Rebuilt(Damage),
    /// It was compiled, but could not be stored.
    NotStored(io::Error),
}

impl Cache {
    /// Uses the directory, which is made if it does not exist. Only its last component is.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, CacheError> {
        let dir = dir.into();
        let metadata = match DirBuilder::new().mode(0o700).create(&dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => fs::metadata(&dir),
        };
        let metadata = metadata.map_err(|source| CacheError::Open { dir: dir.clone(), source })?;
        if !metadata.is_dir() {
            return Err(CacheError::Open { dir, source: io::ErrorKind::NotADirectory.into() });
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            return Err(CacheError::NotPrivate { dir });
        }
        let cache = Self { dir };
        cache.remove_abandoned();
        Ok(cache)
    }

    /// Gets the program from the directory, or else compiles it and puts it there.
    ///
    /// That it cannot be read or stored is not an error, but told by the outcome.
    pub fn load_or_compile(
        &self,
        wasm: &[u8],
        options: &Options,
        imports: &dyn ImportResolver,
    ) -> Result<(Program, CacheOutcome), LoadError> {
        let key = key(wasm, &gate_compiler::fingerprint(options)?);
        self.load_or(&key, || gate_compiler::compile(wasm, options, imports))
    }

    fn load_or(
        &self,
        key: &Hash,
        compile: impl FnOnce() -> Result<CompiledModule, CompileError>,
    ) -> Result<(Program, CacheOutcome), LoadError> {
        let path = self.dir.join(format!("{}.gate", key.to_hex()));
        let damage = match load(&path, key) {
            Ok(program) => return Ok((program?, CacheOutcome::Hit)),
            Err(damage) => damage,
        };
        let module = compile()?;
        let outcome =
            self.store(&path, entry_file::encode(key, &module.text, &module.info, &module.maps), damage);
        Ok((Program::new(module)?, outcome))
    }

    /// Prepares a suspended instance for going on by its frames, like [`Instance::prepare_resume`], with text from the
    /// directory if it is there. Otherwise it is compiled, and put there for some days.
    ///
    /// An instance that needs none, or has it already, stays as it is: then there is no outcome.
    pub fn prepare_resume(
        &self,
        instance: &mut Instance,
        wasm: &[u8],
        options: &Options,
        imports: &dyn ImportResolver,
    ) -> Result<Option<CacheOutcome>, LoadError> {
        let fingerprint = gate_compiler::fingerprint(options)?;
        let mut outcome = None;
        instance.prepare_resume_with(|base, points, outermost| {
            let key = resume_key(&key(wasm, &fingerprint), points, outermost);
            let path = self.dir.join(format!("{}.{RESUME_EXTENSION}", key.to_hex()));
            let damage = match load_resume(&path, &key) {
                Ok(text) => {
                    outcome = Some(CacheOutcome::Hit);
                    return Ok(text);
                }
                Err(damage) => damage,
            };
            let text = gate_compiler::compile_resume(wasm, options, imports, base, points, outermost)?;
            outcome = Some(self.store(&path, encode_resume(&key, &text), damage));
            Ok(text)
        })?;
        Ok(outcome)
    }

    /// Writes an entry under a name of its own, and then gives it the right name.
    ///
    /// What has not reached the disk when the power fails has a wrong hash, so that there is no need to wait for it.
    fn store(&self, path: &Path, contents: Option<Vec<u8>>, damage: Option<Damage>) -> CacheOutcome {
        match (self.write(path, contents), damage) {
            (Err(e), _) => CacheOutcome::NotStored(e),
            (Ok(()), Some(damage)) => CacheOutcome::Rebuilt(damage),
            (Ok(()), None) => CacheOutcome::Compiled,
        }
    }

    fn write(&self, path: &Path, contents: Option<Vec<u8>>) -> io::Result<()> {
        let contents = contents.ok_or(io::ErrorKind::InvalidData)?;
        let temporary = self.dir.join(format!("{TEMPORARY_PREFIX}{:032x}", rand::random::<u128>()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(&contents))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // The first error is the one that tells something.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Removes what writers have left which did not come to the end, and what is unlikely to be asked for again.
    fn remove_abandoned(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let lifetime = match entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
                true => ABANDONED,
                false if path.extension().is_some_and(|extension| extension == RESUME_EXTENSION) => {
                    RESUME_LIFETIME
                }
                false => continue,
            };
            let is_old = || {
                let modified = entry.metadata().ok()?.modified().ok()?;
                let age = SystemTime::now().duration_since(modified).ok()?;
                Some(age > lifetime)
            };
            if is_old() == Some(true) {
                // Somebody else may have been quicker.
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Reads an entry. The error is what is wrong with it, or nothing if there is none.
fn load(path: &Path, key: &Hash) -> Result<Result<Program, ImageError>, Option<Damage>> {
    let entry = read(path, key)?;
    match Program::with_encoded_maps(&entry.text, entry.info, entry.maps.into()) {
        Err(ImageError::Image { .. }) => Err(Some(Damage::Contents)),
        result => Ok(result),
    }
}

fn read<T: DeserializeOwned>(path: &Path, key: &Hash) -> Result<Entry<T>, Option<Damage>> {
    let mut file = File::open(path).map_err(|_| None)?;
    let size = file.metadata().map_err(|_| None)?.len();
    Ok(entry_file::decode(key, &mut file, size)?)
}

/// What is needed to use the text with which stopped programs go on.
#[derive(Serialize, Deserialize)]
struct ResumeInfo {
    /// Function, code offset and word of each entry.
    entries: Vec<(u32, u32, u64)>,
    trampolines: Vec<Trampoline>,
}

fn encode_resume(key: &Hash, resume: &ResumeText) -> Option<Vec<u8>> {
    let entries =
        resume.entries.iter().map(|entry| (entry.point.function, entry.point.code_offset, entry.word));
    let info = ResumeInfo { entries: entries.collect(), trampolines: resume.trampolines.clone() };
    entry_file::encode(key, &resume.text, &info, &resume.maps)
}

/// Reads an entry with text for going on. See [`load`].
fn load_resume(path: &Path, key: &Hash) -> Result<ResumeText, Option<Damage>> {
    let entry = read::<ResumeInfo>(path, key)?;
    let maps = postcard::from_bytes(&entry.maps).map_err(|_| Damage::Contents)?;
    let entries = entry.info.entries.into_iter().map(|(function, code_offset, word)| ResumeEntry {
        point: ResumePoint { function, code_offset },
        word,
    });
    let trampolines = entry.info.trampolines;
    Ok(ResumeText { text: entry.text, entries: entries.collect(), trampolines, maps })
}

/// `program` is the key of what it goes behind.
fn resume_key(program: &Hash, points: &BTreeSet<ResumePoint>, outermost: &BTreeSet<u32>) -> Hash {
    let mut hasher = blake3::Hasher::new_keyed(program.as_bytes());
    for point in points {
        hasher.update(&point.function.to_le_bytes());
        hasher.update(&point.code_offset.to_le_bytes());
    }
    // There is one at least, and their number is not a part of the points.
    for function in outermost {
        hasher.update(&function.to_le_bytes());
    }
    hasher.update(&(outermost.len() as u64).to_le_bytes());
    hasher.finalize()
}

fn key(wasm: &[u8], fingerprint: &str) -> Hash {
    let fingerprint = fingerprint.as_bytes();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(fingerprint.len() as u64).to_le_bytes());
    hasher.update(fingerprint);
    hasher.update(wasm);
    hasher.finalize()
}
