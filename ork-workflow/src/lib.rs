//! Workflows: graphs of tasks, written in YAML and checked before anything runs.
//!
//! A text goes strictly downward: `language` reads it and keeps where everything stands, `check` says everything that is
//! wrong with it, and what is left is a [`Plan`]: plain data, which a run carries and workers read.

mod plan;

pub use plan::{Count, Fan, MOST_TASKS, OnFailure, Plan, Reference, Runs, Source, Step};
