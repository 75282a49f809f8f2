//! Helpers that the tests and benchmarks of several crates share: servers that they start, and adapters that fail on
//! purpose.

#![expect(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "this is part of tests, where what fails must fail loudly"
)]

pub mod clock;
pub mod cluster;
pub mod counted;
pub mod faulty;
pub mod hook_fragments;
pub mod hub;
pub mod installed;
pub mod node;
pub mod objects;
pub mod ports;
pub mod postgres;
pub mod proof;
pub mod proxy;
pub mod rabbit;
pub mod raw;
pub mod reporting_work;
pub mod slow;
