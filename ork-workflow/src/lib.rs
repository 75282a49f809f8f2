//! Workflows: graphs of tasks, written in YAML and checked before anything runs.
//!
//! A file passes through four stages, and each uses only the results of the stage before it. `yaml` parses the text
//! and keeps the source location of every value. `document` interprets the keys and values of the language. `check`
//! looks up the tasks in a [`Catalog`] and reports all errors together. The result is a [`Plan`]: plain data that is
//! stored with each workflow run and read by the workers. This crate never reads a file, a clock or the environment.
//!
//! ```
//! # #[cfg(feature = "language")] {
//! use ork_workflow::{File, NoCatalog, Style, Workflow};
//!
//! let text = "tasks:\n  discover:\n  process:\n    foreach: discovr.files\n";
//! let workflow = Workflow::read(File::new("daily.yaml", text));
//! let checked = workflow.check(&NoCatalog, None);
//! assert!(checked.plan.is_none());
//!
//! let report = checked.render(workflow.file(), Style::Plain);
//! assert!(report.contains("error[unknown-task]: there is no task `discovr`"));
//! assert!(report.contains("did you mean `discover`?"));
//! # }
//! ```

#[cfg(feature = "language")]
mod catalog;
#[cfg(feature = "language")]
mod check;
#[cfg(feature = "language")]
mod cron;
#[cfg(feature = "language")]
mod diagnostic;
#[cfg(feature = "language")]
mod document;
#[cfg(feature = "language")]
mod editor;
#[cfg(feature = "language")]
mod file;
mod graph;
#[cfg(feature = "language")]
mod notation;
mod plan;
#[cfg(feature = "language")]
mod schedule;
#[cfg(feature = "language")]
mod schema;
#[cfg(feature = "language")]
mod subtype;
#[cfg(feature = "language")]
mod workflow;
#[cfg(feature = "language")]
mod yaml;

#[cfg(feature = "language")]
pub use catalog::{Answer, Catalog, NoCatalog, Signature, Unavailable};
#[cfg(feature = "language")]
pub use check::{Given, Parameters};
#[cfg(feature = "language")]
pub use diagnostic::{Code, Diagnostic, Label, Level, Report, ReportLabel, Style, Suggestion, render};
#[cfg(feature = "language")]
pub use editor::json_schema;
#[cfg(feature = "language")]
pub use file::{File, Position, Span};
pub use graph::{Drawing, draw};
#[cfg(feature = "language")]
pub use notation::show as show_type;
pub use plan::{Count, FanOut, Form, MOST_TASKS, OnFailure, Plan, Reference, Runs, Source, Step, date_of};
#[cfg(feature = "language")]
pub use schedule::{Missed, Overlap, Schedule};
#[cfg(feature = "language")]
pub use subtype::{Mismatch, Type, Verdict, is_subtype};
#[cfg(feature = "language")]
pub use workflow::{Checked, Workflow};
