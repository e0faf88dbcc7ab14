//! Stored instances.

use super::build::Build;
use super::error::StorageError;
use super::files::Files;
use super::generation::{Committed, Running, memory_name, state_name};
use super::meta::{self, MemoryMeta, Meta, MetaDamage, Native};
use super::{META, MODULE, NEW_META};
use crate::error::ImageError;
use crate::instance::Instance;
use crate::program::Program;
use crate::snapshot::{Restored, ServiceState, portable};
use crate::state::{MemoryPlace, State};
use blake3::Hash;
use gate_wire::load::STATE_FILE_STRIDE;
use std::path::PathBuf;
use std::sync::Arc;

/// An instance in a [`Directory`](super::Directory), locked until this is dropped.
#[derive(Debug)]
pub struct StoredInstance {
    pub(super) files: Files,
    pub(super) name: String,
    module: Hash,
    build: Build,
    /// The last number that was given to a file.
    pub(super) last_number: u64,
    pub(super) committed: Option<Committed>,
    pub(super) running: Option<Running>,
    /// See [`StorageError::Uncertain`].
    uncertain: bool,
}

/// What is to be committed.
struct Candidate<'a> {
    state: &'a State,
    state_file: u64,
    memory_file: u64,
}

type Result<T> = std::result::Result<T, StorageError>;

impl StoredInstance {
    pub(super) fn new(files: Files, name: &str, module: Hash, build: Build) -> Self {
        Self {
            files,
            name: name.into(),
            module,
            build,
            last_number: 0,
            committed: None,
            running: None,
            uncertain: false,
        }
    }

    pub(super) fn open(files: Files, name: &str, build: Build) -> Result<Self> {
        let damaged =
            |damage| StorageError::Damaged { name: name.into(), path: files.path().join(META), damage };
        let contents = files.read(META, meta::MAX_SIZE)?.ok_or_else(|| damaged(MetaDamage::Missing))?;
        let meta = Meta::decode(&contents).map_err(damaged)?;
        let mut stored = Self::new(files, name, Hash::from_bytes(meta.module), build);
        stored.last_number = meta.memory_file.max(meta.state_file);
        stored.committed = Some(stored.load(meta)?);
        stored.remove_leftovers()?;
        Ok(stored)
    }

    /// Makes the instance as it was stored.
    ///
    /// It can be looked at, and can run after [`StoredInstance::prepare`]. Fails with [`StorageError::OtherBuild`] if
    /// another build of Gate has stored it, if the program's text is another one, or if it was suspended in text that had
    /// been made for it to go on (after [`StoredInstance::restore`]): then there is still [`StoredInstance::restore`].
    pub fn instance(&self, program: &Program) -> Result<Instance> {
        let committed = self.committed()?;
        let other = |reason| StorageError::OtherBuild { name: self.name.clone(), reason };
        let native = committed.meta.native.as_ref().ok_or_else(|| other("it is stored by its frames"))?;
        if native.build != *self.build.of(program)?.as_bytes() {
            return Err(other("it was stored by another build of Gate, or with other options"));
        }
        Instance::from_stored(program, &committed.state, &native.contents)
            .ok_or_else(|| other("it is not an instance of the program"))
    }

    /// Makes the instance as it was stored, under whatever build of Gate. `program` must have been compiled from
    /// [`StoredInstance::module`].
    ///
    /// Memories are not copied. It can run at once; if it is suspended, [`Instance::prepare_resume`] must come before that.
    pub fn restore(&mut self, program: &Program) -> Result<Instance> {
        let restored = self.read_portable()?;
        let options = restored.options();
        let mut instance = restored.instance(program, &options)?;
        let running = self.next_running(Some(&instance))?;
        *instance.idle_state_mut()? = Arc::clone(&running.state);
        self.running = Some(running);
        Ok(instance)
    }

    /// Makes the state of an instance permanent, and from now on the stored one. It must not be running.
    ///
    /// That is quick if it is what was stored before and has only run since; any other instance of the same module is
    /// copied. If it is suspended, its frames must be known ([`Mutation::finish_export`](crate::Mutation::finish_export)).
    /// `services` is kept with it. After that the instance can be looked at; before it can run again, it needs [`StoredInstance::prepare`].
    ///
    /// If this fails, what was stored before still is, except that after [`StorageError::Uncertain`] it may be either.
    pub fn commit(&mut self, instance: &mut Instance, services: &[ServiceState]) -> Result<()> {
        if self.uncertain {
            return Err(StorageError::Uncertain { name: self.name.clone() });
        }
        let is_running = self.running.as_ref().is_some_and(|running| instance.has_state(&running.state));
        match self.running.take_if(|_| is_running) {
            None => self.commit_to_new(instance, services),
            Some(mut running) => {
                let result = self.commit_running(&mut running, instance, services);
                if result.is_err() && !self.uncertain {
                    self.running = Some(running);
                }
                result
            }
        }
    }

    /// Prepares the instance, which must be as it is stored, for the next run: what that changes is not part of what is
    /// stored until it is committed.
    ///
    /// Does nothing if that has been done already.
    pub fn prepare(&mut self, instance: &mut Instance) -> Result<()> {
        if self.running.as_ref().is_some_and(|running| instance.has_state(&running.state)) {
            return Ok(());
        }
        let committed = self.committed()?;
        if !instance.has_state(&committed.state) {
            return Err(StorageError::NotStored { name: self.name.clone() });
        }
        let state = instance.idle_state_mut()?;
        let running = self.next_running(None)?;
        *state = Arc::clone(&running.state);
        self.running = Some(running);
        Ok(())
    }

    /// Name of the instance.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many times it has been committed.
    pub fn generation(&self) -> u64 {
        self.committed.as_ref().map_or(0, |committed| committed.meta.generation)
    }

