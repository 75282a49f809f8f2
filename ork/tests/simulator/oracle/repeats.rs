//! Calls that are made twice: one after the other, or at the same time.

use ork::JobId;
use ork_core::message::Message;

use super::{ALIVE_FOR, NOTICES_LOSS, Oracle, Received, SETTLES, WAITS_FOR_SLOT, key_of};
use crate::call::Call;
use crate::executor::Owner;
use crate::names::Property;

/// For how long a call stays alone, or waits for that. The clock of its process may be fast.
const STAYS_ALONE: u64 = 25_000_000;

/// A worker that is drained this long after the end of a part may be about to join the set.
const JOINS_WITHIN: u64 = 60_000_000;

impl Oracle {
    /// Checks that a call that has returned is not repeated, if its process had the time to settle it.
    pub(super) fn check_not_repeated(&mut self, Call { owner, job, what, started, .. }: &Call) {
        let Some((call, returned)) = self.returned.get(what).cloned() else { return };
        // With a store, a copy finds that its work is done.
        if self.storeless && self.is_copied(what) {
            self.excuses("after a call of another copy of its message");
            return;
        }
        // Without a store, all attempts are made for one delivery.
        let key = what.split(' ').next().unwrap_or_default();
        if self.storeless && self.redelivered.get(key).is_some_and(|again| again + NOTICES_LOSS >= call.started) {
            self.excuses("after a call whose delivery was lost, without a store");
            return;
        }
        // The record of a part is in its queue, but its delivery is that of the worker that joins the set.
        let was_drained = self.drained.get(&call.owner).is_some_and(|at| *at < returned + JOINS_WITHIN);
        if self.storeless && key.contains('.') && !what.contains(".join ") && was_drained {
            self.excuses("after a call whose worker was drained before it could join, without a store");
            return;
        }
        // A process that was frozen continues with the call that it was about to make.
        let was_delayed = self.thawed.get(owner).is_some_and(|(frozen, thawed)| {
            (*frozen..*thawed).contains(&returned) && *started <= thawed + NOTICES_LOSS
        });
        if was_delayed {
            self.excuses("after a call that returned while its process was stopped");
            return;
        }
        if self.storeless && what.contains(".join") && self.was_redelivered(*job) {
            // A worker that has lost its reader, or its part, does not know it while it waits to call the join.
            self.excuses("after another join, without a store");
            return;
        }
        // A store that refuses this for a while gets it later, before the delivery is settled.
        let is_repeated = || !self.is_copied(what) && self.repeats_refused(call.owner, returned, *started);
        let is_settled =
            *started > returned + SETTLES && (self.is_calm(call.owner, returned, returned + SETTLES) || is_repeated());
        if is_settled && self.is_same_run(*job, call.claimed) {
            self.report(
                Property::Again,
                format!("{what} starts in process {}, and has returned in {}", owner.0, call.owner.0),
            );
        }
    }

    /// Records that a process receives a message, and whether one more loss would fail its work.
    pub(crate) fn receives(&mut self, owner: Owner, message: &Message, is_suspect: bool, now: u64) {
        let key = key_of(message);
        // The same message is delivered again because its last delivery is lost, unless there are copies of it.
        let is_copied = self.is_copied(&format!("{key} attempt {}", message.attempt)) || self.is_copied(&key);
        let deliveries = self.suspects.entry((owner, key)).or_default();
        let message = format!("{:?} attempt {} lost {}", message.kind, message.attempt, message.losses);
        if !is_copied {
            deliveries.retain(|other| other.message != message);
        }
        deliveries.push(Received { message, suspect_since: is_suspect.then_some(now) });
    }

    /// When a process first received a message that requests this call, if one more loss would fail it. If there were
    /// several deliveries, any of them may be the one.
    fn suspect_since(&self, call: &Call) -> Option<u64> {
        let deliveries = self.suspects.get(&(call.owner, call.key().to_owned()))?;
        deliveries.iter().map(|delivery| delivery.suspect_since).min().flatten()
    }

    /// Checks that no call runs beside one that one more loss would fail, unless it has waited for long, or runs for
    /// long.
    pub(super) fn check_alone(&mut self, call: &mut Call) {
        let since = self.suspect_since(call);
        call.is_suspect = since.is_some_and(|at| call.started < at + STAYS_ALONE);
        let is_alone = |of: &Call| of.is_suspect && call.started < of.started + STAYS_ALONE;
        let beside = |other: &&Call| other.owner == call.owner && (is_alone(call) || is_alone(other));
        let Some(other) = self.live.values().chain(self.live_splits.values()).find(beside) else { return };
        if self.storeless && !(call.is_first_attempt() && other.is_first_attempt()) {
            // The process makes it for the same delivery, and takes any slot.
            return self.excuses("beside a later attempt without a store, which one more loss would fail");
        }
        let detail = format!("{} starts beside {}, and one more loss would fail one", call.what, other.what);
        self.report(Property::Alone, detail);
    }

