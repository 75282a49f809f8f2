//! What a job is said to wait for is compared with what is so.

use std::sync::Arc;

use ork::store::{JobDiagnostics, JobView};
use ork::{JobId, JobState, Ork, WaitsFor};

use super::names::{Property, Reached};
use super::world::World;

impl World {
    /// Asks why a job is where it is. If nothing changed meanwhile, the answer must be true.
    pub(crate) async fn ask_why(self: &Arc<Self>, ork: &Ork, id: JobId) {
        let before = self.known_of(id);
        let answer = ork.why(id).await;
        let (after, now) = (self.known_of(id), self.executor.now());
        let (Ok(why), Some((view, situation))) = (answer, after.clone()) else { return };
        if before != after {
            return;
        }
        self.oracle(|oracle| oracle.reaches(Reached::WhyCompared));
        let (state, owed) = (view.job.state, &situation.to_send);
        let wants_permit = owed.limit.as_ref().is_some_and(|(limit, _)| limit.permits > 0);
        let is_called = self.oracle(|oracle| oracle.is_called(id, now));
        let is_true = match why.waits_for {
            WaitsFor::Nothing => state.is_final(),
            WaitsFor::Permit => wants_permit,
            WaitsFor::Job => !situation.follows.is_empty() || owed.limit.is_some(),
            WaitsFor::Time => owed.later > 0 || view.job.due.is_some(),
            WaitsFor::Run | WaitsFor::Split => state == JobState::Running,
            WaitsFor::Parts => state == JobState::Waiting && view.counts.settled() < view.head.appended,
            WaitsFor::Children => view.job.tree.open_children > 0,
            WaitsFor::Worker | WaitsFor::Broker => !is_called,
            _ => true,
        };
        if why.state != state || !is_true {
            let words =
                format!("{id}, which is {state}, is said to be {} and to wait for {:?}", why.state, why.waits_for);
            self.oracle(|oracle| oracle.report(Property::Why, format!("{words}: {}", why.sentence)));
        }
    }

    fn known_of(&self, id: JobId) -> Option<(JobView, JobDiagnostics)> {
        self.truth(|tables| Some((tables.job(id)?, tables.diagnostics(id))))
    }
}
