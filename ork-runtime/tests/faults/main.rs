//! Every call of a port is the last one of its process, or fails, or returns late; jobs that were started still end.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unused_async,
    clippy::disallowed_methods,
    reason = "tests and their tasks: a failure must be loud"
)]

mod crash;
mod events;
#[path = "../support/faulty.rs"]
mod faulty;
mod flows;
#[path = "../support/hub.rs"]
mod hub;
mod lost;
#[path = "../support/objects.rs"]
#[expect(dead_code, reason = "each test program uses another part of it")]
mod objects;
mod process;
#[path = "../support/proof.rs"]
mod proof;
#[path = "../support/reporting_work.rs"]
mod reporting_work;
#[path = "../support/slow.rs"]
mod slow;
mod tasks;
