//! Copying and filling, in blocks of a vector register's size. Ends overlap, so that there are no loops for single bytes.

use core::arch::aarch64::{uint8x16_t, vdupq_n_u8, vdupq_n_u32, vld1q_u8, vreinterpretq_u8_u32, vst1q_u8};
use core::arch::asm;

const BLOCK: usize = size_of::<uint8x16_t>();

/// Copies bytes; the ranges may overlap.
///
/// # Safety
///
/// Both ranges must be accessible.
pub(crate) unsafe fn copy_bytes(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if len <= BLOCK {
            copy_up_to_16(dst, src, len);
        } else if dst.expose_provenance().wrapping_sub(src.expose_provenance()) < len {
            copy_downwards(dst, src, len);
        } else {
            copy_upwards(dst, src, len);
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
        let value = vdupq_n_u8(byte);
        if len >= BLOCK {
            fill_blocks(dst, value, len);
        } else {
            let block = [byte; BLOCK];
            copy_up_to_16(dst, block.as_ptr(), len);
        }
    }
}

/// Fills 32-bit elements.
///
/// # Safety
///
/// The range must be accessible.
pub(crate) unsafe fn fill_elements(dst: *mut u32, value: u32, len: usize) {
    // SAFETY: the caller's promise; all stores are within the range.
    unsafe {
        if len >= 4 {
            let block = vreinterpretq_u8_u32(vdupq_n_u32(value));
            fill_blocks(dst.cast(), block, len * size_of::<u32>());
        } else {
            let block = [value; 4];
            copy_up_to_16(dst.cast(), block.as_ptr().cast(), len * size_of::<u32>());
        }
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
        let last = vld1q_u8(src.add(len - BLOCK));
        let mut done = 0;
        while done + 4 * BLOCK <= len {
            let blocks = load_four(src.add(done));
            store_four(dst.add(done), blocks);
            done += 4 * BLOCK;
        }
        while done + BLOCK < len {
            vst1q_u8(dst.add(done), vld1q_u8(src.add(done)));
            done += BLOCK;
        }
        vst1q_u8(dst.add(len - BLOCK), last);
    }
}

/// For `len >= 16` and a destination that is above the source.
unsafe fn copy_downwards(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: as above, with the first block.
    unsafe {
        let first = vld1q_u8(src);
        let mut rest = len;
        while rest >= 4 * BLOCK {
            rest -= 4 * BLOCK;
            let blocks = load_four(src.add(rest));
            store_four(dst.add(rest), blocks);
        }
        while rest > BLOCK {
            rest -= BLOCK;
            vst1q_u8(dst.add(rest), vld1q_u8(src.add(rest)));
        }
        vst1q_u8(dst, first);
    }
}

unsafe fn load_four(src: *const u8) -> [uint8x16_t; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        [vld1q_u8(src), vld1q_u8(src.add(BLOCK)), vld1q_u8(src.add(2 * BLOCK)), vld1q_u8(src.add(3 * BLOCK))]
    }
}

unsafe fn store_four(dst: *mut u8, blocks: [uint8x16_t; 4]) {
    // SAFETY: the caller's promise.
    unsafe {
        for (i, block) in blocks.into_iter().enumerate() {
            vst1q_u8(dst.add(i * BLOCK), block);
        }
    }
}

/// For `len >= 16`. If the block is an element several times, the length is a multiple of the element's size.
unsafe fn fill_blocks(dst: *mut u8, block: uint8x16_t, len: usize) {
    // SAFETY: the caller's promise; all stores are within the range. In assembly: the compiler would make a call of its
    // memory function of a loop.
    unsafe {
        asm!(
            "b 3f",
            "2:",
            "stp {block:q}, {block:q}, [{dst}], #32",
            "3:",
            "subs {rest}, {rest}, #32",
            "b.hs 2b",
            "tbz {rest}, #4, 4f",
            "str {block:q}, [{dst}]",
            "4:",
            block = in(vreg) block,
            dst = inout(reg) dst => _,
            rest = inout(reg) len => _,
            options(nostack),
        );
        vst1q_u8(dst.add(len - BLOCK), block);
    }
}
