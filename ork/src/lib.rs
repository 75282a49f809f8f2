//! A task framework: annotate a function with `#[task]`, split a job into parts, and join them when the last one has
//! ended.
//!
//! Functions are executed at least once. Their outcomes are recorded exactly once, in the transaction that also
//! records what follows. If a worker dies before this commit, the function is called again.
//! [`Context::idempotency_key`] is the same in all of these calls, so an external system can discard repeated
//! requests.
//!
//! ```
//! use ork::{Parts, task};
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
//! let ork = ork::builder().store("memory:").build().await?;
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
//! like a value of the wrong type, whatever its source. A `format` is only an annotation. These checks need the
//! feature `constraints`; without it, a program with such an input does not start.

mod adapters;

pub use ork_macros::task;
#[cfg(feature = "workflow")]
pub use ork_macros::workflow;
#[doc(hidden)]
pub use ork_runtime::__private;
pub use ork_runtime::app::{BuildError, Ork, OrkBuilder};
#[cfg(feature = "workflow")]
pub use ork_runtime::app::{EmbeddedWorkflow, WorkflowError};
pub use ork_runtime::broker::{BrokerError, BrokerErrorKind};
#[cfg(feature = "workflow")]
pub use ork_runtime::client::ScheduleStatus;
pub use ork_runtime::client::{
    Client, ClientError, Handle, JobOutcome, RunStatus, Status, StepStatus, Submission, WaitsFor, Why,
};
pub use ork_runtime::clock::{Clock, Timestamp};
pub use ork_runtime::config::{
    Config, ConfigError, KEYS as CONFIG_KEYS, Key as ConfigKey, QueueType, Source, Synchronous,
};
pub use ork_runtime::context::{Context, Metrics, Progress};
pub use ork_runtime::event::{EndedParts, Event, EventKind};
pub use ork_runtime::failure::{Failure, FailureKind};
pub use ork_runtime::id::{Fingerprint, JobId, ParseFingerprintError, ParseJobIdError, SchemaIds, WorkerId};
pub use ork_runtime::job::State as JobState;
pub use ork_runtime::ledger::{Counts, PartState};
pub use ork_runtime::metric::Metric;
pub use ork_runtime::objects::{ObjectError, ObjectErrorKind};
pub use ork_runtime::policy::{OnError, ParseTolerateError, Policy, Tolerate};
pub use ork_runtime::registry::{Registry, RegistryError, Task, UnknownTask};
pub use ork_runtime::retry::RetryPolicy;
pub use ork_runtime::schema;
pub use ork_runtime::store::{Filter, PartFilter, PartStatus, StoreError, StoreErrorKind};
pub use ork_runtime::task::parts::{Outcome, PartStream};
pub use ork_runtime::task::{Conclusion, ConclusionOutcome, Error, Next, Parts, Result, State};
pub use ork_runtime::tree::CancelMode;
pub use ork_runtime::worker::Stopped;
pub use ork_runtime::workflow_run::StepState;
pub use ork_workflow as workflow;

/// Returns a builder of a process, which reads the environment and `ork.toml` and lets code override them.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ork = ork::builder().store("memory:").build().await?;
/// ork.shutdown().await;
/// # Ok(()) }
/// ```
pub fn builder() -> OrkBuilder {
    OrkBuilder::new(adapters::ADAPTERS)
}

/// Runs the command line of this program, and returns its exit code.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     ork::main()
/// }
/// ```
///
/// | code | when |
/// | --- | --- |
/// | 0 | success |
/// | 1 | the job failed or was cancelled, or schemas are incompatible |
/// | 2 | the command line or an input is wrong |
/// | 3 | the configuration or the tasks are wrong |
/// | 4 | the store or the broker cannot be used, or the output cannot be written |
/// | 5 | an internal error |
/// | 130 | the command was interrupted |
///
/// If tasks take a state, call [`main_with`] instead.
#[cfg(feature = "cli")]
pub fn main() -> std::process::ExitCode {
    main_with(builder())
}

/// Runs the command line of this program, as [`main`] does, with the states and settings of this builder.
///
/// ```no_run
/// struct Greeting(&'static str);
///
/// fn main() -> std::process::ExitCode {
///     ork::main_with(ork::builder().state(Greeting("hello")))
/// }
/// ```
#[cfg(feature = "cli")]
pub fn main_with(builder: OrkBuilder) -> std::process::ExitCode {
    ork_cli::main(builder)
}

/// The documents, so that `cargo test` compiles and runs their examples.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    mod readme {}
    #[doc = include_str!("../../docs/one-message.md")]
    mod one_message {}
    #[doc = include_str!("../../docs/production.md")]
    mod production {}
    #[doc = include_str!("../../docs/style.md")]
    mod style {}
    #[doc = include_str!("../../docs/tutorial.md")]
    mod tutorial {}
}
