//! Compiled modules on disk.

mod entry;
mod identity;
mod known;
mod restored;

pub(crate) use entry::StoredMaps;
pub use identity::FileIdentity;
pub use restored::{KeptInstance, Origin};

use crate::entry_file::{self, Damage};
use crate::error::ImageError;
use crate::instance::Instance;
use crate::program::Program;
use blake3::Hash;
use entry::Entry;
use gate_compiler::{CompileError, CompiledModule, ImportResolver, Options, ResumePoint};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How old a file must be that somebody has begun to write, before it is taken for left behind.
const ABANDONED: Duration = Duration::from_secs(3600);

/// How long text is kept with which one stopped program goes on. It is made again in a moment, and most is never asked for
/// again.
const RESUME_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

const RESUME_EXTENSION: &str = "resume";

/// What snapshots' files were read to is of use as long as that.
const RESTORED_EXTENSION: &str = "restored";

/// So many of them are kept, as they can be large.
const MAX_RESTORED: usize = 16;

/// How long what is known about files is kept.
const KNOWN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

const KNOWN_EXTENSION: &str = "known";

const TEMPORARY_PREFIX: &str = "tmp-";

/// A directory of compiled modules.
///
/// An entry is named by a hash of the module, of the compiler's version, of the processor's features and of the
/// options. It is written as a whole or not at all, and carries hashes of all that is in it: one that is damaged is compiled
/// anew. Any number of processes may use a directory at the same time.
///
/// Programs map their text from the entry's file, without a copy. That an entry is not damaged is found out once, and then taken
/// for granted for as long as the file's [identity](FileIdentity) is the same.
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
        Ok(Self { dir })
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
        let key = key(&blake3::hash(wasm), &gate_compiler::fingerprint(options)?);
        self.load_or(&key, || gate_compiler::compile(wasm, options, imports))
    }

    fn load_or(
        &self,
        key: &Hash,
        compile: impl FnOnce() -> Result<CompiledModule, CompileError>,
    ) -> Result<(Program, CacheOutcome), LoadError> {
        let path = self.program_path(key);
        let damage = match self.load(&path, key) {
            Ok(program) => return Ok((program?, CacheOutcome::Hit)),
            Err(damage) => damage,
        };
        let module = compile()?;
        let stored = self.store(&path, |file| entry::write_program(file, key, &module));
        Ok((Program::new(module)?, outcome(stored, damage)))
    }

    /// Gets the program of the module whose BLAKE3 hash this is, if it is there and not damaged.
    pub fn load_by_hash(&self, module: &Hash, options: &Options) -> Result<Option<Program>, LoadError> {
        let key = key(module, &gate_compiler::fingerprint(options)?);
        match self.load(&self.program_path(&key), &key) {
            Ok(program) => Ok(Some(program?)),
            Err(_) => Ok(None),
        }
    }

    /// The BLAKE3 hash of a file's contents, if it has been [remembered](Self::remember).
    pub fn remembered(&self, identity: &FileIdentity) -> Option<Hash> {
        self.known(known::CONTENTS, identity)
    }

    /// Remembers the BLAKE3 hash of what was read from a file. `identity` is what it was before it was read. If it has become
    /// another one meanwhile, nothing happens.
    pub fn remember(&self, file: &File, identity: &FileIdentity, contents: &Hash) {
        if FileIdentity::of(file).as_ref() == Some(identity) {
            self.set_known(known::CONTENTS, identity, contents);
        }
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
        let mut result = None;
        instance.prepare_resume_with(|base, points, outermost| {
            let key = resume_key(&key(&blake3::hash(wasm), &fingerprint), points, outermost);
            let path = self.resume_path(&key);
            let damage = match self.load_resume(&path, &key, base) {
                Ok(program) => {
                    result = Some(CacheOutcome::Hit);
                    return Ok(program?);
                }
                Err(damage) => damage,
            };
            let text = base.compile_resume(wasm, options, imports, points, outermost)?;
            let stored = self.store(&path, |file| entry::write_resume(file, &key, &text));
            result = Some(outcome(stored, damage));
            Ok(base.extend(text)?)
        })?;
        Ok(result)
    }

    fn program_path(&self, key: &Hash) -> PathBuf {
        self.dir.join(format!("{}.gate", key.to_hex()))
    }

    fn resume_path(&self, key: &Hash) -> PathBuf {
        self.dir.join(format!("{}.{RESUME_EXTENSION}", key.to_hex()))
    }

    /// Reads an entry. The error is what is wrong with it, or nothing if there is none.
    fn load(&self, path: &Path, key: &Hash) -> Result<Result<Program, ImageError>, Option<Damage>> {
        damage_or(self.open_entry(path, key)?.program())
    }

    /// Reads an entry with text for going on, and adds it to the program. See [`Cache::load`].
    fn load_resume(
        &self,
        path: &Path,
        key: &Hash,
        base: &Program,
    ) -> Result<Result<Program, ImageError>, Option<Damage>> {
        damage_or(self.open_entry(path, key)?.extend(base))
    }

    /// Opens an entry of which nothing is damaged.
    fn open_entry(&self, path: &Path, key: &Hash) -> Result<Entry, Option<Damage>> {
        let file = File::open(path).map_err(|_| None)?;
        let identity = FileIdentity::of(&file);
        let size = file.metadata().map_err(|_| None)?.len();
        let sections = entry_file::sections(&file, size, key)?;
        let is_known = |identity| self.known(known::VERIFIED, identity).is_some_and(|hash| hash == *key);
        if !identity.as_ref().is_some_and(is_known) {
            sections.check(&file)?;
            if let Some(identity) =
                identity.filter(|identity| FileIdentity::of(&file).as_ref() == Some(identity))
            {
                self.set_known(known::VERIFIED, &identity, key);
            }
        }
        Ok(Entry::new(file, sections))
    }

    /// Writes an entry under a name of its own, and then gives it the right name.
    ///
    /// What has not reached the disk when the power fails has a wrong hash, so that there is no need to wait for it.
    fn store(&self, path: &Path, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        self.remove_abandoned();
        let temporary = self.dir.join(format!("{TEMPORARY_PREFIX}{:032x}", rand::random::<u128>()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|file| write(&file))
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
        let mut restored = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let lifetime = match path.extension().and_then(|extension| extension.to_str()) {
                None if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) => ABANDONED,
                Some(RESUME_EXTENSION | RESTORED_EXTENSION) => RESUME_LIFETIME,
                Some(KNOWN_EXTENSION) => KNOWN_LIFETIME,
                _ => continue,
            };
            let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
            if SystemTime::now().duration_since(modified).is_ok_and(|age| age > lifetime) {
                // Somebody else may have been quicker.
                let _ = fs::remove_file(path);
            } else if path.extension().is_some_and(|extension| extension == RESTORED_EXTENSION) {
                restored.push((modified, path));
            }
        }
        restored.sort();
        for (_, path) in restored.iter().rev().skip(MAX_RESTORED) {
            let _ = fs::remove_file(path);
        }
    }
}

/// What became of an entry that could not be used.
fn outcome(stored: io::Result<()>, damage: Option<Damage>) -> CacheOutcome {
    match (stored, damage) {
        (Err(e), _) => CacheOutcome::NotStored(e),
        (Ok(()), Some(damage)) => CacheOutcome::Rebuilt(damage),
        (Ok(()), None) => CacheOutcome::Compiled,
    }
}

/// What contradicts itself is damaged, too.
fn damage_or(
    program: Result<Result<Program, ImageError>, Damage>,
) -> Result<Result<Program, ImageError>, Option<Damage>> {
    match program? {
        Err(ImageError::Image { .. }) => Err(Some(Damage::Contents)),
        result => Ok(result),
    }
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

fn key(module: &Hash, fingerprint: &str) -> Hash {
    let fingerprint = fingerprint.as_bytes();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(fingerprint.len() as u64).to_le_bytes());
    hasher.update(fingerprint);
    hasher.update(module.as_bytes());
    hasher.finalize()
}
