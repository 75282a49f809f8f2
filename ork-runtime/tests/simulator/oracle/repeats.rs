//! Calls that are made twice: one after the other, or at once.

use ork::JobId;
use ork::message::Message;

use super::{ALIVE_FOR, HEARS_OF_LOSS, Oracle, SETTLES, WAITS_FOR_SLOT};
use crate::call::Call;
use crate::executor::Owner;
use crate::names::Property;

impl Oracle {
    /// A call that has returned is not repeated, if its process had the time to settle it.
    pub(super) fn check_not_repeated(&mut self, Call { owner, job, what, begun, .. }: &Call) {
        let Some((call, returned)) = self.returned.get(what).cloned() else { return };
        if self.is_copied(what) {
            self.excuses("after a call of another copy of its message");
            return;
        }
        // Without a store all attempts are made for one delivery.
        let key = what.split(' ').next().unwrap_or_default();
        if self.unkept && self.came_again.get(key).is_some_and(|again| again + HEARS_OF_LOSS >= call.begun) {
            self.excuses("after a call whose delivery was lost, without a store");
            return;
        }
        // A process that was stopped goes on with the call that it was about to make.
        let held_up = self
            .thawed
            .get(owner)
            .is_some_and(|(frozen, thawed)| (*frozen..*thawed).contains(&returned) && *begun <= thawed + HEARS_OF_LOSS);
        if held_up {
            self.excuses("after a call that returned while its process was stopped");
            return;
        }
        if self.unkept && what.contains(".join") && self.has_come_again(*job) {
            // A worker that has lost its reader, or its part, does not know it while it waits to call the join.
            self.excuses("after another join, without a store");
            return;
        }
        let is_settled = *begun > returned + SETTLES && self.is_calm(call.owner, returned, returned + SETTLES);
        if is_settled && self.is_same_run(*job, call.claimed) {
            self.report(
                Property::Again,
                format!("{what} begins in process {}, and has returned in {}", owner.0, call.owner.0),
            );
        }
    }

    /// Two calls of one attempt overlap only if the first process had missed its heartbeats.
    pub(super) fn check_not_twice(&mut self, Call { owner, job, what, begun, claimed: own_claim, .. }: &Call) {
        let Some(other) = self.live.values().find(|call| call.what == *what) else { return };
        let (place, since, claimed) = (other.owner, other.begun, other.claimed);
        let lives = self.unkept || self.beats.get(&place).is_some_and(|beat| *begun < beat + ALIVE_FOR);
        let was_dead = self.dead.get(&place).is_some_and(|when| *when >= since);
        if !self.is_same_run(*job, claimed) {
            // What it returns counts for nothing; it may go on for as long as it is given to tidy up.
            self.excuses("beside a call of an earlier run");
        } else if self.unkept && self.is_split_twice(*job, what) {
            self.excuses("beside a call of another split, without a store");
        } else if place == *owner {
            self.report(Property::Twice, format!("{what} begins twice in process {}", owner.0));
        } else if self.undone.is_some_and(|undone| undone + WAITS_FOR_SLOT >= since) {
            self.excuses("beside a call whose beginning was undone");
        } else if self.is_copied(what)
            && (self.unkept || what.contains('.') || self.came_again.contains_key(&job.to_string()))
        {
            // A copy of a whole job waits, unless it was delivered before.
            self.excuses("beside a call of another copy of its message");
        } else if self.lost_delivery(what, place, since.min(claimed).min(*own_claim)) {
            self.excuses("beside a call whose delivery was lost");
        } else if !lives || was_dead {
            self.excuses("beside a call whose process was silent");
        } else {
            let places = format!("process {} beside the one in {}, which lives", owner.0, place.0);
            self.report(Property::Twice, format!("{what} begins in {places}"));
        }
    }

    /// Whether a delivery was lost and came again while this call was made, or its process was frozen then.
    fn lost_delivery(&self, what: &str, owner: Owner, since: u64) -> bool {
        let key = what.split(' ').next().unwrap_or_default();
        let Some(again) = self.came_again.get(key).copied() else { return false };
        let (frozen, thawed) = self.thawed.get(&owner).copied().unwrap_or_default();
        let heard = if again + HEARS_OF_LOSS >= frozen { again.max(thawed) } else { again };
        heard + HEARS_OF_LOSS >= since
    }

    /// Whether this is a part of a job that no store keeps, and that may have been split twice: then it has two
    /// messages.
    fn is_split_twice(&self, job: JobId, what: &str) -> bool {
        let job = job.to_string();
        what.contains('.') && (self.came_again.contains_key(&job) || self.copied.contains(&job))
    }

    /// Whether more than one message was published that asks for this call.
    pub(crate) fn is_copied(&self, what: &str) -> bool {
        let (key, job) =
            (what.split(' ').next().unwrap_or_default(), what.split(['.', ' ']).next().unwrap_or_default());
        // Without a store all attempts are made for one message.
        let of_key = || self.copied.contains(&format!("{key} attempt 1")) || self.copied.contains(job);
        self.copied.contains(what) || (self.unkept && of_key())
    }

    /// Whether a message of a job came that had come before.
    fn has_come_again(&self, job: JobId) -> bool {
        let job = job.to_string();
        self.came_again.keys().any(|key| key.split('.').next() == Some(job.as_str()))
    }

    /// A delivery of a message has come to nothing, and was not given back.
    pub(crate) fn loses_message(&mut self, message: &Message) {
        *self.lost.entry(format!("{} {:?}", message.job, message.kind)).or_default() += 1;
    }

    /// A message comes that has come more often than it may be lost. What was given back counts once at most, and not
    /// where that decides.
    pub(crate) fn comes_too_often(&mut self, message: &Message, most: u32) {
        let lost = self.lost.get(&format!("{} {:?}", message.job, message.kind)).copied().unwrap_or(0);
        if lost + u32::from(most > 1) > most {
            self.too_often.insert(message.job.to_string());
            self.too_often.insert(String::from_utf8_lossy(&message.body).into_owned());
        }
    }

    /// Whether a message of this job, or with this input, has come too often.
    pub(crate) fn has_come_too_often(&self, what: &str) -> bool {
        self.too_often.contains(what)
    }

    /// Two messages of one part are under way, or of one job that no store keeps.
    pub(crate) fn copied(&mut self, key: String) {
        self.copied.insert(key);
    }
}
