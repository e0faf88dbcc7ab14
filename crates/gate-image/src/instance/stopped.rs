//! Stopped programs as frames.

use super::{Activity, Instance, Mutation, PendingCall, Phase, Region, call};
use crate::cache::LoadError;
use crate::error::{ImageError, InstanceError};
use crate::exceptions::{ExceptionError, Exceptions};
use crate::exit::{self, Exit};
use crate::frames::{Frames, FramesError};
use crate::memfd::{self, Executable};
use crate::program::Program;
use crate::state::State;
use gate_compiler::{ImportResolver, Options, ResumePoint};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

/// A program that is stopped, as its frames tell.
#[derive(Clone, Debug)]
pub(crate) struct Stopped {
    pub(crate) frames: StoppedFrames,
    /// What it is doing.
    pub(crate) activity: Activity,
}

/// Frames, or what is left of them when they have been checked before.
#[derive(Clone, Debug)]
pub(crate) enum StoppedFrames {
    Known(Arc<Frames>),
    Prepared(Arc<PreparedFrames>),
}

/// Frames of a program that has text for going on by them.
#[derive(Debug)]
pub(crate) struct PreparedFrames {
    pub(crate) program: Program,
    /// The frames as they are in a snapshot.
    pub(crate) stored: Vec<u8>,
    /// The function that was called from outside.
    pub(crate) called: u32,
    /// Contents of the file that resumed code reads.
    pub(crate) resume: Vec<u8>,
    pub(crate) read: OnceLock<Arc<Frames>>,
}

impl StoppedFrames {
    /// The frames. They may have to be read.
    pub(crate) fn get(&self) -> Result<Arc<Frames>, FramesError> {
        match self {
            Self::Known(frames) => Ok(Arc::clone(frames)),
            Self::Prepared(prepared) => {
                if let Some(frames) = prepared.read.get() {
                    return Ok(Arc::clone(frames));
                }
                let called = Some(prepared.called);
                let frames = Frames::read_stored(prepared.program.base(), None, &prepared.stored, called)?;
                Ok(Arc::clone(prepared.read.get_or_init(|| Arc::new(frames))))
            }
        }
    }

    /// The function that was called from outside.
    pub(super) fn called(&self) -> u32 {
        match self {
            Self::Known(frames) => frames.called(),
            Self::Prepared(prepared) => prepared.called,
        }
    }

    /// The file that resumed code of the program reads, and its size.
    pub(super) fn write_resume(&self, program: &Program) -> Result<(OwnedFd, u64), ImageError> {
        match self {
            Self::Prepared(prepared) if prepared.program.is_same(program) => {
                let file = memfd::create("gate-frames", Executable::No)?;
                memfd::write_all(&file, &prepared.resume, 0).map_err(ImageError::system("write frames"))?;
                Ok((file, prepared.resume.len() as u64))
            }
            Self::Prepared(_) => Err(ImageError::image("the program lacks text for going on")),
            Self::Known(frames) => frames.write_resume(program),
        }
    }
}

/// Where a process writes frames down.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) file: Arc<OwnedFd>,
    pub(super) size: u64,
    /// What the program was started for.
    pub(super) activity: Activity,
}

impl Mutation {
    /// Reads and checks the frames which the program's process has written down. To be called when the process has
    /// ended, with exit status zero; afterwards [`Instance::frames`] returns them.
    ///
    /// Fails if the instance has not been launched for that purpose, or if the process has left something else than
    /// frames of the program.
    pub fn finish_export(&self) -> Result<Arc<Frames>, FramesError> {
        let export = self.export.as_ref().ok_or(FramesError::Incomplete)?;
        let mut activity = export.activity;
        let called = |function, fits: &dyn Fn(u32) -> bool| {
            let (start, called) = called(function, fits, &self.program, &self.state, export.activity)?;
            activity.start = start;
            Ok(called)
        };
        let frames = Frames::read_exported(&self.program, &export.file, export.size, called)?;
        check_call(&frames, &self.state)?;
        let region = Region::new(&self.program, self.state.as_fd());
        Exceptions::find(&self.program, region, frames.values()?).map_err(|error| match error {
            ExceptionError::Invalid(number) => FramesError::Exception { number },
            ExceptionError::Host(error) => FramesError::Host(error),
        })?;
        let frames = Arc::new(frames);
        *self.lease.stopped() = Some(Stopped { frames: StoppedFrames::Known(Arc::clone(&frames)), activity });
        Ok(frames)
    }
}

impl Instance {
    /// The frames of the program, if it is suspended and they are known: after an [export](Mutation::finish_export), or when
    /// the instance comes from a snapshot. Those that come from a [`Cache`](crate::Cache) are not known any more if the host
    /// cannot read them.
    pub fn frames(&self) -> Option<Arc<Frames>> {
        self.lease.stopped().as_ref().and_then(|stopped| stopped.frames.get().ok())
    }

