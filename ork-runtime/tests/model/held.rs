//! What a worker holds and has not called: it is claimed under a slot, given back at a stop, and counts as no loss. And
//! what nobody holds any more, because the broker has lost it.

use ork::tx::Resend;

use super::config::{Config, Mutant};
use super::rules::{Flaw, Step};
use super::store::id;
use super::world::{Hand, Msg, Worker, World, by};

impl Worker {
    /// The same worker with nothing in its hand.
    pub(crate) fn freed(&self) -> Self {
        Self { soon: self.soon, drained: self.drained, ..Self::default() }
    }
}

impl World {
    /// A worker is handed a message, and has no slot for it.
    pub(crate) fn hold(&mut self, config: &Config, worker: usize, msg: usize) {
        let msg = self.bag.remove(msg);
        self.workers[worker].unacked.push(msg.clone());
        self.workers[worker].hand = if config.mutant == Some(Mutant::ClaimedEarly) {
            Hand::Early { hand: Box::new(self.asks(config, worker, &msg, false)) }
        } else {
            Hand::Held { msg }
        };
    }

    /// There is a slot for what a worker holds.
    pub(crate) fn begins(&mut self, config: &Config, worker: usize) {
        let hand = match std::mem::take(&mut self.workers[worker].hand) {
            Hand::Held { msg } => self.asks(config, worker, &msg, false),
            Hand::Early { hand } => *hand,
            hand => hand,
        };
        if hand == Hand::Idle {
            self.workers[worker].unacked.clear();
        }
        self.workers[worker].hand = hand;
        self.calls(worker);
    }

    /// A worker calls what it has claimed.
    pub(crate) fn calls(&mut self, worker: usize) {
        // Its connection was lost before: the broker hands its work to another one.
        if self.workers[worker].stale {
            self.dies(worker);
        }
        let Worker { hand, drained, .. } = &self.workers[worker];
        if *hand != Hand::Idle && (*drained || self.seen.state().is_some_and(ork::JobState::is_final)) {
            self.flaw = self.flaw.or(Some(Flaw::CallOutcome));
        }
    }

    /// A worker is asked to stop: what it holds goes back, what it has called goes on.
    pub(crate) fn drain(&mut self, config: &Config, worker: usize) {
        self.workers[worker].drained = true;
        let holds = matches!(self.workers[worker].hand, Hand::Held { .. });
        if holds && config.mutant != Some(Mutant::CalledAfterDrain) {
            self.interrupt(config, worker);
        }
    }

    /// The worker dies; what it was promised soon may be gone with it, what it held is free.
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

    /// The broker takes the worker for dead and hands its deliveries to others, while it goes on.
    pub(crate) fn redeliver(&mut self, worker: usize) {
        self.dies(worker);
        self.workers[worker].stale = true;
        let again = std::mem::take(&mut self.workers[worker].unacked);
        self.bag.extend(again.into_iter().map(|msg| Msg { suspect: true, ..msg }));
    }

    /// A worker is lost, or its connection: what it calls of the job is lost with it.
    pub(crate) fn dies(&mut self, worker: usize) {
        let calls = matches!(self.workers[worker].hand, Hand::Job { .. } | Hand::Split { .. } | Hand::Done);
        self.died += u32::from(calls);
    }

    /// Whether more losses of the job are counted than calls of it have died.
    pub(crate) fn is_lossy(&self) -> bool {
        self.seen.job.as_ref().is_some_and(|row| row.job.losses > self.died)
    }

    /// The broker loses a message that it has confirmed.
    pub(crate) fn lose(&mut self, msg: usize) {
        self.bag.remove(msg);
        self.lost = true;
    }

    /// Nothing is under way for the job: what it waits for is sent again.
    pub(crate) fn resend(&mut self, config: &Config) {
        self.lost = false;
        let Some(attempt) = self.seen.job.as_ref().map(|row| row.job.attempt) else { return };
        self.change(config, None, &Resend { job: id(), attempt, actor: by(None) }, Step::Resends);
    }
}
