//! The model checker: every order in which workers, broker, client and crashes can meet, over the production job, ledger
//! and operations. What is explored is the code itself; `config.rs` has the bounds, `rules.rs` what must hold.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "what fails must fail loudly")]

mod config;
mod explore;
mod mutants;
#[path = "../support/proof.rs"]
mod proof;
mod rules;
mod store;
mod world;
mod worlds;
