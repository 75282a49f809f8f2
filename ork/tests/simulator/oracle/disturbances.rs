//! When processes cannot work normally, and what they must do all the same.

use ork::JobId;

use super::{ALIVE_FOR, Oracle, SETTLES};
use crate::call::Call;
use crate::executor::Owner;
use crate::names::{Property, Reached};

/// A process, or all of them (`None`), and from when to when it could not work normally.
pub(super) type Disturbance = (Option<Owner>, u64, u64);

/// A worker that has to stop has stopped after this time: its shutdown takes 30 seconds at most, and then calls are
/// stopped.
const STOPS_WITHIN: u64 = 60_000_000;

fn is_any(all: &[Disturbance], owner: Owner, from: u64, to: u64) -> bool {
    let concerns = |of: &Option<Owner>| of.is_none_or(|of| of == owner);
    all.iter().any(|(of, begins, ends)| concerns(of) && *begins < to && *ends > from)
}

impl Oracle {
    /// Records that a process, or all of them (`None`), cannot work normally until then.
    pub(crate) fn disturbs(&mut self, owner: Option<Owner>, from: u64, until: u64) {
        self.disturbed.push((owner, from, until + SETTLES));
    }

    /// Records that the store refuses requests of a process, or of all of them (`None`), until then.
    pub(crate) fn refuses(&mut self, owner: Option<Owner>, from: u64, until: u64) {
        self.refused.push((owner, from, until + SETTLES));
    }

    /// Returns whether a process could work normally between two moments.
    pub(super) fn is_calm(&self, owner: Owner, from: u64, to: u64) -> bool {
        !is_any(&self.disturbed, owner, from, to) && !is_any(&self.refused, owner, from, to)
    }

    /// Returns whether nothing but a store that refused requests disturbed a process between two moments, and no other
    /// process could presume it dead. Then it has repeated what was refused.
    pub(super) fn repeats_refused(&self, owner: Owner, from: u64, to: u64) -> bool {
        !is_any(&self.disturbed, owner, from, to)
            && self.undone.is_none()
            && !self.drained.contains_key(&owner)
            && self.dead.get(&owner).is_none_or(|dead| *dead < from)
    }

    /// Returns whether a call has run undisturbed since this moment, and no other one for the same part or job beside
    /// it.
    pub(crate) fn runs_alone(&self, call: u64, since: u64, now: u64) -> bool {
        let Some(call) = self.live.get(&call) else { return false };
        let is_other = |other: &&Call| other.key() == call.key() && other.owner != call.owner;
        self.is_calm(call.owner, since, now)
            && self.undone.is_none()
            && !self.live.values().any(|other| is_other(&other))
    }

    /// Returns whether a process runs a call of this job that has begun since then.
    pub(crate) fn has_call_since(&self, owner: Owner, job: JobId, since: u64) -> bool {
        self.live.values().any(|call| call.owner == owner && call.job == job && call.started >= since)
    }

    /// Returns a call of this job if one runs, and its process has written in a heartbeat, within the shortest time
    /// after which a job counts as inactive, that it does.
    pub(crate) fn is_active(&self, job: JobId, now: u64) -> Option<String> {
        let reports = |call: &&Call| {
            let last = self.beats.get(&call.owner).copied().unwrap_or(0);
            // The heartbeat lists the calls that ran when it was sent.
            call.job == job && call.started + SETTLES < last && now + SETTLES < last + ALIVE_FOR
        };
        self.live.values().find(reports).filter(|_| self.undone.is_none()).map(|call| call.what.clone())
    }

    /// Records that a request of a process has found the store damaged.
    pub(crate) fn meets_damage(&mut self, owner: Owner) {
        self.met_damage.insert(owner);
    }

    /// Returns whether a process has found the store damaged.
    pub(crate) fn has_met_damage(&self, owner: Owner) -> bool {
        self.met_damage.contains(&owner)
    }

    /// Records that an operation on a job was refused, as the store is damaged. If a call of that job has returned in
    /// this process, then the operation records that.
    pub(crate) fn cannot_record(&mut self, owner: Owner, job: JobId, now: u64) {
        if self.returned.values().any(|(call, _)| call.owner == owner && call.job == job) {
            self.must_stop.entry(owner).or_insert(now);
        }
    }

    /// Records that a worker has stopped by itself; returns whether it had found the store damaged.
    pub(crate) fn stops_by_itself(&mut self, owner: Owner) -> bool {
        let is_expected = self.has_met_damage(owner);
        if is_expected {
            self.reaches(Reached::StoppedByDamage);
        }
        is_expected
    }

    /// Checks that no call starts in a process that should have stopped.
    pub(super) fn check_not_damaged(&mut self, Call { owner, what, started, .. }: &Call) {
        let Some(since) = self.must_stop.get(owner) else { return };
        if *started > since + STOPS_WITHIN {
            let secs = (started - since) / 1_000_000;
            let detail = format!("{what} starts in process {}, {secs} s after it found the store damaged", owner.0);
            self.report(Property::Damage, detail);
        }
    }
}