    /// Records that a job is split: earlier calls of its parts no longer count.
    pub(crate) fn splits(&mut self, mut call: Call, now: u64) -> u64 {
        self.reopened.insert(call.job, now);
        self.check_alone(&mut call);
        self.next_call += 1;
        self.live_splits.insert(self.next_call, call);
        self.next_call
    }

    /// Records that a split ends, or is dropped.
    pub(crate) fn ends_split(&mut self, split: u64) {
        if let Some(call) = self.live_splits.remove(&split) {
            self.suspects.remove(&(call.owner, call.key().to_owned()));
        }
    }

    /// Checks that two calls of one attempt overlap only if the first process had missed its heartbeats.
    pub(super) fn check_not_twice(&mut self, Call { owner, job, what, started, claimed: own_claim, .. }: &Call) {
        let Some(other) = self.live.values().find(|call| call.what == *what) else { return };
        let (place, since, claimed) = (other.owner, other.started, other.claimed);
        let lives = self.storeless || self.beats.get(&place).is_some_and(|beat| *started < beat + ALIVE_FOR);
        let was_dead = self.dead.get(&place).is_some_and(|when| *when >= since);
        if !self.is_same_run(*job, claimed) {
            // Its result is ignored; it may continue until its grace period is over.
            self.excuses("beside a call of an earlier run");
        } else if self.storeless && self.is_split_twice(*job, what) {
            self.excuses("beside a call of another split, without a store");
        } else if place == *owner {
            self.report(Property::Twice, format!("{what} starts twice in process {}", owner.0));
        } else if self.undone.is_some_and(|undone| undone + WAITS_FOR_SLOT >= since) {
            self.excuses("beside a call whose beginning was undone");
        } else if self.is_copied(what)
            && (self.storeless || what.contains('.') || self.redelivered.contains_key(&job.to_string()))
        {
            // A copy of a whole job waits, unless it was delivered before.
            self.excuses("beside a call of another copy of its message");
        } else if self.lost_delivery(what, place, since.min(claimed).min(*own_claim)) {
            self.excuses("beside a call whose delivery was lost");
        } else if !lives || was_dead {
            self.excuses("beside a call whose process was silent");
        } else {
            let places = format!("process {} beside the one in {}, which lives", owner.0, place.0);
            self.report(Property::Twice, format!("{what} starts in {places}"));
        }
    }

    /// Returns whether a delivery was lost and redelivered while this call was made, or its process was frozen then.
    fn lost_delivery(&self, what: &str, owner: Owner, since: u64) -> bool {
        let key = what.split(' ').next().unwrap_or_default();
        let Some(again) = self.redelivered.get(key).copied() else { return false };
        let (frozen, thawed) = self.thawed.get(&owner).copied().unwrap_or_default();
        let noticed = if again + NOTICES_LOSS >= frozen { again.max(thawed) } else { again };
        noticed + NOTICES_LOSS >= since
    }

    /// Returns whether this is a part of a job without a store that may have been split twice: then it has two
    /// messages.
    fn is_split_twice(&self, job: JobId, what: &str) -> bool {
        let job = job.to_string();
        what.contains('.') && (self.redelivered.contains_key(&job) || self.copied.contains(&job))
    }

    /// Returns whether more than one message was published that requests this call.
    pub(crate) fn is_copied(&self, what: &str) -> bool {
        let (key, job) =
            (what.split(' ').next().unwrap_or_default(), what.split(['.', ' ']).next().unwrap_or_default());
        // Without a store, all attempts are made for one message.
        let of_key = || self.copied.contains(&format!("{key} attempt 1")) || self.copied.contains(job);
        self.copied.contains(what) || (self.storeless && of_key())
    }

    /// Returns whether a message of a job was delivered again.
    pub(crate) fn was_redelivered(&self, job: JobId) -> bool {
        let job = job.to_string();
        self.redelivered.keys().any(|key| key.split('.').next() == Some(job.as_str()))
    }

    /// Records that a delivery of a message has ended without being settled or returned.
    pub(crate) fn loses_message(&mut self, message: &Message) {
        *self.lost.entry(format!("{} {:?}", message.job, message.kind)).or_default() += 1;
    }

    /// Records that a message is delivered more often than it may be lost. A requeued delivery counts once at most,
    /// and not where that matters.
    pub(crate) fn note_excess_delivery(&mut self, message: &Message, most: u32) {
        let lost = self.lost.get(&format!("{} {:?}", message.job, message.kind)).copied().unwrap_or(0);
        if lost + u32::from(most > 1) > most {
            self.excess.insert(message.job.to_string());
            self.excess.insert(String::from_utf8_lossy(&message.body).into_owned());
        }
    }

    /// Returns whether a message of this job, or with this input, was delivered too often.
    pub(crate) fn exceeds_deliveries(&self, what: &str) -> bool {
        self.excess.contains(what)
    }

    /// Records that two messages of one part are under way, or of one job without a store.
    pub(crate) fn copied(&mut self, key: String) {
        self.copied.insert(key);
    }
}
