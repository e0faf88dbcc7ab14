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

/// Memories which nobody changes any more.
///
/// Its file is sealed, or nobody has it open for writing.
#[derive(Debug)]
pub(crate) struct Base {
    file: Arc<OwnedFd>,
    parts: Vec<BasePart>,
}

/// A memory in a base file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BasePart {
    /// Where it begins in the file.
    pub(crate) offset: u64,
    /// Size in bytes, a multiple of [`CHUNK_SIZE`].
    pub(crate) size: u64,
}

impl Base {
    /// A file which has memories of the given sizes in the places that they have in a state file.
    pub(crate) fn new(file: OwnedFd, sizes: Vec<u64>) -> Self {
        Self::with_parts(Arc::new(file), in_state_places(sizes))
    }

    /// A file which has memories somewhere.
    pub(crate) fn with_parts(file: Arc<OwnedFd>, parts: Vec<BasePart>) -> Self {
        debug_assert!(parts.iter().all(|part| part.size.is_multiple_of(CHUNK_SIZE)));
        Self { file, parts }
    }

    /// The same file, with memories of other sizes in the places that they have in a state file.
    pub(crate) fn with_sizes(&self, sizes: Vec<u64>) -> Self {
        Self::with_parts(Arc::clone(&self.file), in_state_places(sizes))
    }

    /// The memories, by index.
    pub(crate) fn parts(&self) -> &[BasePart] {
        &self.parts
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

    /// Takes the memories, which nobody has written to, from the base.
    pub(crate) fn put_over(&mut self, base: &Arc<Base>) {
        self.memories = places_over(&self.memories, base);
        self.base = Some(Arc::clone(base));
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
            memories: places_over(&self.memories, base),
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
                let range = place.base_offset..place.base_offset + place.base_size;
                extents::copy_data_to(base.file(), to, range, place.offset)?;
            }
            self.copy_own_data(index, to)?;
        }
        Ok(())
    }
}

/// The same memories over a base.
pub(crate) fn places_over(places: &[MemoryPlace], base: &Base) -> Vec<MemoryPlace> {
    let mut first_chunk = 0;
    let place = |(place, part): (&MemoryPlace, &BasePart)| {
        let (base_size, base_offset) = (part.size, part.offset);
        // What is shared cannot be taken back by a program that says that its memory is smaller.
        let min = place.min.max(base_size);
        let place = MemoryPlace { min, base_size, base_offset, first_chunk, ..*place };
        first_chunk += base_size / CHUNK_SIZE;
        place
    };
    places.iter().zip(&base.parts).map(place).collect()
}

fn in_state_places(sizes: Vec<u64>) -> Vec<BasePart> {
    let part = |(offset, size)| BasePart { offset, size };
    (STATE_FILE_STRIDE..).step_by(STATE_FILE_STRIDE as usize).zip(sizes).map(part).collect()
}