    /// BLAKE3 hash of the module.
    pub fn module_hash(&self) -> Hash {
        self.module
    }

    /// The module, as it was given.
    pub fn module(&self) -> Result<Vec<u8>> {
        let damaged = |what| StorageError::DamagedFile {
            name: self.name.clone(),
            path: self.files.path().join(MODULE),
            what,
        };
        let module = self.files.read(MODULE, u64::MAX)?.ok_or_else(|| damaged("it is missing"))?;
        match blake3::hash(&module) == self.module {
            true => Ok(module),
            false => Err(damaged("wrong hash")),
        }
    }

    /// States of the services, as they were stored.
    pub fn services(&self) -> Result<Vec<ServiceState>> {
        Ok(self.read_portable()?.services().to_vec())
    }

    /// Sizes of the stored memories, in bytes.
    pub fn memory_sizes(&self) -> Result<Vec<u64>> {
        Ok(self.committed()?.meta.memories.iter().map(|memory| memory.size).collect())
    }

    pub(super) fn rename(&mut self, path: PathBuf) {
        self.files.set_path(path);
    }

    /// Stores an instance whatever its files are.
    pub(super) fn commit_to_new(&mut self, instance: &mut Instance, services: &[ServiceState]) -> Result<()> {
        let portable = self.write_portable(instance, services)?;
        instance.idle_state_mut()?;
        let old = instance.state();
        let (memory_file, state_file) = (self.next_number(), self.next_number());
        let result = self.copy_to_new(old, memory_file, state_file).and_then(|state| {
            self.commit_files(Candidate { state: &state, state_file, memory_file }, instance, portable)
        });
        if result.is_err() && !self.uncertain {
            // There are no others than those of the last commit, and of the run that it is for.
            let _ = self.files.remove(&memory_name(memory_file));
            let _ = self.files.remove(&state_name(state_file));
        }
        result
    }

    fn copy_to_new(&self, old: &State, memory_file: u64, state_file: u64) -> Result<State> {
        let base = self.copy_base(old, memory_file)?;
        self.files.sync_file(&memory_name(memory_file), base.file())?;
        let state = self.copy_state(old, &base, state_file)?;
        self.files.sync_file(&state_name(state_file), &state)?;
        Ok(state)
    }

    fn commit_running(
        &mut self,
        running: &mut Running,
        instance: &mut Instance,
        services: &[ServiceState],
    ) -> Result<()> {
        let portable = self.write_portable(instance, services)?;
        instance.idle_state_mut()?;
        if let Some(base) = &running.unsynced_base {
            self.files.sync_file(&memory_name(running.memory_file), base)?;
            running.unsynced_base = None;
        }
        self.files.sync_file(&state_name(running.state_file), &running.state)?;
        let candidate = Candidate {
            state: &running.state,
            state_file: running.state_file,
            memory_file: running.memory_file,
        };
        self.commit_files(candidate, instance, portable)
    }

    /// Makes files which are on the disk the stored ones.
    fn commit_files(
        &mut self,
        candidate: Candidate<'_>,
        instance: &mut Instance,
        portable: Vec<u8>,
    ) -> Result<()> {
        let meta = self.describe(&candidate, instance, portable)?;
        let encoded = meta.encode().ok_or(ImageError::image("description of a stored instance"))?;
        // The state that has been written to goes out of use.
        let file = self.files.open_file(&state_name(candidate.state_file))?;
        let committed = Committed { meta, state: Arc::new(candidate.state.reopened(file)) };
        self.files.remove(NEW_META)?;
        self.files.write_file(NEW_META, &encoded)?;

        *instance.idle_state_mut()? = Arc::clone(&committed.state);
        self.running = None;
        if let Err(error) = self.files.rename(NEW_META, META).and_then(|()| self.files.sync()) {
            self.uncertain = true;
            return Err(error);
        }
        self.committed = Some(committed);
        // It's stored. What cannot be removed now is when the instance is opened the next time.
        let _ = self.remove_leftovers();
        Ok(())
    }

    fn write_portable(&self, instance: &Instance, services: &[ServiceState]) -> Result<Vec<u8>> {
        Ok(portable::write(instance, &self.module()?, services)?)
    }

    fn read_portable(&self) -> Result<Restored> {
        Ok(portable::read(&self.committed()?.meta.portable, &self.module()?)?)
    }

    fn describe(&self, candidate: &Candidate<'_>, instance: &Instance, portable: Vec<u8>) -> Result<Meta> {
        let &Candidate { state, state_file, memory_file } = candidate;
        let error = ImageError::system("read memory sizes");
        let memory = |(index, place): (usize, &MemoryPlace)| {
            Ok(MemoryMeta {
                size: state.memory_size(index).map_err(&error)?,
                max: place.max,
                base_size: place.base_size,
                desc_distance: STATE_FILE_STRIDE - place.desc_offset,
            })
        };
        let native = match instance.to_stored()? {
            Some(contents) => {
                Some(Native { build: *self.build.of(instance.program())?.as_bytes(), contents })
            }
            None => None,
        };
        Ok(Meta {
            generation: self.generation() + 1,
            memory_file,
            state_file,
            stack_size: state.stack_size,
            instance_size: state.instance_size,
            memories: state.memories.iter().enumerate().map(memory).collect::<Result<_>>()?,
            module: *self.module.as_bytes(),
            native,
            portable,
        })
    }

    pub(super) fn committed(&self) -> Result<&Committed> {
        match &self.committed {
            Some(committed) if !self.uncertain => Ok(committed),
            _ => Err(StorageError::Uncertain { name: self.name.clone() }),
        }
    }
}

impl Drop for StoredInstance {
    fn drop(&mut self) {
        self.files.unlock();
    }
}