    /// The host call which the program was making when it was suspended.
    pub fn pending_call(&self) -> Result<Option<PendingCall>, ImageError> {
        match self.is_frozen() {
            true => call::read(&self.state),
            false => Ok(None),
        }
    }

    /// Makes this an instance of another program that was compiled from the same module, maybe with other options. If the
    /// program is suspended, its frames must be known, and it will go on by them;
    /// [`Instance::prepare_resume`] must follow.
    ///
    /// Fails if the other program cannot stop where this one did. Then the instance has not changed.
    pub fn rebase(&mut self, program: &Program) -> Result<(), RebaseError> {
        self.check_idle().map_err(InstanceError::from)?;
        let exit = self.exit();
        let stopped = match (self.is_frozen(), &*self.lease.stopped()) {
            (false, _) => None,
            (true, None) => return Err(FramesError::Incomplete.into()),
            (true, Some(stopped)) => {
                let frames = Arc::new(stopped.frames.get()?.rebase(program.base())?);
                Some(Stopped { frames: StoppedFrames::Known(frames), activity: stopped.activity })
            }
        };
        if let Ok(Exit::Trapped(_)) = exit {
            // Addresses in the other text mean something else.
            self.trace = Some(self.backtrace().map_err(InstanceError::from)?);
        }
        self.move_region(program)?;
        self.program = program.clone();
        if let (Phase::Run { .. }, Ok(exit)) = (self.phase, exit) {
            // What is in the exit record about the other text means nothing any more.
            exit::write_record(&self.state, exit)
                .map_err(ImageError::system("write the exit record"))
                .map_err(InstanceError::from)?;
        }
        if let Some(stopped) = stopped {
            self.phase = Phase::Suspended { activity: stopped.activity };
            *self.lease.stopped() = Some(stopped);
        }
        Ok(())
    }

    /// Compiles what a suspended instance needs to go on by its frames, if it does not have it yet. `wasm`, `options`
    /// and `imports` must be those with which its program was compiled.
    ///
    /// For an instance that goes on otherwise nothing is done.
    pub fn prepare_resume(
        &mut self,
        wasm: &[u8],
        options: &Options,
        imports: &dyn ImportResolver,
    ) -> Result<(), LoadError> {
        self.prepare_resume_with(|base, points, outermost| {
            Ok(base.extend(base.compile_resume(wasm, options, imports, points, outermost)?)?)
        })
    }

    /// Like [`Instance::prepare_resume`], with text from somewhere.
    pub(crate) fn prepare_resume_with(
        &mut self,
        extend: impl FnOnce(&Program, &BTreeSet<ResumePoint>, &BTreeSet<u32>) -> Result<Program, LoadError>,
    ) -> Result<(), LoadError> {
        let Phase::Suspended { .. } = self.phase else { return Ok(()) };
        let frames = match &*self.lease.stopped() {
            Some(Stopped { frames: StoppedFrames::Known(frames), .. }) => Arc::clone(frames),
            // It has the text.
            Some(Stopped { frames: StoppedFrames::Prepared(_), .. }) | None => return Ok(()),
        };
        self.program = self.program.with_resume_text(&frames, extend)?;
        Ok(())
    }
}

/// Why an instance cannot become one of another program.
#[derive(Debug, thiserror::Error)]
pub enum RebaseError {
    /// It is running, or the program is of another module.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// Its frames are not known, or not ones of the other program.
    #[error(transparent)]
    Frames(#[from] FramesError),
}

/// A program is in a host function if it has a call.
pub(crate) fn check_call(frames: &Frames, state: &State) -> Result<(), FramesError> {
    match frames.is_in_host_function()? == call::read(state)?.is_some() {
        true => Ok(()),
        false => Err(FramesError::HostCall),
    }
}

/// Which of the functions that a program was started for has been called last: whether it is the start function, and its index.
/// `function` is that of the outermost frame, `fits` tells whether it can be there because another one was called.
fn called(
    function: u32,
    fits: &dyn Fn(u32) -> bool,
    program: &Program,
    state: &State,
    begun: Activity,
) -> Result<(bool, u32), FramesError> {
    let start = program.info().start.filter(|&start| begun.start && fits(start));
    let entry = begun.entry.filter(|&entry| fits(entry));
    match (start, entry) {
        (None, None) => Err(FramesError::Outermost { function }),
        (Some(start), None) => Ok((true, start)),
        (None, Some(entry)) => Ok((false, entry)),
        (Some(start), Some(entry)) => match is_entry_pending(state)? {
            true => Ok((true, start)),
            false => Ok((false, entry)),
        },
    }
}

/// Whether rt has still to call the entry function after the start function, by its frame at the end of the stack.
fn is_entry_pending(state: &State) -> Result<bool, ImageError> {
    const DISTANCE: u64 = 24;

    let mut word = [0; 8];
    state
        .read(state.instance_offset() - DISTANCE, &mut word)
        .map_err(ImageError::system("read the stack"))?;
    Ok(word != [0; 8])
}
