//! Whole jobs over a real RabbitMQ, in one process or several, including every way to lose the broker in the middle
//! of them. Each test uses its own prefix on the shared node; a test that harms the node gets a private one.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unused_async,
    clippy::needless_pass_by_value,
    reason = "tests and their tasks: a failure must be loud, and tasks own their inputs"
)]

mod duplicate_messages;
mod duplicate_splits;
mod dynamic_splits;
mod events;
mod foreign;
mod held;
mod jobs;
mod large;
mod late_replies;
mod leases;
mod limits;
mod losses;
mod lost;
use ork_test_support::{node, objects, postgres, proxy, rabbit};
mod other_languages;
mod outages;
mod parts;
mod processes;
mod races;
#[cfg(feature = "sqlite")]
mod rejections;
mod schemas;
mod storeless;
mod stores;
mod tasks;
mod trees;
mod unknown;
mod waits;
mod workflows;
mod world;
