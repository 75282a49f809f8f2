//! Writes the log of the code under test to the trace; a line of level `ERROR` is a fault.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::names::{Property, Reached};
use super::world::World;

/// Receives the log lines of a run on this thread.
pub(crate) struct LogToTrace {
    pub(crate) world: Arc<World>,
    pub(crate) spans: AtomicU64,
}

struct LogLine(String);

impl Visit for LogLine {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
        written.unwrap();
    }
}

impl Subscriber for LogToTrace {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG && metadata.target().starts_with("ork")
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = LogLine(String::new());
        event.record(&mut line);
        let (owner, level) = (self.world.executor.polled(), *event.metadata().level());
        if level <= Level::INFO {
            self.world.note(owner, format_args!("log    {level} {}", line.0));
        }
        if line.0.starts_with("the broker lost a message of this job")
            && let Some(job) = line.0.split_whitespace().find_map(|word| word.strip_prefix("job=")?.parse().ok())
        {
            let (loses, now) = (self.world.scenario.loses_messages(), self.world.executor.now());
            let holder = self.world.server.as_ref().and_then(|server| server.holder(job));
            self.world.oracle(|oracle| {
                let is_lost = loses || holder.is_some_and(|holder| oracle.is_silent(holder, now));
                oracle.sent_again(job, is_lost);
            });
        }
        if line.0.starts_with("cancelling a stale job to take over")
            && let Some(job) = line.0.split_whitespace().find_map(|word| word.strip_prefix("job=")?.parse().ok())
        {
            self.world.is_taken_over(job);
        }
        if line.0.starts_with("input parked") {
            self.world.oracle(|oracle| oracle.reaches(Reached::Parked));
        }
        if line.0.starts_with("leased long work and acknowledged its delivery") {
            self.world.oracle(|oracle| oracle.reaches(Reached::AcknowledgedForLease));
        }
        // A message that arrives after retention has removed its job starts that job again.
        let is_of_hook = level == Level::ERROR && line.0.starts_with("cannot send a hook");
        let is_known = is_of_hook && (self.world.scenario.retention > 0 || self.world.reports_returned_hook());
        let is_damage = line.0.starts_with("the store is damaged or too new")
            && self.world.oracle(|oracle| oracle.has_met_damage(owner));
        if level == Level::ERROR && !is_known && !is_damage {
            self.world.oracle(|oracle| oracle.report(Property::Error, line.0));
        }
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
