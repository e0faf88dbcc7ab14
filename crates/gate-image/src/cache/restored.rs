//! What snapshots' files have been read to.

use super::entry::encoded;
use super::{Cache, FileIdentity, LoadError, RESTORED_EXTENSION, key, known, resume_key};
use crate::entry_file::{self, Contents, Image, TakePiece};
use crate::error::ImageError;
use crate::extents;
use crate::fork::Base;
use crate::instance::{
    Activity, Instance, InstanceOptions, Phase, PreparedFrames, Stopped, StoppedFrames, round_stack_size,
};
use crate::memfd;
use crate::program::Program;
use crate::snapshot::ServiceState;
use crate::state::State;
use blake3::{Hash, Hasher};
use gate_compiler::Options;
use gate_wire::PAGE_SIZE;
use gate_wire::cow::CHUNK_SIZE;
use gate_wire::load::STATE_FILE_STRIDE;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Larger memories are not kept: what is read from the snapshot takes no space.
const MAX_SIZE: u64 = 256 << 20;

/// Largest stack that is kept, in bytes.
const MAX_FRAMES: u64 = 16 << 20;

/// How much of a memory is read at a time, in bytes.
const READ_SIZE: u64 = 64 << 10;

/// What a snapshot's file has been read to.
#[derive(Debug)]
pub struct KeptInstance {
    /// The instance. It has the text for going on.
    pub instance: Instance,
    /// States of the services.
    pub services: Vec<ServiceState>,
    /// BLAKE3 hash of the module.
    pub module: [u8; 32],
}

/// With what an instance was made.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// How large the instance is if nothing else is asked for.
    pub sizes: InstanceOptions,
    /// Options with which its program was compiled.
    pub options: &'a Options,
}

/// All but the contents of memories.
#[derive(Serialize, Deserialize)]
struct RestoredInfo {
    module: [u8; 32],
    /// Key of the text for going on.
    resume: [u8; 32],
    options: InstanceOptions,
    activity: Activity,
    monotonic_time: u64,
    /// Sizes of the memories, and where in the section their contents are, and the contents' sizes.
    memories: Vec<Placed>,
    /// Contents of the instance region: distances below its end, and bytes.
    region: Vec<(u64, Vec<u8>)>,
    stored_frames: Vec<u8>,
    called: u32,
    resume_frames: Vec<u8>,
    services: Vec<(String, Vec<u8>)>,
}

impl Cache {
    /// Keeps for some days what the file of a snapshot was read to: a suspended instance which has been
    /// [prepared](Self::prepare_resume), and has not run. `identity` is what the file was before it was read; if it has become
    /// another one meanwhile, nothing is kept.
    ///
    /// Whether that succeeds is of no importance. Nothing is kept of what is very large, and nothing the first time: most snapshots
    /// are read only once.
    pub fn keep_restored(
        &self,
        file: &File,
        identity: &FileIdentity,
        restored: &KeptInstance,
        origin: &Origin<'_>,
    ) {
        if FileIdentity::of(file).as_ref() == Some(identity) {
            // What is missing is made anew.
            let _ = self.try_keep(identity, restored, origin);
        }
    }

    fn try_keep(
        &self,
        identity: &FileIdentity,
        restored: &KeptInstance,
        origin: &Origin<'_>,
    ) -> Result<(), LoadError> {
        let KeptInstance { instance, services, module } = restored;
        let module = &Hash::from_bytes(*module);
        let Origin { sizes, options } = origin;
        let (Phase::Suspended { activity }, Some(frames)) = (instance.phase(), instance.frames()) else {
            return Ok(());
        };
        let fingerprint = gate_compiler::fingerprint(options)?;
        let kept_key = restored_key(identity, &fingerprint);
        if self.known(known::READ, identity) != Some(kept_key) {
            self.set_known(known::READ, identity, &kept_key);
            return Ok(());
        }
        let called = frames.called();
        let resume =
            resume_key(&key(module, &fingerprint), &frames.resume_points()?, &BTreeSet::from([called]));
        let mut stored_frames = Vec::new();
        frames
            .write_stored(None, &mut stored_frames)
            .map_err(|source| ImageError::System { action: "write frames", source })?;
        let error = ImageError::system("read frames");
        let (file, size) = frames.write_resume(instance.program())?;
        if size.max(stored_frames.len() as u64) > MAX_FRAMES {
            return Ok(());
        }
        let mut resume_frames = vec![0; size as usize];
        memfd::read_exact(&file, &mut resume_frames, 0).map_err(&error)?;

        let state = instance.state();
        let error = ImageError::system("read an instance");
        let memories = places(state).map_err(&error)?;
        let size = memories.last().map_or(0, |(_, (start, size))| start + size);
        if size > MAX_SIZE {
            return Ok(());
        }
        let info = RestoredInfo {
            module: *module.as_bytes(),
            resume: *resume.as_bytes(),
            options: *sizes,
            activity,
            monotonic_time: instance.monotonic_time(),
            region: region(state).map_err(&error)?,
            stored_frames,
            called,
            resume_frames,
            services: services.iter().map(|service| (service.name.clone(), service.state.clone())).collect(),
            memories,
        };
        let pieces = |take: &mut TakePiece<'_>| contents(state, &info.memories, take);
        let write = || -> io::Result<()> {
            let memories = Image { size, pieces: Box::new(pieces) };
            let contents = Contents { text: &[], memories, info: encoded(&info)?, maps: Vec::new() };
            let path = self.restored_path(&kept_key);
            self.store(&path, |file| entry_file::write(file, &kept_key, &contents))
        };
        write().map_err(|source| ImageError::System { action: "keep an instance", source })?;
        Ok(())
    }

