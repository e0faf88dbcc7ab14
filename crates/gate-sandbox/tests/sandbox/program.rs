//! Programs made of machine code, and how they end.

use crate::container::{Container, memfd, readable, receive, send, socket_pair};
use gate_sandbox::RT;
use gate_wire::context::{Context, ExitKind, MemoryDesc, memory_desc_distance};
use gate_wire::control::Op;
use gate_wire::load::{
    FLAG_COPY_ON_WRITE, FLAG_EXPORT, FLAG_THAW, LoadFailure, LoadRequest, MemoryMap, NO_ENTRY,
    STATE_FILE_STRIDE,
};
use gate_wire::{PAGE_SIZE, context_offset};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

pub(crate) const STACK_SIZE: u64 = 128 << 10;
pub(crate) const INSTANCE_SIZE: u64 = 8 << 10;
pub(crate) const MEMORY_SIZE: u64 = 64 << 10;
pub(crate) const MEMORY_MAX: u64 = 4 << 20;

/// Where in the state the context ends and memory 0 begins.
pub(crate) const CONTEXT_OFFSET: u64 = STATE_FILE_STRIDE;

/// A program's text and state, to be run once or several times.
pub(crate) struct Program {
    text: OwnedFd,
    pub(crate) state: std::fs::File,
    pub(crate) frames: Option<std::fs::File>,
    pub(crate) extension: Option<std::fs::File>,
    pub(crate) base: Option<std::fs::File>,
    pub(crate) request: LoadRequest,
    pub(crate) memories: Vec<MemoryMap>,
}

impl Program {
    /// A program whose entry is at the beginning of the code.
    pub(crate) fn new(code: &[u8]) -> Self {
        let mut text = code.to_vec();
        text.resize(code.len().next_multiple_of(PAGE_SIZE as usize), 0xcc);
        let state = std::fs::File::from(memfd(c"state", &[]));
        state.set_len(CONTEXT_OFFSET + MEMORY_MAX).unwrap();
        let request = LoadRequest {
            rt_addr: random_addr(0),
            text_addr: random_addr(1),
            text_size: text.len() as u64,
            state_addr: random_addr(2),
            stack_size: STACK_SIZE,
            instance_size: INSTANCE_SIZE,
            state_offset: CONTEXT_OFFSET - STACK_SIZE - INSTANCE_SIZE,
            start: NO_ENTRY,
            entry: 0,
            time_resolution: 1,
            ..LoadRequest::default()
        };
        let memories = vec![MemoryMap {
            size: MEMORY_SIZE,
            max: MEMORY_MAX,
            offset: CONTEXT_OFFSET,
            base_size: 0,
            base_offset: 0,
        }];
        let program = Self {
            text: memfd(c"text", &text),
            state,
            extension: None,
            frames: None,
            base: None,
            request,
            memories,
        };
        let desc = MemoryDesc { size: MEMORY_SIZE, max: MEMORY_MAX };
        program.write_below(
            memory_desc_distance(0),
            &[desc.size.to_le_bytes(), desc.max.to_le_bytes()].concat(),
        );
        program
    }

    /// Starts the program, and gives the host's end of its call socket.
    pub(crate) fn start(&self, container: &Container, id: u32) -> OwnedFd {
        let (socket, peer) = socket_pair();
        container.request(Op::Create, id, &[&peer]);
        self.load(&socket);
        socket
    }

    /// Sends the load request to a prepared process.
    pub(crate) fn load(&self, socket: &OwnedFd) {
        let mut buf = [0; LoadRequest::MAX_SIZE];
        let size = self.request.encode(&self.memories, &mut buf).unwrap();
        let others = [self.extension.as_ref(), self.frames.as_ref(), self.base.as_ref()];
        let files = std::iter::once(&self.state).chain(others.into_iter().flatten());
        let files: Vec<_> = files.map(|file| OwnedFd::from(file.try_clone().unwrap())).collect();
        let fds: Vec<_> = std::iter::once(&self.text).chain(&files).collect();
        send(socket, &buf[..size], &fds).unwrap();
    }

    /// Runs the program to its end. Gives the process's status.
    pub(crate) fn run(&self, container: &mut Container) -> u32 {
        let _socket = self.start(container, 0);
        container.death(0)
    }

    /// Runs a program that is expected to return.
    pub(crate) fn run_to_return(&self, container: &mut Container) {
        let status = self.run(container);
        assert_eq!((status, self.exit_kind()), (0, ExitKind::Returned));
    }

    /// Runs a program whose process cannot start or go on. Gives why.
    pub(crate) fn run_to_failure(&self, container: &mut Container) -> LoadFailure {
        let status = self.run(container);
        LoadFailure::from_status(status as i32 >> 8)
            .unwrap_or_else(|| panic!("status {status}, {:?}", self.exit_kind()))
    }

