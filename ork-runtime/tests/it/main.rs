//! Whole jobs through a whole process: embedded broker, every store, no network. Each file tests one behavior.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unused_async,
    clippy::needless_pass_by_value,
    clippy::disallowed_methods,
    reason = "tests and their tasks: a failure must be loud, and tasks own their inputs"
)]

mod cancel;
mod clock;
#[cfg(feature = "workflow")]
mod compatibility;
mod context;
#[path = "../support/counted.rs"]
#[expect(unreachable_pub, reason = "each test program uses another part of it")]
mod counted;
mod dynamic_splits;
mod events;
mod failures;
mod follows;
mod hooks;
#[path = "../support/hub.rs"]
#[expect(dead_code, unreachable_pub, reason = "each test program uses another part of it")]
mod hub;
mod idle;
#[cfg(feature = "workflow")]
#[path = "../support/installed.rs"]
#[expect(unreachable_pub, reason = "each test program uses another part of it")]
mod installed;
mod large;
mod limits;
mod metrics;
mod no_splits;
#[path = "../support/objects.rs"]
#[expect(unreachable_pub, reason = "each test program uses another part of it")]
mod objects;
mod own_parts;
mod parked;
mod parts;
mod policies;
#[cfg(feature = "postgres")]
#[path = "../support/postgres.rs"]
#[expect(dead_code, unreachable_pub, reason = "each test program uses another part of it")]
mod postgres;
mod processes;
mod resume;
mod retention;
mod rules;
mod schedules;
#[cfg(feature = "constraints")]
mod schemas;
mod shutdown;
mod skew;
mod slots;
mod submit;
mod tasks;
mod trees;
mod unique;
mod unstorable;
mod values;
mod why;
mod workflows;
mod world;
