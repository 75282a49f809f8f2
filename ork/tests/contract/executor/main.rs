//! Tasks in other languages, with real interpreters and real programs: their results and errors, and that no process
//! is left.
//!
//! The tests read the state of processes from `/proc`, so they run on Linux only.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "these are tests: a failure must be loud"
)]

use ork_test_support::{clock, installed};
mod errors;
mod pools;
mod programs;
mod protocol;
mod seed;
mod stop;
mod types;
mod world;
