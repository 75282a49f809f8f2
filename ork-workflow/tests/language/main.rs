//! Tests of the workflow language: the messages for invalid workflows, and the plans of valid ones.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what fails must fail loudly")]

mod catalog;
mod docs;
mod fuzz;
mod gallery;
mod plans;
mod schedules;
mod seed;
mod subtype;
mod support;
mod types;
