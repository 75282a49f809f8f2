//! Messages that a worker holds and has not called: they are claimed once there is a slot, requeued by a drain, and do
//! not count as losses. And messages that no process holds any more, because the broker has lost them.

use ork_core::tx::Resend;

use super::config::{Config, Mutant};
use super::rules::{Flaw, Step};
use super::store::id;
use super::world::{Activity, Msg, Worker, World, by};

impl Worker {
    /// Returns a copy of this worker that is idle.
    pub(crate) fn freed(&self) -> Self {
        Self { soon: self.soon, drained: self.drained, ..Self::default() }
    }
}

impl World {
    /// A worker receives a message for which it has no slot.
    pub(crate) fn hold(&mut self, config: &Config, worker: usize, msg: usize) {
        let msg = self.bag.remove(msg);
        self.workers[worker].unacked.push(msg.clone());
        self.workers[worker].activity = if config.mutant == Some(Mutant::ClaimedEarly) {
            Activity::Early { activity: Box::new(self.start_work(config, worker, &msg, false)) }
        } else {
            Activity::Held { msg }
        };
    }

    /// A slot is free for the message that a worker holds.
    pub(crate) fn starts(&mut self, config: &Config, worker: usize) {
        let activity = match std::mem::take(&mut self.workers[worker].activity) {
            Activity::Held { msg } => self.start_work(config, worker, &msg, false),
            Activity::Early { activity } => *activity,
            activity => activity,
        };
        if activity == Activity::Idle {
            self.workers[worker].unacked.clear();
        }
        self.workers[worker].activity = activity;
        self.calls(worker);
    }

    /// A worker calls what it has claimed.
    pub(crate) fn calls(&mut self, worker: usize) {
        // Its connection was lost before, so the broker redelivers its work to another worker.
        if self.workers[worker].stale {
            self.dies(worker);
        }
        let Worker { activity, drained, .. } = &self.workers[worker];
        if *activity != Activity::Idle && (*drained || self.seen.state().is_some_and(ork::JobState::is_final)) {
            self.flaw = self.flaw.or(Some(Flaw::CallOutcome));
        }
    }

    /// A worker is drained: it requeues what it holds, and its calls continue.
    pub(crate) fn drain(&mut self, config: &Config, worker: usize) {
        self.workers[worker].drained = true;
        let holds = matches!(self.workers[worker].activity, Activity::Held { .. });
        if holds && config.mutant != Some(Mutant::CalledAfterDrain) {
            self.interrupt(config, worker);
        }
    }

    /// The worker dies. Writes that were confirmed to it early may be lost with it, and its rows and messages are
    /// free.
    pub(crate) fn crash(&mut self, config: &Config, worker: usize, forget: bool) {
        if forget {
            self.forget();
        } else if self.workers[worker].soon {
            self.write();
        }
        self.dies(worker);
        self.expire(config, worker);
        let dead = std::mem::take(&mut self.workers[worker]);
        self.bag.extend(dead.unacked.into_iter().map(|msg| Msg { suspect: true, ..msg }));
    }

    /// The broker presumes the worker dead and redelivers its messages to others, while it continues.
    pub(crate) fn redeliver(&mut self, worker: usize) {
        self.dies(worker);
        self.workers[worker].stale = true;
        let again = std::mem::take(&mut self.workers[worker].unacked);
        self.bag.extend(again.into_iter().map(|msg| Msg { suspect: true, ..msg }));
    }

    /// A worker or its connection is lost, and its calls of the job with it.
    pub(crate) fn dies(&mut self, worker: usize) {
        let calls =
            matches!(self.workers[worker].activity, Activity::Job { .. } | Activity::Split { .. } | Activity::Done);
        self.died += u32::from(calls);
    }

    /// Returns whether more losses of the job are counted than calls of it have died.
    pub(crate) fn is_lossy(&self) -> bool {
        self.seen.job.as_ref().is_some_and(|row| row.job.losses > self.died)
    }

    /// The broker loses a message that it has confirmed.
    pub(crate) fn lose(&mut self, msg: usize) {
        self.bag.remove(msg);
        self.lost = true;
    }

    /// Nothing is under way for the job, so the messages that it waits for are sent again.
    pub(crate) fn resend(&mut self, config: &Config) {
        self.lost = false;
        let Some(attempt) = self.seen.job.as_ref().map(|row| row.job.attempt) else { return };
        self.change(config, None, &Resend { job: id(), attempt, actor: by(None) }, Step::Resends);
    }
}
