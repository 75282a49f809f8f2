//! A task framework: annotate a function with `#[task]`, split a job into parts, and join them when the last one has
//! ended.
//!
//! Functions are executed at least once. Their outcomes are recorded exactly once, in the transaction that also
//! records what follows. If a worker dies before this commit, the function is called again.
//! [`Context::idempotency_key`] is the same in all of these calls, so an external system can discard repeated
//! requests.
//!
//! ```
//! use ork::{Ork, Parts, task};
//!
//! /// Counts the words of one text.
//! #[task]
//! fn words(text: String) -> usize {
//!     text.split_whitespace().count()
//! }
//!
//! /// Splits a book into its chapters.
//! #[task(part)]
//! fn words_part(chapters: Vec<String>) -> impl Iterator<Item = words> {
//!     chapters.into_iter().map(|text| words { text })
//! }
//!
//! /// Joins the parts, once every chapter is counted.
//! #[task(join)]
//! fn words_join(parts: Parts<usize>) -> ork::Result<usize> {
//!     parts.all_ok()?.into_iter().sum()
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ork = Ork::builder().store("memory:").build().await?;
//! ork.start_worker();
//! let book = words_part { chapters: vec!["one two".into(), "three".into()] };
//! assert_eq!(ork.submit(book).and_wait().await?, 3);
//! ork.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! # Inputs
//!
//! Inputs are JSON that serde reads. They must also meet the constraints of their schema: if a field has
//! `#[schemars(range(min = 1))]`, `length`, `regex` or the like, a value that violates the constraint is rejected
//! like a value of the wrong type, whatever its source. A `format` is only an annotation. The feature `constraints`,
//! which is on by default, enables these checks; without it only types are checked.
//!
//! # Modules
//!
//! The modules are listed in the order of their layers, and each of them depends only on its own layer and those
//! above it in the list. A good place to start reading is `engine::process`, which handles one delivery. The public
//! modules are interfaces for adapters and tests. They are documented, but may change in any release.

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

// 0 data and pure functions; no tokio, no I/O.
pub mod clock;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use ork_core::document;
#[doc(hidden)]
pub use ork_core::mutant;
pub use ork_core::{
    barrier, event, hook, job, ledger, message, metric, output, role, schedule, tree, tx, workflow_run,
};
use ork_core::{failure, id, policy, retry};
// 1 tasks
pub mod context;
mod registry;
pub mod schema;
pub mod task;
// 2 ports, and the pure transactions that stores apply.
pub mod broker;
pub mod entropy;
pub mod executor;
pub mod objects;
pub mod runtime;
pub mod store;
// 3 engine: handles one delivery.
mod engine;
// 4 services: long-running loops.
mod client;
mod supervisor;
mod worker;
// 6 app: the only place that chooses adapters, and the only reader of the environment.
mod app;
mod config;
// 7 surfaces
#[cfg(feature = "cli")]
mod cli;

#[cfg(feature = "workflow")]
pub use app::EmbeddedWorkflow;
#[cfg(feature = "workflow")]
pub use app::WorkflowError;
pub use app::{BuildError, Ork, OrkBuilder};
#[cfg(feature = "workflow")]
pub use client::ScheduleStatus;
pub use client::{Client, ClientError, Handle, JobOutcome, RunStatus, Status, Submission, TaskStatus, WaitsFor, Why};
pub use clock::{Clock, Timestamp};
pub use config::{Config, ConfigError, KEYS as CONFIG_KEYS, Key as ConfigKey, QueueType, Source, Synchronous};
pub use context::{Context, Metrics, Progress};
pub use event::{EndedParts, Event, EventKind};
pub use failure::{Failure, FailureKind};
pub use id::{Fingerprint, JobId, ParseFingerprintError, ParseJobIdError, SchemaIds, WorkerId};
pub use job::State as JobState;
pub use ledger::{Counts, PartState};
pub use metric::Metric;
#[doc(inline)]
pub use ork_macros::task;
#[cfg(feature = "workflow")]
#[doc(inline)]
pub use ork_macros::workflow;
pub use ork_workflow as workflow;
pub use policy::{OnError, ParseTolerateError, Policy, Tolerate};
pub use registry::{Registry, RegistryError, Task, UnknownTask};
pub use retry::RetryPolicy;
pub use store::{Filter, PartFilter, PartStatus};
pub use task::parts::{Outcome, PartStream};
pub use task::{Conclusion, Error, Next, Parts, Result, Said, State};
pub use worker::Stopped;
pub use workflow_run::StepState;

#[cfg(feature = "cli")]
pub use cli::main;

/// The documents, so that `cargo test` compiles and runs their examples.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    mod readme {}
    #[doc = include_str!("../../docs/one-message.md")]
    mod one_message {}
    #[doc = include_str!("../../docs/style.md")]
    mod style {}
}
