//! Compiled programs.

use crate::cache::LoadError;
use crate::error::ImageError;
use crate::frames::Frames;
use crate::memfd;
use crate::template::Template;
use gate_compiler::{
    CompiledBase, CompiledModule, InitialTrap, Maps, ModuleInfo, ResumeEntry, ResumePoint, ResumeText,
    Trampoline,
};
use gate_wire::PAGE_SIZE;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

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
    module: Arc<Module>,
    maps: OnceLock<Maps>,
    encoded_maps: Box<[u8]>,
    extension: Option<Extension>,
    /// Programs that are this one with additional text.
    extended: Mutex<Vec<Weak<Inner>>>,
}

/// What does not change when text is added.
#[derive(Debug)]
struct Module {
    info: ModuleInfo,
    template: Template,
    initial_trap: Option<InitialTrap>,
    segment_lengths: Vec<u32>,
}

/// Text behind a module's own, with which stopped programs go on.
#[derive(Debug)]
struct Extension {
    base: Program,
    entries: Vec<ResumeEntry>,
    trampolines: Vec<Trampoline>,
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
        let segment_lengths = segment_lengths(&info);
        // What is in the template need not be kept twice.
        let initial_trap = std::mem::take(&mut info.initial).trap;
        let text = memfd::create_executable("gate-text", text)?;
        let module = Arc::new(Module { info, template, initial_trap, segment_lengths });
        let inner = Inner {
            text,
            text_size,
            module,
            maps,
            encoded_maps,
            extension: None,
            extended: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The program with additional text, with which it can go on where it stopped. The additional text of this one, if it has
    /// any, is left out.
    ///
    /// Fails if the text contradicts itself, or if the host cannot make a file for it.
    pub fn extend(&self, resume: ResumeText) -> Result<Self, ImageError> {
        let base = self.base();
        let ResumeText { text, entries, trampolines, maps } = resume;
        let base_size = base.text_size();
        let text_size = base_size + text.len() as u64;
        let outside = |t: &Trampoline| !(base_size..text_size).contains(&u64::from(t.text_offset));
        if !text_size.is_multiple_of(PAGE_SIZE) || trampolines.iter().any(outside) {
            return Err(ImageError::image("text for going on"));
        }
        let mut all_maps = base.maps()?.clone();
        all_maps.functions.extend(maps.functions);
        all_maps.traps.extend(maps.traps);
        all_maps.addresses.extend(maps.addresses);
        let mut all_text = base.read_text()?;
        all_text.extend_from_slice(&text);
        let inner = Inner {
            text: memfd::create_executable("gate-text", &all_text)?,
            text_size,
            module: Arc::clone(&self.inner.module),
            maps: OnceLock::from(all_maps),
            encoded_maps: Box::default(),
            extension: Some(Extension { base: base.clone(), entries, trampolines }),
            extended: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The program with the text that is needed to go on with the frames: this one if it has that, or one that was made before
    /// and is still in use. Otherwise `compile` makes the text for the points, and for the outermost functions.
    pub(crate) fn with_resume_text(
        &self,
        frames: &Frames,
        compile: impl FnOnce(
            &CompiledBase<'_>,
            &BTreeSet<ResumePoint>,
            &BTreeSet<u32>,
        ) -> Result<ResumeText, LoadError>,
    ) -> Result<Self, LoadError> {
        let (points, outermost) = (frames.resume_points()?, frames.called());
        let base = self.base();
        let mut known = base.inner.extended.lock().unwrap_or_else(PoisonError::into_inner);
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
        let text = base.read_text()?;
        let compiled = CompiledBase { text: &text, info: base.info(), maps: base.maps()? };
        let outermost = BTreeSet::from([outermost]);
        let program = base.extend(compile(&compiled, &points, &outermost)?)?;
        known.push(Arc::downgrade(&program.inner));
        Ok(program)
    }

    /// The program without additional text.
    pub fn base(&self) -> &Self {
        self.inner.extension.as_ref().map_or(self, |extension| &extension.base)
    }

    /// Copies the text.
    pub fn read_text(&self) -> Result<Vec<u8>, ImageError> {
        let mut text = vec![0; self.inner.text_size as usize];
        memfd::read_exact(&self.inner.text, &mut text, 0).map_err(ImageError::system("read text"))?;
        Ok(text)
    }

    /// What is known about the module. Its initial state has become part of the program, and is empty here.
    pub fn info(&self) -> &ModuleInfo {
        &self.inner.module.info
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
