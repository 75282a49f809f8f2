//! Every call of a port is the last one of its process, or fails, or returns late; what was started still ends.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unused_async,
    clippy::disallowed_methods,
    reason = "tests and their tasks: what fails must fail loudly"
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
#[expect(dead_code, reason = "each test program uses its own share of it")]
mod objects;
mod process;
#[path = "../support/proof.rs"]
mod proof;
#[path = "../support/reporting_work.rs"]
mod reporting_work;
#[path = "../support/slow.rs"]
mod slow;
mod tasks;
