//! Programs in real processes, through the public face of the crate.

mod ends;
mod hostile;
mod kill;
mod limits;
mod machine;
mod programs;
mod text;
mod unprivileged;
