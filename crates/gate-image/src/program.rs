//! Compiled programs.

use crate::cache::{LoadError, StoredMaps};
use crate::error::ImageError;
use crate::frames::Frames;
use crate::memfd;
use crate::template::Template;
use crate::text;
use gate_compiler::{
    CompiledBase, CompiledModule, ImportResolver, InitialTrap, Maps, ModuleInfo, Options, ResumeEntry,
    ResumePoint, ResumeText, Trampoline,
};
use gate_wire::PAGE_SIZE;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// A compiled module, ready to be mapped by any number of processes.
///
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Program {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    module: Arc<Module>,
    extension: Option<Extension>,
    /// Programs that are this one with additional text.
    extended: Mutex<Vec<Weak<Inner>>>,
}

/// What does not change when text is added.
#[derive(Debug)]
struct Module {
    text: Text,
    info: ModuleInfo,
    template: Template,
    initial_trap: Option<InitialTrap>,
    segment_lengths: Vec<u32>,
    maps: LazyMaps,
}

/// Text behind a module's own, with which stopped programs go on.
#[derive(Debug)]
struct Extension {
    base: Program,
    text: Text,
    entries: Vec<ResumeEntry>,
    trampolines: Vec<Trampoline>,
    own_maps: Maps,
    /// Those of the module, and its own.
    maps: OnceLock<Maps>,
}

/// A file which begins with text.
#[derive(Debug)]
pub(crate) struct Text {
    file: Arc<OwnedFd>,
    size: u64,
}

impl Text {
    /// Puts the text into a sealed file in memory.
    pub(crate) fn new(text: &[u8]) -> Result<Self, ImageError> {
        let file = Arc::new(memfd::create_executable("gate-text", text)?);
        Ok(Self { file, size: text.len() as u64 })
    }

    /// Text of the given size in a file which can be mapped executable, and which nobody changes.
    pub(crate) fn in_file(file: Arc<OwnedFd>, size: u64) -> Self {
        Self { file, size }
    }
}

/// Maps, or where they are.
#[derive(Debug)]
pub(crate) struct LazyMaps {
    maps: OnceLock<Maps>,
    stored: Option<StoredMaps>,
}

impl LazyMaps {
    /// Maps that are decoded when they are needed.
    pub(crate) fn stored(stored: StoredMaps) -> Self {
        Self { maps: OnceLock::new(), stored: Some(stored) }
    }

    fn get(&self) -> Result<&Maps, ImageError> {
        if let (None, Some(stored)) = (self.maps.get(), &self.stored) {
            let maps = stored.read().map_err(|_| ImageError::image("the program's maps"))?;
            let _ = self.maps.set(maps);
        }
        self.maps.get().ok_or(ImageError::image("the program has no maps"))
    }
}

impl From<Maps> for LazyMaps {
    fn from(maps: Maps) -> Self {
        Self { maps: OnceLock::from(maps), stored: None }
    }
}

impl Program {
    /// Puts the text into a sealed file in memory, and works out the initial state of instances.
    ///
    /// Fails if the module contradicts itself, or if the host cannot make the file.
    pub fn new(module: CompiledModule) -> Result<Self, ImageError> {
        let CompiledModule { text, info, maps } = module;
        let template = Template::new(&info)?;
        Self::with_parts(Text::new(&text)?, info, template, maps.into())
    }

    /// The same of parts which may be in files.
    pub(crate) fn with_parts(
        text: Text,
        mut info: ModuleInfo,
        template: Template,
        maps: LazyMaps,
    ) -> Result<Self, ImageError> {
        if text.size == 0 || !text.size.is_multiple_of(PAGE_SIZE) {
            return Err(ImageError::image("size of the text"));
        }
        if info.trampolines.iter().any(|t| u64::from(t.text_offset) >= text.size) {
            return Err(ImageError::image("place of a trampoline"));
        }
        let segment_lengths = segment_lengths(&info);
        // What is in the template need not be kept twice.
        let initial_trap = std::mem::take(&mut info.initial).trap;
        let module = Arc::new(Module { text, info, template, initial_trap, segment_lengths, maps });
        Ok(Self { inner: Arc::new(Inner { module, extension: None, extended: Mutex::default() }) })
    }

