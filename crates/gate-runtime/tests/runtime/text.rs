//! A very small assembler.

use gate_compiler::{
    CompiledModule, Export, ExportKind, FuncType, FunctionMap, InitialState, Layout, Maps, MemoryInfo,
    ModuleInfo, Trampoline,
};
use gate_wire::PAGE_SIZE;
use gate_wire::context::Context;

const CONTEXT_SIZE: u32 = size_of::<Context>() as u32;

/// Machine code of an entry function, which keeps the context address in `rbx`.
#[derive(Clone)]
pub(crate) struct Text {
    code: Vec<u8>,
}

impl Text {
    /// Where the descriptor of the memory is, from the context address.
    pub(crate) const MEMORY_DESC: i32 = -(CONTEXT_SIZE as i32) - 16;

    pub(crate) fn new() -> Self {
        // push rbx; mov rbx, rdi
        Self { code: vec![0x53, 0x48, 0x89, 0xfb] }
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.code.extend_from_slice(bytes);
        self
    }

    /// `pop rbx; ret`
    pub(crate) fn ret(self) -> Self {
        self.bytes(&[0x5b, 0xc3])
    }

    /// `jmp` to itself
    pub(crate) fn spin(self) -> Self {
        self.bytes(&[0xeb, 0xfe])
    }

    /// `mov dword ptr [rbx + offset], value`
    pub(crate) fn store(self, offset: i32, value: u32) -> Self {
        self.bytes(&[0xc7, 0x83]).bytes(&offset.to_le_bytes()).bytes(&value.to_le_bytes())
    }

    /// `mov eax, number; mov edi, arg; ...; syscall`
    pub(crate) fn syscall(self, number: i64, [a, b, c]: [u32; 3]) -> Self {
        self.bytes(&[0xbf])
            .bytes(&a.to_le_bytes())
            .bytes(&[0xbe])
            .bytes(&b.to_le_bytes())
            .bytes(&[0xba])
            .bytes(&c.to_le_bytes())
            .bytes(&[0xb8])
            .bytes(&(number as u32).to_le_bytes())
            .bytes(&[0x0f, 0x05])
    }

    pub(crate) fn exit_group(self, code: u32) -> Self {
        self.syscall(libc::SYS_exit_group, [code, 0, 0])
    }

    /// Sends so many bytes of the memory's start through the call socket.
    pub(crate) fn send(self, size: u32) -> Self {
        // xor edi, edi; mov rsi, rbx; mov edx, size; mov eax, SYS_write; syscall
        self.bytes(&[0x31, 0xff, 0x48, 0x89, 0xde, 0xba])
            .bytes(&size.to_le_bytes())
            .bytes(&[0xb8])
            .bytes(&(libc::SYS_write as u32).to_le_bytes())
            .bytes(&[0x0f, 0x05])
    }

    /// A module which exports the code as `entry`, and has a memory of one page, at most two.
    pub(crate) fn module(mut self) -> CompiledModule {
        let size = self.code.len() as u32;
        self.code.resize(self.code.len().next_multiple_of(PAGE_SIZE as usize), 0xcc);
        CompiledModule {
            text: self.code,
            info: ModuleInfo {
                functions: [&FuncType::default()].into_iter().collect(),
                imported_functions: 0,
                imports: Vec::new(),
                exports: vec![Export { name: "entry".into(), kind: ExportKind::Function, index: 0 }],
                start: None,
                trampolines: vec![Trampoline { function: 0, text_offset: 0 }],
                memories: vec![MemoryInfo {
                    min_pages: 1,
                    max_pages: Some(2),
                    desc_distance: CONTEXT_SIZE + 16,
                }],
                tables: Vec::new(),
                globals: Vec::new(),
                layout: Layout {
                    instance_size: PAGE_SIZE as u32,
                    entry_distance: CONTEXT_SIZE + 32,
                    entry_size: 16,
                },
                initial: InitialState::default(),
            },
            maps: Maps {
                functions: vec![FunctionMap {
                    text_offset: 0,
                    text_size: size,
                    function: 0,
                    code_offset: 0,
                    frame_size: 0,
                    can_stop: false,
                    entry_check: false,
                    unchecked_instructions: 1,
                    name: Some("entry".into()),
                }],
                ..Maps::default()
            },
        }
    }
}
