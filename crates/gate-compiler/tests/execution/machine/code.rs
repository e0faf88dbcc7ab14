//! Compiled modules with everything with which they can be resumed, mapped for execution.

use gate_compiler::{
    CompiledBase, CompiledModule, ImportResolver, Options, ResumePoint, ResumeText, compile, compile_resume,
};
use gate_wire::trap::TrapId;
use std::collections::{BTreeSet, HashMap};

/// A compiled module.
pub(crate) struct Code {
    pub(crate) module: CompiledModule,
    pub(crate) resume: Option<ResumeText>,
    words: HashMap<ResumePoint, u64>,
    text: *const u8,
    size: usize,
}

impl Code {
    /// Compiles and maps a module.
    pub(crate) fn new(wasm: &[u8], options: &Options, imports: &dyn ImportResolver) -> Self {
        let module = compile(wasm, options, imports).unwrap_or_else(|error| panic!("{error}"));
        let (text, size) = map(&module.text);
        Self { module, resume: None, words: HashMap::new(), text, size }
    }

    /// Compiles resume bodies for all safepoints, too.
    pub(crate) fn resumable(wasm: &[u8], options: &Options, imports: &dyn ImportResolver) -> Self {
        let module = compile(wasm, options, imports).unwrap_or_else(|error| panic!("{error}"));
        let resume = resume_text(wasm, options, imports, &module);
        let (text, size) = map(&[&module.text[..], &resume.text].concat());
        let words = resume.entries.iter().map(|entry| (entry.point, entry.word)).collect();
        Self { module, resume: Some(resume), words, text, size }
    }

    /// Address of something in the text.
    pub(super) fn address(&self, text_offset: u32) -> *const u8 {
        assert!((text_offset as usize) < self.size);
        self.text.wrapping_add(text_offset as usize)
    }

    pub(super) fn word(&self, point: ResumePoint) -> u64 {
        self.words[&point]
    }

    pub(super) fn trampoline(&self, function: u32, resume: bool) -> u32 {
        let trampolines = match &self.resume {
            Some(text) if resume => &text.trampolines,
            _ => &self.module.info.trampolines,
        };
        trampolines.iter().find(|trampoline| trampoline.function == function).expect("an entry").text_offset
    }

    /// Offset in the text of something that may be there.
    pub(super) fn text_offset(&self, address: u64) -> Option<u32> {
        let offset = address.checked_sub(self.text as u64)?;
        (offset < self.size as u64).then_some(offset as u32)
    }

    /// What an instruction traps with.
    pub(super) fn trap(&self, address: u64) -> TrapId {
        // The other functions that can trap are rt's.
        let Some(offset) = self.text_offset(address) else { return TrapId::InternalError };
        let sites =
            self.module.maps.traps.iter().chain(self.resume.iter().flat_map(|resume| &resume.maps.traps));
        let site = sites.into_iter().find(|site| site.text_offset == offset);
        let site = site.unwrap_or_else(|| panic!("unexpected trap at text offset {offset:#x}"));
        TrapId::from_number(site.trap.into()).expect("a trap")
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: nobody executes it any more.
        unsafe { libc::munmap(self.text.cast_mut().cast(), self.size) };
    }
}

/// Text that resumes at any safepoint, whichever entry is the outermost.
pub(crate) fn resume_text(
    wasm: &[u8],
    options: &Options,
    imports: &dyn ImportResolver,
    module: &CompiledModule,
) -> ResumeText {
    let points: BTreeSet<_> = module
        .maps
        .safepoints
        .iter()
        .map(|safepoint| ResumePoint { function: safepoint.function, code_offset: safepoint.code_offset })
        .collect();
    let outermost = module.info.trampolines.iter().map(|trampoline| trampoline.function).collect();
    let base = CompiledBase { text: &module.text, info: &module.info, maps: &module.maps };
    compile_resume(wasm, options, imports, &base, &points, &outermost)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn map(bytes: &[u8]) -> (*const u8, usize) {
    let text = super::map(bytes.len(), libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: the mapping is that large, and nobody else has it.
    unsafe {
        text.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        assert_eq!(libc::mprotect(text.cast(), bytes.len(), libc::PROT_READ | libc::PROT_EXEC), 0);
    }
    (text, bytes.len())
}
