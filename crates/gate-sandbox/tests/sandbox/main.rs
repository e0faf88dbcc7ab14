//! What the sandbox must do, and what it must refuse: shown from inside by programs that consist of arbitrary
//! machine code, and from outside by what the kernel tells about them.

mod container;
mod program;
mod start;
mod syscalls;
mod view;
