//! A job queue for Rust: annotate a function with `#[task]`, and ork runs it in the background, in one process or on
//! many machines. It can split a job into parts, and call a function with all results once the last part has ended.
//!
//! Functions are executed at least once, and their outcomes are recorded exactly once: in the transaction that also
//! records what follows. If a worker dies before this commit, the function is called again.
//! [`Context::idempotency_key`] is the same in all of these calls, so an external system can discard repeated requests.
//!
//! # Contents
//!
//! - [A first program](#a-first-program)
//! - [Tasks and their inputs](#tasks-and-their-inputs)
//! - [Splitting and joining](#splitting-and-joining)
//! - [Errors and retries](#errors-and-retries)
//! - [Submitting jobs](#submitting-jobs)
//! - [Workers](#workers)
//! - [State of the application](#state-of-the-application)
//! - [Testing](#testing)
//! - [Workflows and schedules](#workflows-and-schedules)
//! - [Features](#features)
//! - [Versions](#versions)
//!
//! # A first program
//!
//! ```no_run
//! use ork::task;
//!
//! /// Greets a person.
//! #[task]
//! fn hello(name: String) -> String {
//!     format!("hello {name}")
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     ork::main()
//! }
//! ```
//!
//! [`main`] is a command line: `cargo run -- run hello name=Ada` runs a job to its end, `cargo run -- worker` starts a
//! worker, and `cargo run -- submit hello name=Ada --wait` submits a job to it. Jobs are stored in an `SQLite` file;
//! `ORK_STORE`, `ORK_BROKER` and other settings ([`Config`]) lead to PostgreSQL and RabbitMQ.
//!
//! # Tasks and their inputs
//!
//! The parameters of a function are the inputs of its task. They are sent as JSON, so a type of your own derives
//! `Serialize` and `Deserialize` (from `serde`) and `JsonSchema` (from `schemars`). An `Option` may be left out. The
//! attribute adds a struct with the name of the function, the message of the task:
//!
//! ```
//! use ork::task;
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Serialize, Deserialize, JsonSchema)]
//! struct Size {
//!     width: u32,
//!     height: u32,
//! }
//!
//! /// Resizes a picture.
//! #[task(timeout = "1m", concurrency = 8)]
//! fn resize(path: String, size: Size) -> String {
//!     format!("{path} has {} pixels", size.width * size.height)
//! }
//!
//! let message = resize { path: "a.png".into(), size: Size { width: 4, height: 3 } };
//! # let _ = message.path;
//! assert_eq!(resize("a.png".into(), Size { width: 4, height: 3 }), "a.png has 12 pixels");
//! ```
//!
//! Plain functions run on threads and may block; `async` functions share the threads of the runtime. The options of
//! [`task`](macro@task) set names, queues, priorities, retries, timeouts, concurrency limits and unique keys.
//!
//! Inputs must also meet the constraints of their schema: if a field has `#[schemars(range(min = 1))]`, `length`,
//! `regex` or the like, a value that violates the constraint is rejected like a value of the wrong type, whatever its
//! source. A `format` is only an annotation. These checks need the feature `constraints`; without it, a program with
//! such an input does not start.
//!
//! # Splitting and joining
//!
//! A function with `#[task(part)]` and the suffix `_part` splits a job: it yields the messages of the parts. Parts run
//! on all workers, in any order. When the last one has ended, the function with `#[task(join)]` is called with the
//! outcomes of all [`Parts`], and what it returns is the result of the job:
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
//! ork.spawn_worker();
//! let book = words_part { chapters: vec!["one two".into(), "three".into()] };
//! assert_eq!(ork.submit(book).result().await?, 3);
//! ork.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! A split is an iterator or a stream; its parts are stored in pages, so it may yield millions. By default the job
//! fails if a part fails, after all of them have ended; the options `on_error` and `tolerate` change that. A task can
//! also split itself while it runs, with [`Context::split_into`].
//!
//! # Errors and retries
//!
//! A task may return a [`Result`]. Any error fails the attempt, and the option `retries` says how many further attempts
//! there are; `backoff` is the delay before the first of them, which doubles each time. [`Error::permanent`] ends the
//! job at once, and [`Error::retry_after`] sets the delay of the next attempt. A panic and a timeout count as errors.
//!
//! ```
//! use ork::{Error, Result, task};
//!
//! #[task(retries = 5, backoff = "2s")]
//! async fn pay(amount: i64) -> Result<String> {
//!     if amount <= 0 {
//!         return Err(Error::permanent(format!("cannot pay {amount}")));
//!     }
//!     Ok(format!("paid {amount}"))
//! }
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # assert!(runtime.block_on(pay(-1)).is_err());
//! ```
//!
//! # Submitting jobs
//!
//! [`builder`] makes a process that is a [`Client`]. Awaiting [`Client::submit`] stores the job and returns a
//! [`Handle`]; [`wait`](Handle::wait) returns how the job ended, [`result`](Handle::result) its value:
//!
//! ```
//! # use ork::task;
//! # #[task] fn welcome(name: String) -> String { format!("hello {name}") }
//! # #[task] fn note(text: String) { println!("{text}"); }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ork = ork::builder().store("memory:").build().await?;
//! ork.spawn_worker();
//! let job = ork.submit(welcome { name: "Ada".into() }).await?;
//! assert_eq!(job.result().await?, "hello Ada");
//!
//! let next = ork
//!     .submit(welcome { name: "Grace".into() })
//!     .after(job.id())
//!     .unique("welcome Grace")
//!     .on_success(note { text: "Grace is here".into() });
//! assert_eq!(next.result().await?, "hello Grace");
//! ork.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! A running task submits child jobs with [`Context::submit`]; the parent ends after them. [`Client::why`] explains in
//! one sentence what a job waits for, and [`Client::events`] is a stream of what happens.
//!
//! # Workers
//!
//! [`Ork::spawn_worker`] starts a worker in this process, [`Ork::run_worker`] runs one until it is stopped, and the
//! command `worker` does the same with signals: the first one lets running calls finish, the second one stops them, and
//! their work goes back to the queue. Without a broker, workers that share a store share its jobs.
//!
//! A cancelled call learns of it by [`Context::cancelled`] and may continue for the time `cancel_grace`; an `async`
//! function that has not returned by then is dropped. One that exceeds its timeout is dropped at once.
//!
//! # State of the application
//!
//! A parameter [`State<T>`](State) receives a value that was given to the builder, such as a pool of connections:
//!
//! ```standalone_crate
//! use ork::{State, task};
//!
//! struct Greeting(&'static str);
//!
//! #[task]
//! fn salute(greeting: State<Greeting>, name: String) -> String {
//!     format!("{} {name}", greeting.0)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ork = ork::builder().store("memory:").state(Greeting("good morning")).build().await?;
//! ork.spawn_worker();
//! assert_eq!(ork.submit(salute { name: "Ada".into() }).result().await?, "good morning Ada");
//! ork.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! # Testing
//!
//! An annotated function stays an ordinary function. [`Context::for_test`], [`Parts::for_test`] and [`State::for_test`]
//! make the special parameters:
//!
//! ```
//! use ork::{Context, Parts, Result, task};
//!
//! #[task]
//! fn triple(n: u64, context: Context) -> u64 {
//!     n * 3 * u64::from(context.attempt())
//! }
//!
//! fn sum(parts: Parts<u64>) -> Result<u64> {
//!     parts.all_ok()?.into_iter().sum()
//! }
//!
//! assert_eq!(triple(4, Context::for_test()), 12);
//! assert_eq!(sum(Parts::for_test([Ok(1), Ok(2)])).unwrap(), 3);
//! ```
//!
//! A test of whole jobs builds a process with the store `memory:`, as above.
//!
//! # Workflows and schedules
//!
//! With the feature `workflow`, a YAML file combines tasks, functions in Python files and other programs into a graph.
//! It is checked against the types of the tasks before anything runs, by the command `check`, and with [`workflow!`]
//! when the program is compiled. [`Client::workflows`] runs them from code, and [`Client::schedules`] starts jobs at
//! the times of a cron expression.
//!
//! # Features
//!
//! | feature | by default | provides |
//! |---|---|---|
//! | `sqlite` | yes | the `SQLite` store |
//! | `amqp` | yes | RabbitMQ as the broker |
//! | `cli` | yes | [`main`], the command line |
//! | `postgres` | no | the PostgreSQL store |
//! | `tls` | no | `amqps://` URLs, and encrypted connections to PostgreSQL |
//! | `workflow` | no | workflows, tasks in Python, schedules |
//! | `constraints` | no | checks of the ranges, lengths and patterns of inputs |
//! | `object-store` | no | large outputs in a folder |
//! | `s3` | no | large outputs in an S3 bucket |
//!
//! # Versions
//!
//! ork follows semantic versioning for the items of this crate that are documented here. The crates `ork-core`,
//! `ork-ports`, `ork-runtime` and the adapters, which it is made of, may change in any release.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod adapters;

