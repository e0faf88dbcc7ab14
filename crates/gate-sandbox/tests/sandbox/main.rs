//! What the sandbox must do, and what it must refuse: shown from inside by programs that consist of arbitrary
//! machine code, and from outside by what the kernel tells about them.

mod bulk;
mod calls;
mod container;
mod cow;
mod death;
mod executor;
mod export;
mod miscompiled;
mod program;
mod samples;
mod start;
mod suspend;
mod syscalls;
mod view;
