//! rt: the native functions that compiled code calls.
//!
//! This is the only code of Gate's that shares a process with a running program. It consists of one read-only image,
//! keeps what it knows in the context and in [`data`], and trusts nothing that it reads there more than
//! the program itself: what it can do wrong, the program can do as well.
//!
//! | module | what |
//! |---|---|
//! | [`start`] | from the loader to the program, and back when it returns |
//! | [`functions`] | safepoints and traps |
//! | [`bulk`] | linear memories and tables |
//! | [`exceptions`] | exceptions to which the program has references |
//! | [`host_call`] | calls to the host, and the few that need no host |
//! | [`clock`] | clocks |
//! | [`frames`] | frames on their way into or out of the process |
//! | [`cow`] | memories that are copied on write |
//! | [`samples`] | where the program is, again and again |
//! | [`signals`] | faults and suspension requests |
//! | [`setup`] | system calls that the program is not to have |
//! | [`context`] | the context and how a program ends |
//! | [`arch`] | what depends on the processor |
//! | [`data`] | the signal stack, and what the loader has left |

#![no_std]
#![no_main]

mod arch;
mod bulk;
mod clock;
mod context;
mod cow;
mod data;
mod exceptions;
mod frames;
mod functions;
mod host_call;
mod samples;
mod setup;
mod signals;
mod start;
