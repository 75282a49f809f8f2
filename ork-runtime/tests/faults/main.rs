//! Every call of a port is the last one of its process, or fails, or returns late; what was started still ends.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unused_async,
    clippy::disallowed_methods,
    reason = "tests and their tasks: what fails must fail loudly"
)]

mod crash;
mod events;
use ork_test_support::{faulty, hub, objects, proof, slow};
mod flows;
mod lost;
mod process;
mod tasks;
