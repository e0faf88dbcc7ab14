//! A very small assembler.

use gate_compiler::{
    CompiledModule, Export, ExportKind, FuncType, FunctionMap, InitialState, Layout, Maps, MemoryInfo, ModuleInfo,
    Trampoline, TrapSite,
};
use gate_wire::PAGE_SIZE;
use gate_wire::context::Context;

/// Machine code of an entry function, which gets the context address in `rdi`.
#[derive(Clone, Default)]
pub struct Text {
    code: Vec<u8>,
    traps: Vec<TrapSite>,
}

impl Text {
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.code.extend_from_slice(bytes);
        self
    }

    /// `ret`
    pub fn ret(self) -> Self {
        self.bytes(&[0xc3])
    }

    /// A module which exports the code as `entry`, and has a memory of one page.
    pub fn module(mut self) -> CompiledModule {
        let size = self.code.len() as u32;
        self.code.resize(self.code.len().next_multiple_of(PAGE_SIZE as usize), 0xcc);
        let below = size_of::<Context>() as u32;
        CompiledModule {
            text: self.code,
            info: ModuleInfo {
                functions: vec![FuncType::default()],
                imported_functions: 0,
                exports: vec![Export { name: "entry".into(), kind: ExportKind::Function, index: 0 }],
                start: None,
                trampolines: vec![Trampoline { function: 0, text_offset: 0 }],
                memories: vec![MemoryInfo { min_pages: 1, max_pages: Some(2), desc_distance: below + 16 }],
                tables: Vec::new(),
                globals: Vec::new(),
                layout: Layout { instance_size: PAGE_SIZE as u32, entry_distance: below + 32, entry_size: 16 },
                initial: InitialState::default(),
            },
            maps: Maps {
                functions: vec![FunctionMap {
                    text_offset: 0,
                    text_size: size,
                    function: 0,
                    code_offset: 0,
                    frame_size: 0,
                    name: Some("entry".into()),
                }],
                traps: self.traps,
                ..Maps::default()
            },
        }
    }
}
