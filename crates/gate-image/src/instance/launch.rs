//! What a process is given to run.

use super::stopped::{Export, Stopped};
use super::{Activity, Exit, Instance, Mutation, Phase, call};
use crate::error::{ImageError, InstanceError, ProgramError};
use crate::fork::Base;
use crate::memfd;
use crate::placement::{AddressSpace, Placement};
use crate::program::Program;
use gate_wire::context::Context;
use gate_wire::cow::CHUNK_SIZE;
use gate_wire::frames::FRAMES_GUARD;
use gate_wire::load::{FLAG_COPY_ON_WRITE, FLAG_EXPORT, FLAG_THAW, LoadRequest, MemoryMap, NO_ENTRY};
use gate_wire::samples::{SAMPLES_OFFSET, SAMPLES_SIZE};
use gate_wire::{MEMORY_RESERVATION, PAGE_SIZE};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// What a process is to do with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Run it: call its functions, or go on where it was suspended.
    Run,
    /// Write down its frames; its state stays as it is. It must be frozen.
    Export {
        /// Greatest size of all frames in bytes. Only what is written takes space.
        max_size: u64,
    },
}

impl Purpose {
    /// An export with space for more frames than usual stacks can hold.
    pub const EXPORT: Self = Self::Export { max_size: 256 << 20 };
}

/// What a process is given to run: the load request, all but for clocks, and the files that come with it.
#[derive(Debug)]
pub struct Launch {
    /// The request. [`LoadRequest::monotonic_origin`] and [`LoadRequest::time_resolution`] are still to be set.
    pub request: LoadRequest,
    /// The linear memories, which belong to the request.
    pub memories: Vec<MemoryMap>,
    /// The state, to be kept until the process is dead.
    pub mutation: Mutation,
    program: Program,
    frames: Option<Arc<OwnedFd>>,
    base: Option<Arc<Base>>,
}

impl Launch {
    /// The files that go with the request, in the order in which the loader expects them.
    pub fn files(&self) -> Vec<BorrowedFd<'_>> {
        let mut files = vec![self.program.text(), self.mutation.file()];
        files.extend(self.program.extension_text());
        files.extend(self.frames.as_deref().map(OwnedFd::as_fd));
        files.extend(self.base.as_deref().map(Base::file));
        files
    }
}

/// What rt is to do first.
#[derive(Clone, Copy, Default)]
struct Begin {
    flags: u32,
    start: Option<u64>,
    entry: Option<u64>,
}

impl Instance {
    /// Hands the state over to a process, which changes it until it is dead or the [`Mutation`] is dropped.
    ///
    /// `rt_span` is the size of rt with its data, in bytes. Running fails if the last run has not ended, or ended otherwise than
    /// by returning, by a trap or in a suspension, and if there is no function to run. Exporting fails unless the
    /// program is frozen.
    pub fn launch(&mut self, rt_span: u64, purpose: Purpose) -> Result<Launch, InstanceError> {
        self.check_idle()?;
        match purpose {
            Purpose::Run if self.state.is_committed() => Err(ProgramError::Stored.into()),
            Purpose::Run => self.launch_run(rt_span),
            Purpose::Export { max_size } => self.launch_export(rt_span, max_size),
        }
    }

