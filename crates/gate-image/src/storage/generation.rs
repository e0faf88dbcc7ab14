//! Files of the generations of an instance.

use super::error::StorageError;
use super::meta::Meta;
use super::stored::StoredInstance;
use super::{MEMORY_PREFIX, NEW_META, STATE_PREFIX};
use crate::error::ImageError;
use crate::fork::{Base, places_over};
use crate::instance::Instance;
use crate::state::{State, file_size};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

/// What is stored.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) meta: Meta,
    /// Cannot be written to.
    pub(super) state: Arc<State>,
}

/// What the next run changes.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) state: Arc<State>,
    pub(super) state_file: u64,
    pub(super) memory_file: u64,
    /// The base, if it has been written to since it was last known to be on the disk.
    pub(super) unsynced_base: Option<OwnedFd>,
}

type Result<T> = std::result::Result<T, StorageError>;

impl StoredInstance {
    /// A state that the next run can change: with the committed memories, and the rest of the committed state or of the
    /// restored instance.
    pub(super) fn next_running(&mut self, restored: Option<&Instance>) -> Result<Running> {
        if let Some(old) = self.running.take() {
            // Nobody has committed it.
            self.files.remove(&state_name(old.state_file))?;
            if self.committed()?.meta.memory_file != old.memory_file {
                self.files.remove(&memory_name(old.memory_file))?;
            }
        }
        let (memory_file, state_file) = (self.next_number(), self.next_number());
        let Committed { meta, state } = self.committed()?;
        let error = ImageError::system("merge memories");
        let Some(base) = &state.base else {
            return Err(ImageError::image("base of a stored instance").into());
        };
        let (base, memory_file, unsynced_base) = if !state.has_own_data().map_err(&error)? {
            (Arc::clone(base), meta.memory_file, None)
        } else if base.is_used_once() {
            let file = self.merge(meta, state)?;
            let sizes = state.memory_sizes().map_err(&error)?;
            (Arc::new(base.with_sizes(sizes)), meta.memory_file, Some(file))
        } else {
            let base = self.copy_base(state, memory_file)?;
            (base, memory_file, Some(self.files.open_writable(&memory_name(memory_file))?))
        };
        let state = restored.map_or(state, Instance::state);
        let state = Arc::new(self.copy_state(state, &base, state_file)?);
        Ok(Running { state, state_file, memory_file, unsynced_base })
    }

    /// Copies the state file's chunks to the base, where they make no difference as long as the state file is there.
    fn merge(&self, meta: &Meta, state: &State) -> Result<OwnedFd> {
        let name = memory_name(meta.memory_file);
        let file = self.files.open_writable(&name)?;
        self.files.change("merge chunks into", &name, || {
            (0..state.memories.len()).try_for_each(|index| state.copy_own_data(index, file.as_fd()))?;
            Ok(())
        })?;
        Ok(file)
    }

    /// Copies the memories to a new file.
    pub(super) fn copy_base(&self, state: &State, number: u64) -> Result<Arc<Base>> {
        let name = memory_name(number);
        let file = self.files.create_sized(&name, state.file_size())?;
        self.files.change("copy memories to", &name, || Ok(state.copy_memories(file.as_fd())?))?;
        let sizes = state.memory_sizes().map_err(ImageError::system("read memory sizes"))?;
        Ok(Arc::new(Base::new(self.files.open_file(&name)?, sizes)))
    }

    /// Copies what else there is to a new file over the base.
    pub(super) fn copy_state(&self, state: &State, base: &Arc<Base>, number: u64) -> Result<State> {
        let name = state_name(number);
        let file = self.files.create_sized(&name, state.file_size())?;
        let state = self.files.change("copy the state to", &name, || Ok(state.copy_to(file, base)?))?;
        Ok(State { is_stored: true, ..state })
    }

    /// Opens what the description names.
    pub(super) fn load(&self, meta: Meta) -> Result<Committed> {
        let places = meta.places();
        let base_sizes = meta.base_sizes();
        let open = |name: String, size: u64| {
            let file = self.files.open_file(&name)?;
            let stat = rustix::fs::fstat(&file).map_err(|errno| {
                StorageError::file("look at", self.files.path().join(&name))(errno.into())
            })?;
            match stat.st_size as u64 >= size {
                true => Ok(file),
                false => Err(StorageError::DamagedFile {
                    name: self.name.clone(),
                    path: self.files.path().join(name),
                    what: "it is too short",
                }),
            }
        };
        let ends = places.iter().zip(&base_sizes).map(|(place, base_size)| place.offset + base_size);
        let base = open(memory_name(meta.memory_file), ends.max().unwrap_or(0))?;
        let base = Arc::new(Base::new(base, base_sizes));
        let state = State {
            file: open(state_name(meta.state_file), file_size(&places))?,
            stack_size: meta.stack_size,
            instance_size: meta.instance_size,
            memories: places_over(&places, &base),
            base: Some(base),
            copying: Mutex::default(),
            is_stored: true,
        };
        Ok(Committed { meta, state: Arc::new(state) })
    }

    /// Removes what the description does not name.
    pub(super) fn remove_leftovers(&self) -> Result<()> {
        let meta = &self.committed()?.meta;
        let needed = [memory_name(meta.memory_file), state_name(meta.state_file)];
        for name in self.files.names()? {
            let is_ours = [MEMORY_PREFIX, STATE_PREFIX].iter().any(|prefix| name.starts_with(prefix));
            if (is_ours && !needed.contains(&name)) || name == NEW_META {
                self.files.remove(&name)?;
            }
        }
        Ok(())
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

pub(super) fn memory_name(number: u64) -> String {
    format!("{MEMORY_PREFIX}{number}")
}

pub(super) fn state_name(number: u64) -> String {
    format!("{STATE_PREFIX}{number}")
}
