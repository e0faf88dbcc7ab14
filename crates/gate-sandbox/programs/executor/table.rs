//! The processes, by id.

use gate_wire::MAX_PROCS;
use gate_wire::control::Report;
use sys::memory::{self, MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE};
use sys::number::errno;
use sys::process::Death;
use sys::{Errno, Result};

/// The processes, and the queue of those whose death is to be reported.
///
/// A death stays here until the host's socket takes it, so no report is lost and none needs memory.
pub(crate) struct Table {
    slots: [Slot; MAX_PROCS as usize],
    /// Id of the earliest unreported death, or [`NONE`].
    first: u32,
    /// Id of the latest unreported death, if there is any.
    last: u32,
}

/// What is known of an id. Zeros mean that it is free, so that ids which are never used take no memory.
struct Slot {
    /// Descriptor of the process, [`FREE`] or [`DEAD`].
    pidfd: i32,
    /// Id of the next unreported death, or [`NONE`].
    next: u32,
    /// How the process ended; while it is alive, its process id.
    status: u32,
    cpu_time: u64,
}

const FREE: i32 = 0;
const DEAD: i32 = -1;
const NONE: u32 = u32::MAX;

impl Table {
    /// Makes the table.
    pub(crate) fn create() -> Result<&'static mut Self> {
        let flags = MAP_PRIVATE | MAP_NORESERVE;
        // SAFETY: no address is given.
        let addr = unsafe { memory::map(0, size_of::<Self>() as u64, PROT_READ | PROT_WRITE, flags, None) }?;
        // SAFETY: the mapping is large enough, aligned, nobody else's, never unmapped, and zeros are valid.
        let table = unsafe { &mut *core::ptr::with_exposed_provenance_mut::<Self>(addr as usize) };
        table.first = NONE;
        Ok(table)
    }

    /// Puts a process into a slot that [`Table::check_free`] has found free.
    pub(crate) fn insert(&mut self, id: u32, pidfd: i32, pid: u32) {
        if let Some(slot) = self.slots.get_mut(id as usize) {
            slot.pidfd = pidfd;
            slot.status = pid;
        }
    }

    /// Takes out the process and keeps how it ended for [`Table::take_deaths`]. Gives its descriptor.
    pub(crate) fn bury(&mut self, id: u32, death: &Death) {
        let Some(slot) = self.slots.get_mut(id as usize) else { return };
        *slot = Slot { pidfd: DEAD, next: NONE, status: death.status, cpu_time: death.cpu_time };
        if self.first == NONE {
            self.first = id;
        } else if let Some(last) = self.slots.get_mut(self.last as usize) {
            last.next = id;
        }
        self.last = id;
    }

    /// Encodes the earliest unreported deaths, as many as fit. Gives the encoded size.
    pub(crate) fn encode_deaths(&self, buf: &mut [u8]) -> usize {
        let mut size = 0;
        let mut id = self.first;
        for chunk in buf.chunks_exact_mut(Report::SIZE) {
            let Some(slot) = self.slots.get(id as usize) else { break };
            let report = Report::Died { id, status: slot.status, cpu_time: slot.cpu_time };
            chunk.copy_from_slice(&report.encode());
            size += Report::SIZE;
            id = slot.next;
        }
        size
    }

    /// Frees the ids of the earliest unreported deaths, after this many bytes of reports were sent.
    pub(crate) fn free_reported(&mut self, size: usize) {
        for _ in 0..size / Report::SIZE {
            let Some(slot) = self.slots.get_mut(self.first as usize) else { break };
            slot.pidfd = FREE;
            self.first = slot.next;
        }
    }

    /// Whether all deaths have been reported.
    pub(crate) fn all_reported(&self) -> bool {
        self.first == NONE
    }

    /// Whether a process can have this id.
    pub(crate) fn check_free(&self, id: u32) -> Result<()> {
        match self.slots.get(id as usize) {
            None => Err(Errno(errno::EINVAL)),
            Some(slot) if slot.pidfd == FREE => Ok(()),
            Some(_) => Err(Errno(errno::EEXIST)),
        }
    }

    /// Descriptor of the process with this id, if there is one.
    pub(crate) fn pidfd(&self, id: u32) -> Result<Option<i32>> {
        let slot = self.slots.get(id as usize).ok_or(Errno(errno::EINVAL))?;
        Ok((slot.pidfd > 0).then_some(slot.pidfd))
    }

    /// Process id of the process with this id, if there is one.
    pub(crate) fn pid(&self, id: u32) -> Result<Option<u32>> {
        let slot = self.slots.get(id as usize).ok_or(Errno(errno::EINVAL))?;
        Ok((slot.pidfd > 0).then_some(slot.status))
    }
}
