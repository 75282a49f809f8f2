//! What must be true once all jobs have ended: their final states, what clients have learned, what follows them, and
//! what is left.

use ork::{FailureKind, Filter, JobState};
use ork_ports::store::PendingOutbox;

use super::client::Answer;
use super::ends::wanted;
use super::expected::Expected;
use super::names::{Property, Reached};
use super::tasks::Script;
use super::workload::Job;
use super::world::World;

impl World {
    /// Compares the final states, and what the client has learned, with what the scripts say.
    pub(crate) fn audit(&self) {
        if self.oracle(|oracle| oracle.fault().is_some()) {
            return;
        }
        self.check_outbox();
        let submitted = self.clients.submitted.lock().unwrap().clone();
        for (number, job) in self.scenario.acts.iter().filter_map(|(_, act)| act.submits()) {
            if let Job::Set(scripts) = job
                && self.has_store()
                && self.server.is_some()
                && self.scenario.retention == 0
                && self.scenario.max_losses == 0
                && !self.scenario.may_forget_sets()
            {
                self.check_followers(number, scripts.iter().all(Script::succeeds));
            }
            let Some(submitted) = submitted.get(&number) else { continue };
            if let Job::Together(scripts) = job
                && self.scenario.retention == 0
            {
                let most = usize::try_from(submitted.tries).unwrap_or(usize::MAX);
                self.check_together(number, scripts, (usize::from(submitted.id.is_some()), most));
            }
            let Some(id) = submitted.id else { continue };
            let Some(view) = self.truth(|tables| tables.job(id)) else {
                if self.scenario.retention > 0 && self.oracle(|oracle| oracle.ended.contains_key(&id)) {
                    continue;
                }
                self.oracle(|oracle| oracle.report(Property::Kept, format!("job {number} is gone")));
                continue;
            };
            let is_taken_over = self.oracle(|oracle| oracle.taken_over.contains(&id));
            let expected = if submitted.controlled || is_taken_over { Expected::Any } else { job.expected() };
            let state = view.job.state;
            let lost = view.job.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Lost);
            let deaths = self.oracle(|oracle| oracle.deaths_of(id));
            let most = self.scenario.most_losses();
            let has_lost = match job {
                Job::Many(_) | Job::Itself(_) => deaths > most,
                // The lost calls are those of jobs below it.
                Job::Tree(..) | Job::Flow(_) => self.oracle(|oracle| oracle.has_deaths_beyond(most)),
                _ => lost,
            };
            if has_lost && !matches!(state, JobState::Succeeded) {
                self.oracle(|oracle| oracle.excuses("a job that failed as calls of it were lost"));
            }
            // A split may die before its function is called, which only the store can see.
            if lost && deaths <= most && !matches!(job, Job::Many(_) | Job::Itself(_)) {
                let detail = format!("job {number} failed as lost, of {deaths} calls that died");
                self.oracle(|oracle| oracle.report(Property::Losses, detail));
            }
            if state == JobState::Failed && self.oracle(|oracle| oracle.ends.hindered.contains(&id)) {
                self.oracle(|oracle| {
                    oracle.excuses("a job that failed as the store refused what its functions requested");
                });
                continue;
            }
            let output = self.output(view.output.clone());
            if !has_lost && !expected.holds(state, output.as_deref()) {
                let detail = format!("job {number} {id} is {state} with {output:?}, not {expected:?}");
                self.oracle(|oracle| oracle.report(Property::Outcome, detail));
            }
            if let Job::Hooked(_) = job
                && !submitted.controlled
                && self.scenario.retention == 0
            {
                if self.clients.may_be_doubled(number) {
                    self.oracle(|oracle| oracle.excuses("followers of a job that may have been submitted twice"));
                    continue;
                }
                self.check_followers(number, state == JobState::Succeeded);
            }
            if let Some(Answer::Ended(outcome)) = &submitted.outcome
                && !submitted.controlled
                && outcome.status().state != state
            {
                let detail = format!("a client learned that job {number} is {}", outcome.status().state);
                self.oracle(|oracle| oracle.report(Property::Client, detail));
            }
        }
    }

    /// Checks that each follower of a job was submitted once, and nothing else.
    fn check_followers(&self, number: u64, well: bool) {
        let filter = Filter { limit: usize::MAX, task: Some("next".into()), ..Filter::default() };
        let views = self.truth(|tables| tables.jobs(&filter));
        for when in ["always", "success", "failure"] {
            let wanted = wanted(well).contains(&when);
            let input = format!("{{\"of\":{number},\"when\":\"{when}\"}}");
            let found = views.iter().filter(|view| view.input == input.as_bytes()).count();
            if found == usize::from(wanted) {
                self.oracle(|oracle| oracle.reaches(Reached::FollowersCompared));
                continue;
            }
            if found == 0 && self.scenario.loses_messages() {
                // Until a worker has started it, only its queue has it.
                self.oracle(|oracle| oracle.excuses("a follower lost with its message"));
                continue;
            }
            let how = if well { "well" } else { "badly" };
            let detail = format!("{number} has ended {how}, and is followed {found} times as {when}");
            self.oracle(|oracle| oracle.report(Property::Followers, detail));
        }
    }

    /// Checks that no row of any job is left in the outbox, as all jobs have ended.
    fn check_outbox(&self) {
        let filter = Filter { limit: usize::MAX, ..Filter::default() };
        for view in self.truth(|tables| tables.jobs(&filter)) {
            let id = view.job.id;
            let pending = self.truth(|tables| tables.diagnostics(id)).outbox;
            if self.scenario.undoes() && pending != PendingOutbox::default() {
                // The removal of the row was undone; the row goes with its process at the latest.
                self.oracle(|oracle| oracle.excuses("a row whose removal was undone"));
            } else if pending != PendingOutbox::default() {
                let detail = format!("{} {id} has ended, and {pending:?} is left", view.job.task);
                self.oracle(|oracle| oracle.report(Property::Left, detail));
            }
        }
    }
}