    /// The program with additional text, with which it can go on where it stopped. The additional text of this one, if it has
    /// any, is left out.
    ///
    /// Fails if the text contradicts itself, or if the host cannot make a file for it.
    pub fn extend(&self, resume: ResumeText) -> Result<Self, ImageError> {
        let ResumeText { text, entries, trampolines, maps } = resume;
        self.extend_with(Text::new(&text)?, entries, trampolines, maps)
    }

    pub(crate) fn extend_with(
        &self,
        text: Text,
        entries: Vec<ResumeEntry>,
        trampolines: Vec<Trampoline>,
        own_maps: Maps,
    ) -> Result<Self, ImageError> {
        let base = self.base();
        let base_size = base.text_size();
        let text_size = base_size + text.size;
        let outside = |t: &Trampoline| !(base_size..text_size).contains(&u64::from(t.text_offset));
        if text.size == 0 || !text.size.is_multiple_of(PAGE_SIZE) || trampolines.iter().any(outside) {
            return Err(ImageError::image("text for going on"));
        }
        let maps = OnceLock::new();
        let extension = Extension { base: base.clone(), text, entries, trampolines, own_maps, maps };
        let module = Arc::clone(&self.inner.module);
        let inner = Inner { module, extension: Some(extension), extended: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The program with the text that is needed to go on with the frames: this one if it has that, or one that was made before
    /// and is still in use. Otherwise `extend` makes it, with text for the points and for the outermost functions.
    pub(crate) fn with_resume_text(
        &self,
        frames: &Frames,
        extend: impl FnOnce(&Self, &BTreeSet<ResumePoint>, &BTreeSet<u32>) -> Result<Self, LoadError>,
    ) -> Result<Self, LoadError> {
        let (points, outermost) = (frames.resume_points()?, frames.outermost()?);
        let base = self.base();
        let mut known = base.extended();
        known.retain(|program| program.strong_count() > 0);
        let fitting = [Arc::clone(&self.inner)].into_iter().chain(known.iter().filter_map(Weak::upgrade));
        for inner in fitting {
            let program = Self { inner };
            if program.resume_trampoline(outermost).is_some()
                && points.iter().all(|&point| program.resume_word(point).is_some())
            {
                return Ok(program);
            }
        }
        let program = extend(base, &points, &BTreeSet::from([outermost]))?;
        known.push(Arc::downgrade(&program.inner));
        Ok(program)
    }

    fn extended(&self) -> MutexGuard<'_, Vec<Weak<Inner>>> {
        self.inner.extended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compiles text with which the program, which has no additional text, goes on at the points.
    pub(crate) fn compile_resume(
        &self,
        wasm: &[u8],
        options: &Options,
        imports: &dyn ImportResolver,
        points: &BTreeSet<ResumePoint>,
        outermost: &BTreeSet<u32>,
    ) -> Result<ResumeText, LoadError> {
        let text = self.read_text()?;
        let base = CompiledBase { text: &text, info: self.info(), maps: self.maps()? };
        Ok(gate_compiler::compile_resume(wasm, options, imports, &base, points, outermost)?)
    }

    /// The program without additional text.
    pub fn base(&self) -> &Self {
        self.inner.extension.as_ref().map_or(self, |extension| &extension.base)
    }

    /// Copies the text, with what was added.
    pub fn read_text(&self) -> Result<Vec<u8>, ImageError> {
        let mut text = vec![0; self.text_size() as usize];
        let (own, added) = text.split_at_mut(self.inner.module.text.size as usize);
        let error = ImageError::system("read text");
        memfd::read_exact(self.text(), own, 0).map_err(&error)?;
        if let Some(extension) = self.extension_text() {
            memfd::read_exact(extension, added, 0).map_err(&error)?;
        }
        Ok(text)
    }

    /// What is known about the module. Its initial state has become part of the program, and is empty here.
    pub fn info(&self) -> &ModuleInfo {
        &self.inner.module.info
    }

    /// Where in the text things are.
    ///
    /// Those of a program from a [`Cache`](crate::Cache) are read at the first call.
    pub fn maps(&self) -> Result<&Maps, ImageError> {
        let Some(extension) = &self.inner.extension else { return self.inner.module.maps.get() };
        if let Some(maps) = extension.maps.get() {
            return Ok(maps);
        }
        let mut maps = self.inner.module.maps.get()?.clone();
        maps.functions.extend_from_slice(&extension.own_maps.functions);
        maps.traps.extend_from_slice(&extension.own_maps.traps);
        maps.addresses.extend_from_slice(&extension.own_maps.addresses);
        Ok(extension.maps.get_or_init(|| maps))
    }

    /// What a person would call a function that the module defines: its name on one line, or else its index.
    pub fn function_name(&self, function: u32) -> Result<String, ImageError> {
        let index = function.checked_sub(self.info().imported_functions);
        let maps = self.base().maps()?;
        let map = index.and_then(|index| maps.functions.get(index as usize));
        Ok(match map.and_then(|map| map.name.as_deref()) {
            Some(name) => text::function_name(name),
            None => format!("function {function}"),
        })
    }

    /// The file which begins with the module's text. Nobody changes it.
    pub fn text(&self) -> BorrowedFd<'_> {
        self.inner.module.text.file.as_fd()
    }

    /// The file which begins with the text that was added, if there is some.
    pub fn extension_text(&self) -> Option<BorrowedFd<'_>> {
        self.inner.extension.as_ref().map(|extension| extension.text.file.as_fd())
    }

