//! Workflows: graphs of tasks, written in YAML and checked before anything runs.
//!
//! A text goes strictly downward. `yaml` reads it and keeps where everything stands, `document` knows the words of the
//! language, `check` looks tasks up in a [`Catalog`] and says everything that is wrong, and what is left is a [`Plan`]:
//! plain data, which a run carries and workers read. Nothing here reads a file, a clock or the environment.
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
//! let said = checked.render(workflow.file(), Style::Plain);
//! assert!(said.contains("error[unknown-task]: there is no task `discovr`"));
//! assert!(said.contains("did you mean `discover`?"));
//! # }
//! ```

#[cfg(feature = "language")]
mod assign;
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
mod workflow;
#[cfg(feature = "language")]
mod yaml;

#[cfg(feature = "language")]
pub use assign::{Type, Verdict, Why, assignable};
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
pub use plan::{Count, Fan, Form, MOST_TASKS, OnFailure, Plan, Reference, Runs, Source, Step, date_of};
#[cfg(feature = "language")]
pub use schedule::{Missed, Overlap, Schedule};
#[cfg(feature = "language")]
pub use workflow::{Checked, Workflow};
