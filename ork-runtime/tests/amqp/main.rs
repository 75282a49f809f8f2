//! Whole jobs over a real RabbitMQ, in one process or several, including every way to lose the broker in the middle
//! of them. Each test uses its own prefix on the shared node; a test that harms the node gets a private one.

#![expect(
    unreachable_pub,
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
#[path = "../support/node.rs"]
mod node;
#[path = "../support/objects.rs"]
#[expect(dead_code, reason = "each test program uses another part of it")]
mod objects;
mod other_languages;
mod outages;
mod parts;
#[cfg(feature = "postgres")]
#[path = "../support/postgres.rs"]
#[expect(dead_code, reason = "each test program uses another part of it")]
mod postgres;
mod processes;
#[path = "../support/proxy.rs"]
#[expect(dead_code, reason = "other tests use another part of it")]
mod proxy;
#[path = "../support/rabbit.rs"]
mod rabbit;
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
