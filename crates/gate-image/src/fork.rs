//! Many states over one.

use crate::error::ImageError;
use crate::extents;
use crate::memfd;
use crate::state::{MemoryPlace, State};
use gate_wire::cow::CHUNK_SIZE;
use gate_wire::load::STATE_FILE_STRIDE;
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

/// Memories which nobody changes any more, in the places that they have in a state file.
///
/// Its file is sealed, or nobody has it open for writing.
#[derive(Debug)]
pub(crate) struct Base {
    file: Arc<OwnedFd>,
    /// Sizes of the memories in bytes, multiples of [`CHUNK_SIZE`].
    sizes: Vec<u64>,
}

impl Base {
    /// A file which has memories of the given sizes.
    pub(crate) fn new(file: OwnedFd, sizes: Vec<u64>) -> Self {
        debug_assert!(sizes.iter().all(|size| size.is_multiple_of(CHUNK_SIZE)));
        Self { file: Arc::new(file), sizes }
    }

    /// The same file, with memories of other sizes.
    pub(crate) fn with_sizes(&self, sizes: Vec<u64>) -> Self {
        Self { file: Arc::clone(&self.file), sizes }
    }

    /// Whether no more than one state uses it, or any other of the same file.
    pub(crate) fn is_used_once(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && Arc::strong_count(&self.file) == 1
    }

    /// The file.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl State {
    /// Makes another state with the same contents. Both are copied on write from now on.
    ///
    /// No process may be using it. Memories are copied only if they have been written to since the last time. Costs the
    /// copying of the stack and of the instance region, as far as they have been used.
    pub(crate) fn fork(state: &mut Arc<Self>) -> Result<Self, ImageError> {
        let error = ImageError::system("fork a state file");
        let base = match &state.base {
            Some(base) if !state.has_own_data().map_err(&error)? => Arc::clone(base),
            Some(_) => {
                let base = Arc::new(state.flatten()?);
                // What is stored is known by its files.
                if !state.is_stored {
                    *state = Arc::new(state.copy_over(&base)?);
                }
                base
            }
            None => {
                memfd::seal_contents(&state.file)
                    .map_err(ImageError::system("make a state file unchangeable"))?;
                let file = state
                    .file
                    .try_clone()
                    .map_err(|source| ImageError::System { action: "keep a state file", source })?;
                let base = Arc::new(Base::new(file, state.memory_sizes().map_err(&error)?));
                *state = Arc::new(state.copy_over(&base)?);
                base
            }
        };
        state.copy_over(&base)
    }

    /// Whether the state is stored and cannot be changed any more.
    pub(crate) fn is_committed(&self) -> bool {
        let is_read_only = || Ok::<_, Errno>(fcntl_getfl(&self.file)? & OFlags::RWMODE == OFlags::RDONLY);
        self.is_stored && is_read_only() == Ok(true)
    }

    /// Current sizes of the memories in bytes.
    pub(crate) fn memory_sizes(&self) -> Result<Vec<u64>, Errno> {
        (0..self.memories.len()).map(|index| self.memory_size(index)).collect()
    }

    /// A new state in memory over the base, which has the same memories.
    fn copy_over(&self, base: &Arc<Base>) -> Result<Self, ImageError> {
        let file = memfd::create_sized("gate-state", self.file_size())?;
        self.copy_to(file, base).map_err(ImageError::system("copy the stack and the instance region"))
    }

    /// A new state in the file over the base, which has the same memories. The file must be one of zeros and of the right size.
    pub(crate) fn copy_to(&self, file: OwnedFd, base: &Arc<Base>) -> Result<Self, Errno> {
        extents::copy_data(&self.file, &file, self.stack_offset()..STATE_FILE_STRIDE)?;
        Ok(Self {
            file,
            stack_size: self.stack_size,
            instance_size: self.instance_size,
            memories: places_over(&self.memories, &base.sizes),
            base: Some(Arc::clone(base)),
            copying: Mutex::default(),
            is_stored: false,
        })
    }

    /// The same state, by another descriptor of its file.
    pub(crate) fn reopened(&self, file: OwnedFd) -> Self {
        Self {
            file,
            memories: self.memories.clone(),
            base: self.base.clone(),
            copying: Mutex::default(),
            ..*self
        }
    }

    /// Copies the memories as they are to a file of their own.
    fn flatten(&self) -> Result<Base, ImageError> {
        let file = memfd::create_sized("gate-base", self.file_size())?;
        let error = ImageError::system("copy memories");
        self.copy_memories(file.as_fd()).map_err(&error)?;
        memfd::seal_contents(&file).map_err(&error)?;
        Ok(Base::new(file, self.memory_sizes().map_err(&error)?))
    }

    /// Copies the memories to the same places in a file of zeros.
    pub(crate) fn copy_memories(&self, to: BorrowedFd<'_>) -> Result<(), Errno> {
        for (index, place) in self.memories.iter().enumerate() {
            if let Some(base) = &self.base {
                extents::copy_data(base.file(), to, place.offset..place.offset + place.base_size)?;
            }
            self.copy_own_data(index, to)?;
        }
        Ok(())
    }
}

/// The same memories over a base.
pub(crate) fn places_over(places: &[MemoryPlace], base_sizes: &[u64]) -> Vec<MemoryPlace> {
    let mut first_chunk = 0;
    let place = |(place, &base_size): (&MemoryPlace, &u64)| {
        // What is shared cannot be taken back by a program that says that its memory is smaller.
        let place = MemoryPlace { min: place.min.max(base_size), base_size, first_chunk, ..*place };
        first_chunk += base_size / CHUNK_SIZE;
        place
    };
    places.iter().zip(base_sizes).map(place).collect()
}