    /// Makes the instance that the file of a snapshot was read to, if it was kept and is not damaged. Sizes that are not given
    /// are those that it had.
    pub fn restored(
        &self,
        identity: &FileIdentity,
        options: &Options,
        stack_size: Option<u64>,
        max_memory: Option<u64>,
    ) -> Result<Option<KeptInstance>, LoadError> {
        let fingerprint = gate_compiler::fingerprint(options)?;
        let key = restored_key(identity, &fingerprint);
        let Ok(entry) = self.open_entry(&self.restored_path(&key), &key) else { return Ok(None) };
        let Ok(info) = entry.info::<RestoredInfo>() else { return Ok(None) };
        let Some(program) = self.load_by_hash(&Hash::from_bytes(info.module), options)? else {
            return Ok(None);
        };
        let resume = Hash::from_bytes(info.resume);
        let Ok(program) = self.load_resume(&self.resume_path(&resume), &resume, &program) else {
            return Ok(None);
        };
        let places: Vec<_> = info.memories.iter().map(|&(_, place)| place).collect();
        let Ok(base) = entry.base(&places) else { return Ok(None) };
        let sizes = InstanceOptions {
            stack_size: stack_size.unwrap_or(info.options.stack_size),
            max_memory: max_memory.or(info.options.max_memory),
        };
        Ok(instance(program?, info, Arc::new(base), &sizes)?)
    }

    fn restored_path(&self, key: &Hash) -> PathBuf {
        self.dir.join(format!("{}.{RESTORED_EXTENSION}", key.to_hex()))
    }
}

fn restored_key(identity: &FileIdentity, fingerprint: &str) -> Hash {
    Hasher::new_keyed(identity.as_bytes()).update(b"restored").update(fingerprint.as_bytes()).finalize()
}

/// The instance, unless what is known of it does not fit.
fn instance(
    program: Program,
    info: RestoredInfo,
    base: Arc<Base>,
    sizes: &InstanceOptions,
) -> Result<Option<KeptInstance>, ImageError> {
    let stack_size = round_stack_size(sizes.stack_size)?;
    // Who asks for too little is told so when the snapshot is read.
    let Ok(mut state) = State::new(program.info(), stack_size, sizes.max_memory) else { return Ok(None) };
    let fits = state.memories.len() == info.memories.len()
        && state.memories.iter().zip(&info.memories).all(|(place, &(size, (_, contents)))| {
            (place.min..=place.max).contains(&size) && size.is_multiple_of(CHUNK_SIZE) && contents <= size
        })
        && program.resume_trampoline(info.called).is_some()
        && (info.resume_frames.len() as u64).is_multiple_of(PAGE_SIZE)
        && info
            .region
            .iter()
            .all(|(distance, bytes)| *distance <= state.instance_size && bytes.len() as u64 <= *distance);
    if !fits {
        return Ok(None);
    }
    state.put_over(&base);
    let error = ImageError::system("write an instance");
    for (distance, bytes) in &info.region {
        state.write(STATE_FILE_STRIDE - distance, bytes).map_err(&error)?;
    }
    for (place, (size, _)) in state.memories.iter().zip(&info.memories) {
        let desc = [size.to_le_bytes(), place.max.to_le_bytes()].concat();
        state.write(place.desc_offset, &desc).map_err(&error)?;
    }
    let frames = PreparedFrames {
        program: program.clone(),
        stored: info.stored_frames,
        called: info.called,
        resume: info.resume_frames,
        read: OnceLock::new(),
    };
    let stopped = Stopped { frames: StoppedFrames::Prepared(Arc::new(frames)), activity: info.activity };
    let (options, phase) =
        (InstanceOptions { stack_size, ..*sizes }, Phase::Suspended { activity: info.activity });
    let time = info.monotonic_time;
    let instance = Instance::restored(&program, state, options, phase, None, time, Some(stopped));
    let services = info.services.into_iter().map(|(name, state)| ServiceState { name, state });
    Ok(Some(KeptInstance { instance, services: services.collect(), module: info.module }))
}

/// A memory's size, and where its contents are when those of all memories are behind one another, and their size.
type Placed = (u64, (u64, u64));

fn places(state: &State) -> Result<Vec<Placed>, Errno> {
    let mut start = 0;
    let place = |index| {
        let mut end = 0;
        for extent in state.memory_extents(index)? {
            end = extent?.end;
        }
        let size = end.next_multiple_of(CHUNK_SIZE);
        start += size;
        Ok((state.memory_size(index)?, (start - size, size)))
    };
    (0..state.memories.len()).map(place).collect()
}

/// What of the memories is not zero.
fn contents(state: &State, places: &[Placed], take: &mut TakePiece<'_>) -> io::Result<()> {
    let mut buf = vec![0; READ_SIZE as usize];
    for (index, (_, (start, _))) in places.iter().enumerate() {
        for extent in state.memory_extents(index)? {
            let extent = extent?;
            for at in extent.clone().step_by(READ_SIZE as usize) {
                let buf = &mut buf[..READ_SIZE.min(extent.end - at) as usize];
                state.read_memory(index, at, buf)?;
                if buf.iter().any(|&byte| byte != 0) {
                    take(start + at, buf)?;
                }
            }
        }
    }
    Ok(())
}

/// What of the instance region is not zero.
fn region(state: &State) -> Result<Vec<(u64, Vec<u8>)>, Errno> {
    let mut region = Vec::new();
    let mut rest = state.instance_offset()..STATE_FILE_STRIDE;
    while let Some(data) = extents::next_data(&state.file, rest.clone())? {
        let mut bytes = vec![0; (data.end - data.start) as usize];
        state.read(data.start, &mut bytes)?;
        region.push((STATE_FILE_STRIDE - data.start, bytes));
        rest.start = data.end;
    }
    Ok(region)
}
