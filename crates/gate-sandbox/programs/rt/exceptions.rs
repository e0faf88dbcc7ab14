//! Exceptions to which the program has references.
//!
//! Nothing tells when the last reference to an exception is gone. So when there are many of them, all memory that can hold
//! references is searched: the stack, globals, tables, and other exceptions. At a call of rt's, all values that the program will
//! use are there or in registers which are preserved by calls; the entry points put these on the stack. Whatever looks like a
//! reference is one. Records don't move.

use crate::arch;
use crate::context::{ContextAddr, pointer};
use core::slice;
use gate_wire::context::{
    EXCEPTION_REFERENCE, EXCEPTIONS_AT_FIRST, ExceptionDesc, ExceptionHead, TableDesc,
};
use gate_wire::trap::TrapId;

/// Bytes to be searched for each exception that is made until the next search.
const BYTES_PER_EXCEPTION: u64 = 256;

/// [`ExceptionHead::link`] of a record to which no reference has been found, and of one that is the last of those whose values are
/// still to be searched.
const NOT_FOUND: u32 = 0;
const LAST: u32 = u32::MAX;

/// The records.
struct Records {
    start: u64,
    size: u64,
    used: u32,
}

/// A reference to the exception in record 0. `sp` is the lowest address of the stack where references can be.
pub(crate) extern "C" fn new_reference(context: ContextAddr, desc: &mut ExceptionDesc, sp: u64) -> u32 {
    let mut records = Records::new(context, desc);
    let pending = records.head(0);
    // SAFETY: record 0 is there.
    let (tag, known) = unsafe { ((*pending).tag, (*pending).link) };
    if known != 0 {
        return EXCEPTION_REFERENCE + known;
    }
    if desc.free == 0 && desc.used.max(1) >= desc.threshold.max(EXCEPTIONS_AT_FIRST).min(desc.capacity) {
        records.free_unused(context, desc, sp);
    }
    let number = if desc.free != 0 {
        desc.free
    } else if desc.used < desc.capacity {
        desc.used.max(1)
    } else {
        context.trap(TrapId::TooManyExceptions)
    };
    if number == desc.free {
        // SAFETY: compiled code's or ours.
        desc.free = unsafe { (*records.head(number)).link };
    } else {
        desc.used = number + 1;
    }
    records.copy(0, number);
    // SAFETY: the record is there.
    unsafe {
        *records.head(number) = ExceptionHead { tag, link: 0 };
        (*pending).link = number;
    }
    EXCEPTION_REFERENCE + number
}

/// Makes record 0 of the exception to which a reference refers.
pub(crate) extern "C" fn throw_reference(context: ContextAddr, desc: &ExceptionDesc, reference: u32) {
    let records = Records::new(context, desc);
    let Some(number) = records.number(reference) else { context.trap(TrapId::InternalError) };
    records.copy(number, 0);
    // SAFETY: both records are there.
    unsafe { *records.head(0) = ExceptionHead { tag: (*records.head(number)).tag, link: number } };
}

impl Records {
    fn new(context: ContextAddr, desc: &ExceptionDesc) -> Self {
        Self { start: context.get() - desc.distance, size: desc.record_size.into(), used: desc.used }
    }

    fn head(&self, number: u32) -> *mut ExceptionHead {
        pointer(self.start + u64::from(number) * self.size)
    }

    /// Address of a record's values.
    fn values_addr(&self, number: u32) -> u64 {
        self.start + u64::from(number) * self.size + size_of::<ExceptionHead>() as u64
    }

    fn values_size(&self) -> u64 {
        self.size - size_of::<ExceptionHead>() as u64
    }

    fn values(&self, number: u32) -> &'static [u32] {
        words(self.values_addr(number), self.values_size())
    }

    /// Copies the values of a record to another one.
    fn copy(&self, from: u32, to: u32) {
        let (from, to) = (pointer(self.values_addr(from)), pointer(self.values_addr(to)));
        // SAFETY: both records are there.
        unsafe { arch::copy_bytes(to, from, self.values_size() as usize) };
    }

    /// The record to which something refers if it is a reference.
    fn number(&self, reference: u32) -> Option<u32> {
        let number = reference.wrapping_sub(EXCEPTION_REFERENCE);
        (number > 0 && number < self.used).then_some(number)
    }

    /// Frees records to which nothing refers.
    fn free_unused(&mut self, context: ContextAddr, desc: &mut ExceptionDesc, sp: u64) {
        for number in 1..self.used {
            // SAFETY: the record is there.
            unsafe { (*self.head(number)).link = NOT_FOUND };
        }
        let mut found = LAST;
        let stack_end = context.get() - desc.stack_end;
        let mut searched = stack_end - sp + desc.globals_size;
        self.search(words(sp, stack_end - sp), &mut found);
        self.search(words(context.get() - desc.globals, desc.globals_size), &mut found);
        self.search(self.values(0), &mut found);
        for table in 0..u64::from(desc.tables) {
            let addr = context.get() - desc.table_descs - table * size_of::<TableDesc>() as u64;
            // SAFETY: the compiler has put them there.
            let table = unsafe { *pointer::<TableDesc>(addr) };
            let size = 4 * u64::from(table.size);
            self.search(words(context.get() - table.distance, size), &mut found);
            searched += size;
        }
        while found != LAST {
            let number = found;
            // SAFETY: the record is there.
            unsafe { found = (*self.head(number)).link };
            self.search(self.values(number), &mut found);
            // SAFETY: as above. It is not `NOT_FOUND`, so that it is not searched again.
            unsafe { (*self.head(number)).link = LAST };
        }

        desc.free = 0;
        let mut in_use = 0;
        for number in (1..self.used).rev() {
            let head = self.head(number);
            // SAFETY: the record is there.
            unsafe {
                if (*head).link == NOT_FOUND {
                    *head = ExceptionHead { tag: 0, link: desc.free };
                    desc.free = number;
                } else {
                    (*head).link = 0;
                    in_use += 1;
                }
            }
        }
        // Searching is to cost little for each exception, however much there is to be searched.
        let enough = u32::try_from(searched / BYTES_PER_EXCEPTION).unwrap_or(u32::MAX);
        desc.threshold = (2 * in_use).max(EXCEPTIONS_AT_FIRST).max(enough.saturating_add(in_use));
    }

    /// Puts records to which some words refer in front of a list, if they have not been found before.
    fn search(&self, words: &[u32], list: &mut u32) {
        for &word in words {
            let Some(number) = self.number(word) else { continue };
            let head = self.head(number);
            // SAFETY: the record is there.
            unsafe {
                if (*head).tag != 0 && (*head).link == NOT_FOUND {
                    (*head).link = *list;
                    *list = number;
                }
            }
        }
    }
}

fn words(addr: u64, size: u64) -> &'static [u32] {
    // SAFETY: parts of the program's stack and instance region. Nothing writes to them while they are searched.
    unsafe { slice::from_raw_parts(pointer(addr), size as usize / 4) }
}
