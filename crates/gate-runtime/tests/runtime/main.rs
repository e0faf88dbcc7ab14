//! Programs in real processes, through the public face of the crate.

mod ends;
mod exactly_once;
mod hostile;
mod kill;
mod limits;
mod machine;
mod moves;
mod programs;
mod prompt;
mod stops;
mod stored;
mod suspend;
mod text;
mod unprivileged;
