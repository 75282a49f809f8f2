//! The model checker: every order in which workers, broker, client and crashes can meet, over the production job,
//! ledger and operations. The code itself is explored; `config.rs` has the bounds, and `rules.rs` the properties.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::redundant_clone,
    clippy::struct_excessive_bools,
    clippy::needless_pass_by_value,
    reason = "tests: a failure must be loud, and results are printed"
)]

mod barrier;
mod config;
mod explore;
mod fixtures;
mod follows;
mod held;
mod leases;
mod mutants;
use ork_test_support::proof;
mod rejections;
mod rules;
mod runs;
mod search;
mod store;
mod world;
mod worlds;
