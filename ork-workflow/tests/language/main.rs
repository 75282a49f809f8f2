//! The language of workflows: what is said about broken ones, and what the good ones come to.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what fails must fail loudly")]

mod assign;
mod catalog;
mod docs;
mod fuzz;
mod gallery;
mod plans;
mod schedules;
mod seed;
mod support;
mod types;