    /// Gives it a frames file of this size.
    pub(crate) fn set_frames(&mut self, content: &[u8], size: u64) {
        let frames = std::fs::File::from(memfd(c"frames", content));
        frames.set_len(size).unwrap();
        self.frames = Some(frames);
        self.request.frames_addr = random_addr(1);
        self.request.frames_size = size;
    }

    /// Makes the next start write down the frames of the frozen program.
    pub(crate) fn export(&mut self, size: u64) {
        self.set_frames(&[], size);
        self.request.flags = FLAG_THAW | FLAG_EXPORT;
        self.request.rt_addr = random_addr(3);
    }

    /// Makes the next start go on where the program was frozen.
    pub(crate) fn thaw(&mut self) {
        self.frames = None;
        self.request.frames_size = 0;
        self.request.flags = FLAG_THAW | (self.request.flags & FLAG_COPY_ON_WRITE);
        self.request.rt_addr = random_addr(3);
    }

    pub(crate) fn exit_kind(&self) -> ExitKind {
        ExitKind::from_number(self.context_u32(context_offset!(exit.kind))).unwrap()
    }

    /// Exit code, trap number or signal.
    pub(crate) fn exit_value(&self) -> u32 {
        self.context_u32(context_offset!(exit.value))
    }

    /// A field of the context, given by its offset.
    pub(crate) fn context_u32(&self, offset: i32) -> u32 {
        u32::from_le_bytes(self.read(CONTEXT_OFFSET.wrapping_add_signed(i64::from(offset))))
    }

    /// A field of the context, given by its offset.
    pub(crate) fn context_u64(&self, offset: i32) -> u64 {
        u64::from_le_bytes(self.read(CONTEXT_OFFSET.wrapping_add_signed(i64::from(offset))))
    }

    /// Bytes of memory 0.
    pub(crate) fn memory<const N: usize>(&self, offset: u64) -> [u8; N] {
        self.read(CONTEXT_OFFSET + offset)
    }

    /// A number in memory 0.
    pub(crate) fn memory_u64(&self, offset: u64) -> u64 {
        u64::from_le_bytes(self.memory(offset))
    }

    /// Sets bytes of memory 0.
    pub(crate) fn write_memory(&self, offset: u64, bytes: &[u8]) {
        self.state.write_all_at(bytes, CONTEXT_OFFSET + offset).unwrap();
    }

    /// Sets bytes in the instance region.
    pub(crate) fn write_below(&self, distance: u64, bytes: &[u8]) {
        assert!((size_of::<Context>() as u64..=INSTANCE_SIZE).contains(&distance));
        self.state.write_all_at(bytes, CONTEXT_OFFSET - distance).unwrap();
    }

    /// Sets a field of the context, given by its offset.
    pub(crate) fn write_context(&self, offset: i32, bytes: &[u8]) {
        self.state.write_all_at(bytes, CONTEXT_OFFSET.wrapping_add_signed(i64::from(offset))).unwrap();
    }

    fn read<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut buf = [0; N];
        self.state.read_exact_at(&mut buf, offset).unwrap();
        buf
    }
}

/// Waits for a message of the program's, of which so many bytes count.
pub(crate) fn message<const N: usize>(socket: &OwnedFd) -> [u8; N] {
    let mut buf = [0; N];
    assert!(readable(socket, Duration::from_secs(20)), "no message from the program");
    assert_eq!(receive(socket, &mut buf).unwrap(), N);
    buf
}

/// Size of rt with what is behind it.
pub(crate) const RT_SPAN: u64 = RT.len() as u64 + gate_wire::load::RT_DATA_SIZE;

/// A random address in a quarter of the range, so that several don't collide.
pub(crate) fn random_addr(quarter: u64) -> u64 {
    let range = gate_wire::load::ADDRESS_RANGE;
    let size = (range.end - range.start) / 4;
    let span = size - (1 << 40);
    let random = RandomState::new().build_hasher().finish();
    range.start + quarter * size + (1 << 30) + random % span / PAGE_SIZE * PAGE_SIZE
}

/// Defines functions that give pieces of position-independent machine code.
#[macro_export]
macro_rules! machine_code {
    ($($name:ident: $($line:literal),* $(, $key:ident = $value:expr)*;)*) => {
        $(
            core::arch::global_asm!(
                ".pushsection .rodata",
                ".balign 16",
                concat!("gate_test_", stringify!($name), ":"),
                $($line,)*
                concat!("gate_test_", stringify!($name), "_end:"),
                ".popsection",
                $($key = const $value,)*
            );
            fn $name() -> &'static [u8] {
                let (start, end): (*const u8, *const u8);
                // SAFETY: the two labels are in this order in the same section.
                unsafe {
                    core::arch::asm!(
                        concat!("lea {}, [rip + gate_test_", stringify!($name), "]"),
                        concat!("lea {}, [rip + gate_test_", stringify!($name), "_end]"),
                        out(reg) start, out(reg) end,
                    );
                    std::slice::from_raw_parts(start, end.offset_from_unsigned(start))
                }
            }
        )*
    };
}