/// The items that most files with tasks import.
///
/// ```
/// use ork::prelude::*;
///
/// #[task(retries = 2)]
/// fn double(n: u64, context: Context) -> Result<u64> {
///     n.checked_mul(2).ok_or_else(|| Error::permanent(format!("{n} is too large, in attempt {}", context.attempt())))
/// }
/// # assert_eq!(double(4, Context::for_test()).unwrap(), 8);
/// ```
pub mod prelude {
    pub use crate::{Context, Error, Parts, Result, State, task};
}

pub use ork_macros::task;
#[cfg(feature = "workflow")]
pub use ork_macros::workflow;
#[doc(hidden)]
pub use ork_runtime::__private;
pub use ork_runtime::app::{BuildError, Ork, OrkBuilder, WorkerHandle};
#[cfg(feature = "workflow")]
pub use ork_runtime::app::{EmbeddedWorkflow, WorkflowError};
pub use ork_runtime::broker::{BrokerError, BrokerErrorKind};
pub use ork_runtime::client::{
    Client, ClientError, ClientErrorKind, Handle, JobOutcome, RunStatus, Status, StepStatus, Submission, Unique,
    WaitsFor, Why, Workflows,
};
#[cfg(feature = "workflow")]
pub use ork_runtime::client::{ScheduleStatus, Schedules};
pub use ork_runtime::clock::{Clock, Timestamp};
pub use ork_runtime::config::{
    Config, ConfigError, KEYS as CONFIG_KEYS, Key as ConfigKey, QueueType, Source, Synchronous,
};
pub use ork_runtime::context::{Context, Metrics, Progress};
pub use ork_runtime::event::{EndedParts, Event, EventKind, EventScope};
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
