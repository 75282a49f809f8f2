//! Who hears what a call says while it runs.

use std::collections::BTreeMap;
use std::fmt;

use tracing::Level;

use crate::context::Context;

/// Hears what a call says while it runs. Its methods return at once.
pub trait Listener: Send + Sync + fmt::Debug {
    /// A line for the log.
    fn log(&self, level: Level, line: &str);

    /// A measurement.
    fn metric(&self, name: &str, value: f64, labels: &BTreeMap<String, String>);

    /// How far it has come, from 0 to 100, with a word about what is going on.
    fn progress(&self, percent: f64, info: &str);
}

/// What a task in another language says is told as if a function of this program had said it.
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
