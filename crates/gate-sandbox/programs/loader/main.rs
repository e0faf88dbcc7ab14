//! The loader: a program process before it is one.
//!
//! It waits for a load request, maps what the request says where it says, and jumps to rt, which unmaps the
//! loader. All of its state is on its stack.

#![no_std]
#![no_main]

mod limits;
mod map;
mod request;

use gate_wire::load::{CALL_FD, FLAG_THAW, LoadFailure, NO_ENTRY};
use sys::{fd, process};

core::arch::global_asm!(
    ".section .text.start, \"ax\"",
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym main,
);

/// What ends the loader.
pub(crate) type Result<T> = core::result::Result<T, LoadFailure>;

extern "C" fn main() -> ! {
    let failure = match load() {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    process::exit(failure as i32)
}

fn load() -> Result<core::convert::Infallible> {
    limits::set_attributes()?;
    let request = request::receive()?;
    map::map_all(&request)?;
    fd::close_from(CALL_FD as u32 + 1).map_err(|_| LoadFailure::CloseDescriptors)?;
    limits::set_limits()?;

    let load = &request.load;
    let code_addr = |offset| if offset == NO_ENTRY { 0 } else { load.text_addr + offset };
    // SAFETY: everything is mapped as rt expects it, and rt does not come back.
    unsafe {
        core::arch::asm!(
            "jmp {rt}",
            rt = in(reg) load.rt_addr,
            in("rdi") load.context_addr(),
            in("rsi") load.state_addr,
            in("rdx") code_addr(load.start),
            in("rcx") code_addr(load.entry),
            in("r8") load.flags & FLAG_THAW,
            in("r9") load.state_addr + load.stack_size,
            options(noreturn),
        )
    }
}