    fn launch_run(&mut self, rt_span: u64) -> Result<Launch, InstanceError> {
        let memories = self.memory_maps()?;
        let mut space = AddressSpace::default();
        let mut frames = None;
        let (begin, placement, activity) = match self.phase {
            Phase::Run { placement, activity } if self.is_frozen() => {
                let placement = self.take_again(&mut space, placement, &memories)?;
                (Begin { flags: FLAG_THAW, ..Default::default() }, placement, activity)
            }
            Phase::Suspended { activity } => {
                let stopped = self.lease.stopped().clone().ok_or(ProgramError::NotFrozen)?;
                let begin = self.continues(&stopped, activity)?;
                let (file, size) = stopped.frames.write_resume(&self.program)?;
                frames = Some(FramesFile { file: Arc::new(file), size, guard: 0 });
                let call = call::read(&self.state)?;
                self.reset_context()?;
                call::write(&self.state, call.as_ref())?;
                (begin, self.place(&mut space, &memories)?, activity)
            }
            Phase::Fresh => {
                let activity = Activity { start: self.program.info().start.is_some(), entry: self.entry };
                (self.calls(activity)?, self.place(&mut space, &memories)?, activity)
            }
            _ => {
                self.check_restartable()?;
                let activity = Activity { start: false, entry: self.entry };
                let begin = self.calls(activity)?;
                // The last run's host call, or its suspension, is none of the next one's.
                self.reset_context()?;
                (begin, self.place(&mut space, &memories)?, activity)
            }
        };
        let mut launch =
            self.launch_with(&mut space, rt_span, begin, (placement, activity), memories, frames)?;
        if let Some(interval) = self.sample_interval {
            // What an earlier run has left is no part of this one.
            self.state
                .write(SAMPLES_OFFSET, &0u64.to_le_bytes())
                .map_err(ImageError::system("prepare the space for samples"))?;
            launch.request.samples_addr = space.place(SAMPLES_SIZE).ok_or(ImageError::AddressSpace)?;
            launch.request.sample_interval = interval.as_nanos().clamp(1, 1_000_000_000) as u64;
        }
        self.entry = None;
        self.trace = None;
        *self.lease.stopped() = None;
        self.phase = Phase::Run { placement, activity };
        Ok(launch)
    }

    fn launch_export(&mut self, rt_span: u64, max_size: u64) -> Result<Launch, InstanceError> {
        let Phase::Run { placement, activity } = self.phase else {
            return Err(ProgramError::NotFrozen.into());
        };
        if !self.is_frozen() {
            return Err(ProgramError::NotFrozen.into());
        }
        let mut memories = self.memory_maps()?;
        for memory in &mut memories {
            // They are not mapped.
            memory.base_size = 0;
        }
        let mut space = AddressSpace::default();
        let placement = self.take_again(&mut space, placement, &memories)?;
        let size = max_size.max(PAGE_SIZE).next_multiple_of(PAGE_SIZE);
        let file = Arc::new(memfd::create_sized("gate-frames", size)?);
        let frames = FramesFile { file: Arc::clone(&file), size, guard: FRAMES_GUARD };
        let begin = Begin { flags: FLAG_THAW | FLAG_EXPORT, ..Default::default() };
        let mut launch =
            self.launch_with(&mut space, rt_span, begin, (placement, activity), memories, Some(frames))?;
        launch.mutation.export = Some(Export { file, size, activity });
        Ok(launch)
    }

    /// Trampolines of what is to be called.
    fn calls(&self, activity: Activity) -> Result<Begin, InstanceError> {
        let trampoline =
            |function| self.program.trampoline(function).ok_or(ProgramError::NotCallable { function });
        let start = self.program.info().start.filter(|_| activity.start).map(trampoline).transpose()?;
        let entry = activity.entry.map(trampoline).transpose()?;
        match (start, entry) {
            (None, None) => Err(ProgramError::NoFunction.into()),
            _ => Ok(Begin { flags: 0, start, entry }),
        }
    }

    /// Trampolines of what goes on by its frames.
    fn continues(&self, stopped: &Stopped, activity: Activity) -> Result<Begin, InstanceError> {
        let outermost = stopped.frames.outermost()?;
        let resume = self
            .program
            .resume_trampoline(outermost)
            .ok_or(ImageError::image("the program lacks text for going on"))?;
        Ok(match activity.start {
            true => {
                let entry =
                    self.calls(Activity { start: false, ..activity }).ok().and_then(|begin| begin.entry);
                Begin { flags: 0, start: Some(resume), entry }
            }
            false => Begin { flags: 0, start: None, entry: Some(resume) },
        })
    }

