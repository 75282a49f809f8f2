//! Tests that every store must pass. A change of the port starts here.
#![cfg(all(feature = "postgres", feature = "sqlite"))]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "these are tests"
)]

mod commits;
use ork_test_support::{counted, postgres, proxy};
mod cut_off;
mod diagnostics;
mod disk;
mod dynamic_splits;
mod files;
mod follows;
mod heartbeats;
mod idle;
mod leases;
mod limits;
mod losses;
mod metrics;
mod outages;
mod outbox;
mod output_refs;
mod parts;
mod processes;
mod prune;
mod rejections;
mod schemas;
mod servers;
mod standby;
mod trees;
mod tx;
mod unattended;
mod views;
mod world;
