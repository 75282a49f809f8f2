//! Which processes live, according to their heartbeats.

use ork::JobId;
use ork_core::message::Message;

use super::{ALIVE_FOR, BEAT, Oracle, SETTLES, key_of};
use crate::executor::Owner;
use crate::names::{Property, Reached};

impl Oracle {
    /// Records that a process dies: its calls are lost, and whatever it had not reported.
    pub(crate) fn dies(&mut self, owner: Owner, now: u64) {
        self.disturbed.push((Some(owner), now.saturating_sub(SETTLES), u64::MAX));
        self.beats.remove(&owner);
    }

    /// Returns whether a process has died.
    pub(super) fn has_died(&self, owner: Owner) -> bool {
        self.disturbed.iter().any(|(of, _, until)| *of == Some(owner) && *until == u64::MAX)
    }

    /// Reports that more calls run in a process than it has slots taken.
    pub(crate) fn has_no_slot(&mut self, owner: Owner, n_taken: usize, n_calls: usize) {
        let detail = format!("{n_calls} calls run in process {}, under {n_taken} slots", owner.0);
        self.report(Property::Slots, detail);
    }

    /// Checks whether something explains that a process has had more slots taken than calls running.
    pub(crate) fn keeps_slots(&mut self, owner: Owner, (n_taken, n_calls): (usize, usize), since: u64, now: u64) {
        if self.is_calm(owner, since, now) {
            let (millis, owner) = ((now - since) / 1_000, owner.0);
            let detail = format!("{n_taken} slots of process {owner} are taken for {n_calls} calls, since {millis} ms");
            self.report(Property::Slots, detail);
        }
    }

    /// Checks whether something explains that a process has not acknowledged a delivery for longer than `longest`
    /// although a call of it runs.
    pub(crate) fn keeps_delivery(&mut self, owner: Owner, message: &Message, (from, longest): (u64, u64), now: u64) {
        let key = key_of(message);
        let Some(call) = self.live.values().find(|call| call.owner == owner && call.key() == key) else { return };
        let since = from.max(call.started);
        // What disturbed the process before has cost it no more than that.
        if now > since + longest && self.is_calm(owner, now - longest, now) {
            let (secs, what, owner) = ((now - since) / 1_000_000, &call.what, owner.0);
            let detail = format!("process {owner} has not acknowledged a message of {what} for {secs} s");
            self.report(Property::Unacknowledged, detail);
        }
    }

    /// Records that a process dies which has claimed this job; a call of it is counted when it ends.
    pub(crate) fn dies_claimed(&mut self, owner: Owner, job: JobId) {
        if !self.live.values().any(|call| call.owner == owner && call.job == job) {
            *self.deaths.entry(job.to_string()).or_default() += 1;
        }
    }

    /// Records that a process dies while a part is claimed; a call of it is counted when it ends.
    pub(crate) fn dies_with_part(&mut self, job: JobId, index: u64) {
        let key = format!("{job}.{index}");
        if !self.live.values().any(|call| call.key() == key) {
            *self.deaths.entry(key).or_default() += 1;
        }
    }

    fn loses_calls(&mut self, owner: Owner) {
        for call in self.live.values().filter(|call| call.owner == owner) {
            *self.deaths.entry(call.key().to_owned()).or_default() += 1;
        }
    }

    /// Checks the processes that a heartbeat presumes dead.
    pub(crate) fn check_presumed_dead(&mut self, by: Owner, workers: &[String], now: u64) {
        if self.undone.is_some_and(|undone| now < undone + ALIVE_FOR + BEAT) {
            // So may be the last heartbeats: the store does not know that these processes live.
            let places = self.beats.keys().map(|owner| (*owner, format!("p{}/", owner.0)));
            let is_found = |place: &str| workers.iter().any(|worker| worker.starts_with(place));
            let found: Vec<_> = places.filter(|(_, place)| is_found(place)).map(|(owner, _)| owner).collect();
            return found.into_iter().for_each(|owner| self.takes_for_dead(owner, now));
        }
        // A late process judges the others as of the moment at which its own heartbeat was due.
        let due = self.beats.get(&by).map_or(now, |last| now.min(last + BEAT));
        for (owner, last) in &self.beats {
            let place = format!("p{}/", owner.0);
            let is_found = workers.iter().any(|worker| worker.starts_with(&place));
            if is_found && last + ALIVE_FOR > due + SETTLES {
                let secs = now.saturating_sub(*last) / 1_000_000;
                let detail = format!("process {} presumes {} dead, which was silent for {secs} s", by.0, owner.0);
                return self.report(Property::PresumedDead, detail);
            }
        }
    }

    /// A process is presumed dead. What it still calls is started elsewhere, as if it had died.
    fn takes_for_dead(&mut self, owner: Owner, now: u64) {
        self.reaches(Reached::PresumedDead);
        if self.dead.insert(owner, now).is_none_or(|before| before + ALIVE_FOR < now) {
            self.loses_calls(owner);
        }
    }

    /// When the last heartbeat of a process was written.
    pub(crate) fn last_beat(&self, owner: Owner) -> Option<u64> {
        self.beats.get(&owner).copied()
    }

    /// Records that a process could not start, and tries again.
    pub(crate) fn starts_anew(&mut self, owner: Owner) {
        self.beats.remove(&owner);
    }

    pub(crate) fn beats(&mut self, owner: Owner, now: u64) {
        let before = self.beats.insert(owner, now);
        // A late process judges the others as of the moment at which its own heartbeat was due.
        let due = before.map_or(now, |last| now.min(last + BEAT));
        let others = self.beats.iter().filter(|(other, _)| **other != owner);
        let dead: Vec<_> = others.filter(|(_, last)| *last + ALIVE_FOR <= due).map(|(other, _)| *other).collect();
        for other in dead {
            self.takes_for_dead(other, now);
        }
        let Some(last) = before.filter(|last| now >= last + ALIVE_FOR) else { return };
        if self.is_calm(owner, last, now) {
            let secs = (now - last) / 1_000_000;
            self.report(Property::Silent, format!("process {} was silent for {secs} s without a cause", owner.0));
        }
    }

    pub(crate) fn learns_of_end(&mut self, owner: Owner, job: JobId, attempt: u32, now: u64) {
        // It may have been reopened since this was written.
        let written = self.beats.get(&owner).copied().unwrap_or(now);
        if self.is_same_run(job, written) {
            self.known_ends.insert((owner, job), (attempt, now));
        }
    }

    pub(crate) fn thaws(&mut self, owner: Owner, frozen: u64, now: u64) {
        self.thawed.insert(owner, (frozen, now));
    }
}
