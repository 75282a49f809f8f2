//! Messages that a worker cannot run: rejecting one ends the work that it requests, unless a live process does
//! that work.

use ork::JobState;
use ork_core::job::Phase;
use ork_core::tx::{JobRejection, PartAttemptOutcome, RejectJob};

use super::config::{Config, Mutant};
use super::rules::{Flaw, Step};
use super::world::{Request, World, by, failure, new_job};

impl World {
    /// A worker that does not know the task, or has tighter limits, rejects a message.
    pub(crate) fn refuse(&mut self, config: &Config, worker: usize, msg: usize) {
        let msg = self.bag.remove(msg);
        if let Request::Part { epoch, index, .. } = msg.request {
            let how = PartAttemptOutcome::Failed { failure: failure(), retry_at: None };
            self.settle_parts(config, (worker, false), (epoch, msg.attempt), vec![(index, how)]);
        } else {
            let phase = if msg.request == Request::Join { Phase::Join } else { Phase::Start };
            let lives = self.workers.iter().any(|worker| worker.owner);
            let owner = self.seen.job.as_ref().and_then(|row| row.job.worker.clone());
            let dead = owner.filter(|_| config.presumes_dead(lives));
            let work = Some((phase, msg.attempt));
            let runs = self.seen.state() == Some(JobState::Running);
            let refuse =
                RejectJob { unknown: new_job(), requested: work, dead, failure: failure(), actor: by(Some(worker)) };
            match self.change(config, Some(worker), &refuse, Step::Other) {
                // It is held back until that process has died, or another one takes it.
                JobRejection::RunningElsewhere(_) if config.mutant != Some(Mutant::RefusedAlone) => self.bag.push(msg),
                JobRejection::Failed if lives && runs => self.flaw = self.flaw.or(Some(Flaw::Killed)),
                JobRejection::RunningElsewhere(_) | JobRejection::Failed | JobRejection::Ignored => {}
            }
        }
    }
}