    fn reset_context(&self) -> Result<(), ImageError> {
        let zeros = [0; size_of::<Context>()];
        self.state
            .write(self.state.below_context(zeros.len() as u64), &zeros)
            .map_err(ImageError::system("reset the instance context"))
    }

    /// Chooses new places for text and state.
    fn place(&self, space: &mut AddressSpace, memories: &[MemoryMap]) -> Result<Placement, ImageError> {
        let state_addr = space.place(self.state_span(memories)).map(|addr| addr + PAGE_SIZE);
        let text_addr = space.place(self.program.text_size());
        match (text_addr, state_addr) {
            (Some(text_addr), Some(state_addr)) => Ok(Placement { text_addr, state_addr }),
            _ => Err(ImageError::AddressSpace),
        }
    }

    /// Takes the same places for text and state as before.
    fn take_again(
        &self,
        space: &mut AddressSpace,
        placement: Placement,
        memories: &[MemoryMap],
    ) -> Result<Placement, ImageError> {
        let state = space.take(placement.state_addr.saturating_sub(PAGE_SIZE), self.state_span(memories));
        let text = space.take(placement.text_addr, self.program.text_size());
        state.and(text).map(|_| placement).ok_or(ImageError::AddressSpace)
    }

    /// Size of the state's place in bytes, with the inaccessible page below the stack.
    fn state_span(&self, memories: &[MemoryMap]) -> u64 {
        PAGE_SIZE
            + self.state.stack_size
            + self.state.instance_size
            + MEMORY_RESERVATION * memories.len() as u64
    }

    fn launch_with(
        &self,
        space: &mut AddressSpace,
        rt_span: u64,
        begin: Begin,
        (placement, activity): (Placement, Activity),
        memories: Vec<MemoryMap>,
        frames: Option<FramesFile>,
    ) -> Result<Launch, ImageError> {
        let (stack_size, instance_size) = (self.state.stack_size, self.state.instance_size);
        let rt_addr = space.place_near(placement.text_addr, rt_span).ok_or(ImageError::AddressSpace)?;
        let mut place = |size| space.place(size).ok_or(ImageError::AddressSpace);
        let frames_addr = match &frames {
            Some(frames) => place(frames.size + frames.guard)?,
            None => 0,
        };
        let mut flags = begin.flags;
        let (mut chunks_addr, mut base_addr, mut base) = (0, 0, None);
        let chunks = memories.iter().map(|memory| memory.base_size / CHUNK_SIZE).sum();
        if chunks > 0 {
            flags |= FLAG_COPY_ON_WRITE;
            chunks_addr = place(chunks)?;
            base_addr = place(MEMORY_RESERVATION * memories.len() as u64)?;
            base = self.state.base.clone();
        }
        let request = LoadRequest {
            flags,
            rt_addr,
            text_addr: placement.text_addr,
            text_size: self.program.text_size(),
            extension_size: self.program.extension_size(),
            state_addr: placement.state_addr,
            stack_size,
            instance_size,
            start: begin.start.unwrap_or(NO_ENTRY),
            entry: begin.entry.unwrap_or(NO_ENTRY),
            state_offset: self.state.below_context(stack_size + instance_size),
            frames_addr,
            frames_size: frames.as_ref().map_or(0, |frames| frames.size),
            chunks_addr,
            base_addr,
            ..Default::default()
        };
        Ok(Launch {
            request,
            memories,
            mutation: self.mutation(placement, activity),
            program: self.program.clone(),
            frames: frames.map(|frames| frames.file),
            base,
        })
    }

    pub(super) fn is_frozen(&self) -> bool {
        matches!(self.exit(), Ok(Exit::Frozen))
    }
}

struct FramesFile {
    file: Arc<OwnedFd>,
    size: u64,
    /// Size of the inaccessible range behind it.
    guard: u64,
}
