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
use ork_test_support::{clock, counted, hub, installed, objects, postgres};
#[cfg(feature = "workflow")]
mod compatibility;
mod context;
mod dynamic_splits;
mod events;
mod failures;
mod follows;
mod hooks;
mod idle;
mod large;
mod limits;
mod metrics;
mod no_splits;
mod own_parts;
mod parked;
mod parts;
mod policies;
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
