//! Random journeys: programs are suspended at random moments, and go on in random ways.
//!
//! A *journey* runs a [`Subject`] to its end, with suspensions. After each the program goes on as it was frozen, by
//! its frames in the same text or in a text that was compiled otherwise, or as a copy. How it ends, what it
//! returns and writes, and what is in its memories, globals and tables must be the same as after an uninterrupted run;
//! and the same as in wasmi; with the feature `peer`, also as in Wasmtime.
//!
//! | module | concern |
//! |---|---|
//! | `subject` | the programs |
//! | `generated` | random modules |
//! | `alarm` | suspensions after some microseconds |
//! | `run` | one run of a program, with or without suspensions |
//! | `ending` | what is compared |
//! | `coverage` | at which kinds of places, with which types of values programs were stopped |
//! | `journeys` | many of them, and the report |
//! | `packets` | packets that are exchanged with services meanwhile |
//! | `peers` | the same in other engines |
//! | `account` | what can be compared between engines |

#![forbid(unsafe_code)]

mod account;
mod alarm;
mod coverage;
mod ending;
mod generated;
mod journeys;
mod packets;
mod peers;
mod run;
mod subject;

pub use coverage::Coverage;
pub use journeys::{Difference, Journeys, Plan, Report};
pub use packets::{Exchanged, exchange_packets};
pub use run::Way;
pub use subject::{Subject, hand_written, real};
