//! The [`CallObserver`] trait: receives what a call reports while it runs.

use std::collections::BTreeMap;
use std::fmt;

use tracing::Level;

/// Receives the log lines, measurements and progress of a call while it runs.
///
/// The methods must return at once: the executor calls them while it reads from the process.
pub trait CallObserver: Send + Sync + fmt::Debug {
    /// Receives a line for the log.
    fn log(&self, level: Level, line: &str);

    /// Receives a measurement.
    fn metric(&self, name: &str, value: f64, labels: &BTreeMap<String, String>);

    /// Receives the progress of the call: a percentage from 0 to 100, and a short text about the current activity.
    fn progress(&self, percent: f64, info: &str);
}
