//! The [`Listener`] trait: receives what a call reports while it runs.

use std::collections::BTreeMap;
use std::fmt;

use tracing::Level;

use crate::context::Context;

/// Receives the log lines, measurements and progress of a call while it runs.
///
/// The methods must return at once: the executor calls them while it reads from the process.
pub trait Listener: Send + Sync + fmt::Debug {
    /// Receives a line for the log.
    fn log(&self, level: Level, line: &str);

    /// Receives a measurement.
    fn metric(&self, name: &str, value: f64, labels: &BTreeMap<String, String>);

    /// Receives the progress of the call: a percentage from 0 to 100, and a short text about the current activity.
    fn progress(&self, percent: f64, info: &str);
}

/// Reports of a task in another language are handled as if a Rust task had made them through its context.
impl Listener for Context {
    fn log(&self, level: Level, line: &str) {
        self.log_at(level, line);
    }

    fn metric(&self, name: &str, value: f64, labels: &BTreeMap<String, String>) {
        let labels: Vec<_> = labels.iter().map(|(key, label)| (key.as_str(), label.as_str())).collect();
        self.metrics().record(name, value, &labels);
    }

    fn progress(&self, percent: f64, info: &str) {
        Self::progress(self, percent, info);
    }
}
