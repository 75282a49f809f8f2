//! Which processes live, as far as their signs of life say.

use ork::JobId;

use super::{ALIVE_FOR, BEAT, Oracle, SETTLES};
use crate::executor::Owner;
use crate::names::{Property, Reached};

impl Oracle {
    /// A process dies: its calls are lost, and what it had not said.
    pub(crate) fn dies(&mut self, owner: Owner, now: u64) {
        self.disturbed.push((Some(owner), now.saturating_sub(SETTLES), u64::MAX));
        self.beats.remove(&owner);
    }

    /// Whether a process has died.
    pub(super) fn has_died(&self, owner: Owner) -> bool {
        self.disturbed.iter().any(|(of, _, until)| *of == Some(owner) && *until == u64::MAX)
    }

    /// A process dies that has claimed this job; a call of it is counted when it ends.
    pub(crate) fn dies_claimed(&mut self, owner: Owner, job: JobId) {
        if !self.live.values().any(|call| call.owner == owner && call.job == job) {
            *self.deaths.entry(job.to_string()).or_default() += 1;
        }
    }

    fn loses_calls(&mut self, owner: Owner) {
        for call in self.live.values().filter(|call| call.owner == owner) {
            *self.deaths.entry(call.key().to_owned()).or_default() += 1;
        }
    }

    /// A sign of life has found these processes dead.
    pub(crate) fn buries(&mut self, by: Owner, workers: &[String], now: u64) {
        if self.undone.is_some_and(|undone| now < undone + ALIVE_FOR + BEAT) {
            // So may be the last heartbeats: the store does not know that these processes live.
            let places = self.beats.keys().map(|owner| (*owner, format!("p{}/", owner.0)));
            let is_found = |place: &str| workers.iter().any(|worker| worker.starts_with(place));
            let found: Vec<_> = places.filter(|(_, place)| is_found(place)).map(|(owner, _)| owner).collect();
            return found.into_iter().for_each(|owner| self.takes_for_dead(owner, now));
        }
        // One that is late itself judges the others as of the moment at which its sign of life was due.
        let due = self.beats.get(&by).map_or(now, |last| now.min(last + BEAT));
        for (owner, last) in &self.beats {
            let place = format!("p{}/", owner.0);
            let is_found = workers.iter().any(|worker| worker.starts_with(&place));
            if is_found && last + ALIVE_FOR > due + SETTLES {
                let secs = now.saturating_sub(*last) / 1_000_000;
                let words = format!("process {} takes {} for dead, which was silent for {secs} s", by.0, owner.0);
                return self.report(Property::TakenForDead, words);
            }
        }
    }

    /// A process is taken for dead. What it still calls is begun elsewhere, as if it had died.
    fn takes_for_dead(&mut self, owner: Owner, now: u64) {
        self.reaches(Reached::TakenForDead);
        if self.dead.insert(owner, now).is_none_or(|before| before + ALIVE_FOR < now) {
            self.loses_calls(owner);
        }
    }

    /// When the last heartbeat of a process was written.
    pub(crate) fn last_beat(&self, owner: Owner) -> Option<u64> {
        self.beats.get(&owner).copied()
    }

    pub(crate) fn beats(&mut self, owner: Owner, now: u64) {
        let before = self.beats.insert(owner, now);
        // One that is late itself judges the others as of the moment at which its sign of life was due.
        let due = before.map_or(now, |last| now.min(last + BEAT));
        let others = self.beats.iter().filter(|(other, _)| **other != owner);
        let dead: Vec<_> = others.filter(|(_, last)| *last + ALIVE_FOR <= due).map(|(other, _)| *other).collect();
        for other in dead {
            self.takes_for_dead(other, now);
        }
        let Some(last) = before.filter(|last| now >= last + ALIVE_FOR) else { return };
        if self.is_calm(owner, last, now) {
            let secs = (now - last) / 1_000_000;
            self.report(
                Property::Silent,
                format!("process {} said nothing for {secs} s, and nothing kept it from it", owner.0),
            );
        }
    }

    pub(crate) fn told(&mut self, owner: Owner, job: JobId, attempt: u32, now: u64) {
        // It may have been taken up again since this was written.
        let written = self.beats.get(&owner).copied().unwrap_or(now);
        if self.is_same_run(job, written) {
            self.told.insert((owner, job), (attempt, now));
        }
    }

    pub(crate) fn thaws(&mut self, owner: Owner, frozen: u64, now: u64) {
        self.thawed.insert(owner, (frozen, now));
    }
}
