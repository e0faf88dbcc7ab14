//! Containers, groups, factories, daemons and faults, through the public face of the crate and against the real kernel.

mod container;
mod daemon;
mod factories;
mod faults;
mod groups;
mod limits;
mod machine;
mod systemd;
mod watch;
