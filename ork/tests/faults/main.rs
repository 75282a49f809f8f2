//! Every call of a port is the last one of its process, or fails, or returns late; jobs that were started still end.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unused_async,
    clippy::disallowed_methods,
    reason = "tests and their tasks: a failure must be loud"
)]

mod crash;
mod events;
use ork_test_support::{faulty, hub, objects, proof, slow};
mod lost;
mod process;
mod tasks;
mod workflow_runs;