    /// Size of all text in bytes, a multiple of the page size.
    pub fn text_size(&self) -> u64 {
        self.inner.module.text.size + self.extension_size()
    }

    /// Size in bytes of the text that was added, a multiple of the page size.
    pub fn extension_size(&self) -> u64 {
        self.inner.extension.as_ref().map_or(0, |extension| extension.text.size)
    }

    /// Whether this is a clone of the other one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub(crate) fn template(&self) -> &Template {
        &self.inner.module.template
    }

    pub(crate) fn initial_trap(&self) -> Option<&InitialTrap> {
        self.inner.module.initial_trap.as_ref()
    }

    /// Text offset of the code through which a function is called from outside.
    pub(crate) fn trampoline(&self, function: u32) -> Option<u64> {
        find_trampoline(&self.inner.module.info.trampolines, function)
    }

    /// Text offset of the code with which a function goes on as the outermost one.
    pub(crate) fn resume_trampoline(&self, function: u32) -> Option<u64> {
        find_trampoline(&self.inner.extension.as_ref()?.trampolines, function)
    }

    /// What identifies the code which goes on at a safepoint.
    pub(crate) fn resume_word(&self, point: ResumePoint) -> Option<u64> {
        let entries = &self.inner.extension.as_ref()?.entries;
        let index = entries.binary_search_by_key(&point, |entry| entry.point).ok()?;
        Some(entries[index].word)
    }

    /// Distances below the context address of the current lengths (`u32`) of passive segments: those of data, and then those of
    /// elements.
    pub(crate) fn segment_lengths(&self) -> &[u32] {
        &self.inner.module.segment_lengths
    }
}

fn find_trampoline(trampolines: &[Trampoline], function: u32) -> Option<u64> {
    let index = trampolines.binary_search_by_key(&function, |t| t.function).ok()?;
    Some(trampolines[index].text_offset.into())
}

/// What of the initial state of the instance region is neither a global nor a table.
fn segment_lengths(info: &ModuleInfo) -> Vec<u32> {
    let in_table = |distance: u32| {
        info.tables.iter().any(|t| {
            let lowest = u64::from(t.distance).saturating_sub(4 * u64::from(t.max));
            lowest < distance.into() && distance <= t.distance
        })
    };
    let items = info.initial.instance.iter();
    // A global takes more.
    items.filter(|item| item.bytes.len() == 4 && !in_table(item.distance)).map(|item| item.distance).collect()
}
