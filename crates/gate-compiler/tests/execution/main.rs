//! Runs compiled code in the test's own process: it computes what it should, stops when it is asked to, and goes on.

mod breakpoints;
mod machine;
mod memory64;
mod random;
mod resuming;
mod stopping;
mod tail_calls;
