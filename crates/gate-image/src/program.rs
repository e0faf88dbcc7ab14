//! Compiled programs.

use crate::error::ImageError;
use crate::memfd;
use crate::template::Template;
use gate_compiler::{CompiledModule, InitialTrap, Maps, ModuleInfo};
use gate_wire::PAGE_SIZE;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

/// A compiled module, ready to be mapped by any number of processes.
///
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Program {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    text: OwnedFd,
    text_size: u64,
    info: ModuleInfo,
    template: Template,
    initial_trap: Option<InitialTrap>,
    maps: OnceLock<Maps>,
    encoded_maps: Box<[u8]>,
}

impl Program {
    /// Puts the text into a sealed file in memory, and works out the initial state of instances.
    ///
    /// Fails if the module contradicts itself, or if the host cannot make the file.
    pub fn new(module: CompiledModule) -> Result<Self, ImageError> {
        let CompiledModule { text, info, maps } = module;
        Self::with_maps(&text, info, OnceLock::from(maps), Box::default())
    }

    /// Like [`Program::new`], with maps that are decoded when they are needed.
    pub(crate) fn with_encoded_maps(
        text: &[u8],
        info: ModuleInfo,
        maps: Box<[u8]>,
    ) -> Result<Self, ImageError> {
        Self::with_maps(text, info, OnceLock::new(), maps)
    }

    fn with_maps(
        text: &[u8],
        mut info: ModuleInfo,
        maps: OnceLock<Maps>,
        encoded_maps: Box<[u8]>,
    ) -> Result<Self, ImageError> {
        let text_size = text.len() as u64;
        if text_size == 0 || !text_size.is_multiple_of(PAGE_SIZE) {
            return Err(ImageError::image("size of the text"));
        }
        if info.trampolines.iter().any(|t| u64::from(t.text_offset) >= text_size) {
            return Err(ImageError::image("place of a trampoline"));
        }
        let template = Template::new(&info)?;
        // What is in the template need not be kept twice.
        let initial_trap = std::mem::take(&mut info.initial).trap;
        let text = memfd::create_executable("gate-text", text)?;
        let inner = Inner { text, text_size, info, template, initial_trap, maps, encoded_maps };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What is known about the module. Its initial state has become part of the program, and is empty here.
    pub fn info(&self) -> &ModuleInfo {
        &self.inner.info
    }

    /// Where in the text things are.
    ///
    /// Those of a program from a [`Cache`](crate::Cache) are decoded at the first call.
    pub fn maps(&self) -> Result<&Maps, ImageError> {
        if let Some(maps) = self.inner.maps.get() {
            return Ok(maps);
        }
        let maps = postcard::from_bytes(&self.inner.encoded_maps)
            .map_err(|_| ImageError::image("the program's maps cannot be decoded"))?;
        Ok(self.inner.maps.get_or_init(|| maps))
    }

    /// The sealed file which has the text.
    pub fn text(&self) -> BorrowedFd<'_> {
        self.inner.text.as_fd()
    }

    /// Size of the text in bytes, a multiple of the page size.
    pub fn text_size(&self) -> u64 {
        self.inner.text_size
    }

    pub(crate) fn template(&self) -> &Template {
        &self.inner.template
    }

    pub(crate) fn initial_trap(&self) -> Option<&InitialTrap> {
        self.inner.initial_trap.as_ref()
    }

    /// Text offset of the code through which a function is called from outside.
    pub(crate) fn trampoline(&self, function: u32) -> Option<u64> {
        let trampolines = &self.inner.info.trampolines;
        let index = trampolines.binary_search_by_key(&function, |t| t.function).ok()?;
        Some(trampolines[index].text_offset.into())
    }
}
