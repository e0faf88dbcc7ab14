//! The context, and how a program ends.

use crate::data;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence};
use gate_wire::MEMORY_RESERVATION;
use gate_wire::context::{Context, ExitKind, ExitRecord, MemoryDesc, memory_desc_distance};
use gate_wire::load::LoadFailure;
use gate_wire::trap::TrapId;
use sys::process::exit;

/// The context address, as compiled code passes it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct ContextAddr(u64);

impl ContextAddr {
    /// Says that the context is there.
    pub(crate) fn new(addr: u64) -> Self {
        Self(addr)
    }

    /// The context's address.
    pub(crate) fn get(self) -> u64 {
        self.0
    }

    /// The context. Signal handlers write to some of its fields: see the atomic ones.
    pub(crate) fn ptr(self) -> *mut Context {
        pointer(self.0 - size_of::<Context>() as u64)
    }

    pub(crate) fn suspend_request(self) -> &'static AtomicU32 {
        // SAFETY: the context outlives all code, and nothing but atomics accesses this field.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.ptr()).suspend_request) }
    }

    pub(crate) fn stack_limit(self) -> &'static AtomicU64 {
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.ptr()).stack_limit) }
    }

    /// What the host writes to.
    pub(crate) fn chunks_replaced(self) -> &'static AtomicU64 {
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.ptr()).chunks_replaced) }
    }

    /// What the host writes to when it has sent a reply.
    pub(crate) fn reply_sent(self) -> &'static AtomicU32 {
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.ptr()).reply_sent) }
    }

    pub(crate) fn is_suspension_requested(self) -> bool {
        self.suspend_request().load(Ordering::Relaxed) != 0
    }

    /// Address of a linear memory.
    pub(crate) fn memory_addr(self, index: u32) -> u64 {
        self.0 + u64::from(index) * MEMORY_RESERVATION
    }

    /// Where in linear memory 0 a value can be stored, unless it is out of bounds.
    pub(crate) fn guest_ptr<T>(self, offset: u32) -> Option<*mut T> {
        // SAFETY: there is always a descriptor for memory 0.
        let desc: MemoryDesc = unsafe { pointer::<MemoryDesc>(self.0 - memory_desc_distance(0)).read() };
        let end = u64::from(offset) + size_of::<T>() as u64;
        (end <= desc.size).then(|| pointer(self.0 + u64::from(offset)))
    }

    /// Ends the program. One that is exported should not have come here.
    pub(crate) fn stop(self, record: ExitRecord) -> ! {
        if data::is_export() {
            exit(LoadFailure::Export as i32);
        }
        // SAFETY: the context is there.
        unsafe { ptr::write_volatile(&raw mut (*self.ptr()).exit, record) };
        compiler_fence(Ordering::SeqCst);
        exit(0)
    }

    /// Ends the program, without a place.
    pub(crate) fn stop_with(self, kind: ExitKind, value: u32) -> ! {
        self.stop(ExitRecord { kind: kind as u32, value, pc: 0, fp: 0, addr: 0, sp: 0 })
    }

    /// Ends the program with a trap in the function that called rt.
    pub(crate) fn trap(self, trap: TrapId) -> ! {
        self.trap_number(trap as u32)
    }

    /// Like [`ContextAddr::trap`], where the number may not be one that rt knows.
    pub(crate) fn trap_number(self, trap: u32) -> ! {
        // SAFETY: the context is there.
        let (pc, fp) = unsafe { ((*self.ptr()).rt_pc, (*self.ptr()).rt_fp) };
        self.stop(ExitRecord { kind: ExitKind::Trapped as u32, value: trap, pc, fp, addr: 0, sp: 0 })
    }
}

/// A pointer to memory that is the program's.
pub(crate) fn pointer<T>(addr: u64) -> *mut T {
    ptr::with_exposed_provenance_mut(addr as usize)
}
