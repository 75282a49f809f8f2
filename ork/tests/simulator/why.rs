//! Compares what a job is reported to wait for with the state of the store.

use std::sync::Arc;

use ork::{JobId, JobState, Ork, WaitsFor};
use ork_ports::store::{JobDiagnostics, JobView};

use super::names::{Property, Reached};
use super::world::World;

impl World {
    /// Calls `why` for a job. If nothing changed meanwhile, the report must be true.
    pub(crate) async fn ask_why(self: &Arc<Self>, ork: &Ork, id: JobId) {
        let before = self.snapshot(id);
        let report = ork.why(id).await;
        let (after, now) = (self.snapshot(id), self.executor.now());
        let (Ok(why), Some((view, situation))) = (report, after.clone()) else { return };
        if before != after {
            return;
        }
        self.oracle(|oracle| oracle.reaches(Reached::WhyCompared));
        let (state, pending) = (view.job.state, &situation.outbox);
        let wants_permit = pending.limit.as_ref().is_some_and(|(limit, _)| limit.permits > 0);
        let is_called = self.oracle(|oracle| oracle.is_called(id, now));
        let is_true = match why.waits_for {
            WaitsFor::Nothing => state.is_final(),
            WaitsFor::Permit => wants_permit,
            WaitsFor::Job => !situation.follows.is_empty() || pending.limit.is_some(),
            WaitsFor::Time => pending.later > 0 || view.job.due.is_some(),
            WaitsFor::Run | WaitsFor::Split => state == JobState::Running,
            WaitsFor::Parts => state == JobState::Waiting && view.counts.settled() < view.head.appended,
            WaitsFor::Children => view.job.tree.open_children > 0,
            WaitsFor::Worker | WaitsFor::Broker => !is_called,
            _ => true,
        };
        if why.state != state || !is_true {
            let detail =
                format!("{id}, which is {state}, is reported to be {} and to wait for {:?}", why.state, why.waits_for);
            self.oracle(|oracle| oracle.report(Property::Why, format!("{detail}: {}", why.sentence)));
        }
    }

    fn snapshot(&self, id: JobId) -> Option<(JobView, JobDiagnostics)> {
        self.truth(|tables| Some((tables.job(id)?, tables.diagnostics(id))))
    }
}
