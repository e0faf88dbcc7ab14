//! Copying and filling.
//!
//! The string instructions are the fastest for what is large, and copy upwards only; their start-up cost is
//! a multiple of what a small copy takes.

use core::arch::asm;
use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_set1_epi8, _mm_storeu_si128};

/// Up to here vector registers are faster than string instructions.
const SMALL: usize = 256;

/// Copies bytes; the ranges may overlap.
///
/// # Safety
///
/// Both ranges must be accessible.
pub(crate) unsafe fn copy_bytes(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if len <= 16 {
            copy_up_to_16(dst, src, len);
        } else if dst.expose_provenance().wrapping_sub(src.expose_provenance()) < len {
            copy_downwards(dst, src, len);
        } else if len <= SMALL {
            copy_upwards(dst, src, len);
        } else {
            asm!("rep movsb", inout("rcx") len => _, inout("rdi") dst => _, inout("rsi") src => _,
                options(nostack, preserves_flags));
        }
    }
}

/// Fills bytes.
///
/// # Safety
///
/// The range must be accessible.
pub(crate) unsafe fn fill_bytes(dst: *mut u8, byte: u8, len: usize) {
    // SAFETY: the caller's promise; all stores are within the range.
    unsafe {
        if (16..=SMALL).contains(&len) {
            let value = _mm_set1_epi8(byte.cast_signed());
            let mut done = 0;
            while done + 16 <= len {
                store(dst.add(done), value);
                done += 16;
            }
            store(dst.add(len - 16), value);
        } else {
            asm!("rep stosb", inout("rcx") len => _, inout("rdi") dst => _, in("al") byte,
                options(nostack, preserves_flags));
        }
    }
}

/// Fills 32-bit elements.
///
/// # Safety
///
/// The range must be accessible.
pub(crate) unsafe fn fill_elements(dst: *mut u32, value: u32, len: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("rep stosd", inout("rcx") len => _, inout("rdi") dst => _, in("eax") value,
            options(nostack, preserves_flags));
    }
}

/// Loads everything before it stores anything.
unsafe fn copy_up_to_16(dst: *mut u8, src: *const u8, len: usize) {
    macro_rules! ends {
        ($int:ty) => {{
            const SIZE: usize = size_of::<$int>();
            let first = src.cast::<$int>().read_unaligned();
            let last = src.add(len - SIZE).cast::<$int>().read_unaligned();
            dst.cast::<$int>().write_unaligned(first);
            dst.add(len - SIZE).cast::<$int>().write_unaligned(last);
        }};
    }
    // SAFETY: the caller's promise; the two ends are within the range.
    unsafe {
        match len {
            8.. => ends!(u64),
            4.. => ends!(u32),
            2.. => ends!(u16),
            1 => *dst = *src,
            0 => {}
        }
    }
}

/// For `len >= 16` and a destination that is not within the source.
unsafe fn copy_upwards(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the caller's promise; all accesses are within the ranges. The last block is loaded first: the
    // stores before it may overwrite it.
    unsafe {
        let last = load(src.add(len - 16));
        let mut done = 0;
        while done + 16 < len {
            store(dst.add(done), load(src.add(done)));
            done += 16;
        }
        store(dst.add(len - 16), last);
    }
}

/// For `len >= 16` and a destination that is above the source.
unsafe fn copy_downwards(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: as above, with the first block.
    unsafe {
        let first = load(src);
        let mut rest = len;
        while rest >= 64 {
            rest -= 64;
            let (src, dst) = (src.add(rest), dst.add(rest));
            let blocks = [load(src), load(src.add(16)), load(src.add(32)), load(src.add(48))];
            store(dst.add(48), blocks[3]);
            store(dst.add(32), blocks[2]);
            store(dst.add(16), blocks[1]);
            store(dst, blocks[0]);
        }
        while rest > 16 {
            rest -= 16;
            store(dst.add(rest), load(src.add(rest)));
        }
        store(dst, first);
    }
}

unsafe fn load(src: *const u8) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe { _mm_loadu_si128(src.cast()) }
}

unsafe fn store(dst: *mut u8, value: __m128i) {
    // SAFETY: the caller's promise.
    unsafe { _mm_storeu_si128(dst.cast(), value) }
}
