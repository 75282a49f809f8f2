//! Work without a store: jobs that exist only as messages, and sets of messages that are counted in a part queue.

use std::sync::Arc;

use ork::{ClientError, JobId, Ork};
use ork_core::hook::{Hooks, OnComplete, PartHook, When};
use ork_core::message::Message;
use serde_json::json;

use super::broker::Letter;
use super::dice::Dice;
use super::ends::{Return, wanted};
use super::expected::Expected;
use super::names::{Property, Reached};
use super::oracle::Oracle;
use super::tasks::{How, Script, blocking, many_part, plain, timed};
use super::workload::Job;
use super::world::World;

impl World {
    /// Submits a job and waits until it has ended: by its reply, or by what its functions have seen.
    pub(crate) async fn submit_storeless(self: &Arc<Self>, ork: &Ork, number: u64, job: Job) {
        if number.is_multiple_of(2) || matches!(job, Job::Timed(_) | Job::Asked(_)) {
            return self.await_storeless(ork, &job).await;
        }
        let id = loop {
            match self.send(ork, number, job.clone()).await {
                Ok(id) => break id,
                Err(_refused) => self.executor.sleep(500_000).await,
            }
        };
        self.names(id, number);
        self.note(self.executor.polled(), format_args!("client has submitted {id}"));
        let expected = job.expected();
        for (key, what) in keys(id, &job, &expected) {
            let Some(found) = self.is_seen(|ends| ends.of(&key)).await else {
                return self.does_not_end(&format!("job {number} {id}"), &[id]);
            };
            if found != Return::Last(what) {
                let detail = format!("{key} has ended with {found:?}, not {what:?}");
                self.oracle(|oracle| oracle.report(Property::Outcome, detail));
            }
        }
        if let Job::Hooked(_) = job {
            self.is_followed(number, expected != Expected::Failed, &[id]).await;
        }
    }

    /// Waits for the reply of a job. It may be lost with a connection.
    async fn await_storeless(self: &Arc<Self>, ork: &Ork, job: &Job) {
        let expected = job.expected();
        loop {
            let outcome = async {
                match job.clone() {
                    Job::Many(scripts) => ork.submit(many_part { scripts }).result().await,
                    Job::Blocking(script) => ork.submit(blocking { script }).result().await,
                    Job::Timed(script) => ork.submit(timed { script }).result().await,
                    Job::Plain(script) | Job::Hooked(script) | Job::Asked(script) => {
                        ork.submit(plain { script }).result().await
                    }
                    _ => Ok(0),
                }
            };
            let late = self.executor.sleep(self.job_deadline().saturating_sub(self.executor.now()));
            let outcome = tokio::select! {
                biased;
                outcome = outcome => outcome,
                () = late => break,
            };
            let received = match outcome {
                Ok(output) => Expected::Success(Some(output)),
                Err(ClientError::Failed { id, .. }) if expected != Expected::Failed && self.may_be_lost(&[id]) => {
                    return self.oracle(|oracle| oracle.excuses(LOST));
                }
                Err(ClientError::Failed { .. }) => Expected::Failed,
                Err(_refused) => {
                    self.executor.sleep(500_000).await;
                    continue;
                }
            };
            self.oracle(|oracle| oracle.reaches(Reached::RepliesWithoutStore));
            if received != expected && expected != Expected::Any {
                let detail = format!("a client received {received:?}, not {expected:?}");
                self.oracle(|oracle| oracle.report(Property::Client, detail));
            }
            return;
        }
        self.oracle(|oracle| oracle.unanswered += 1);
    }

    /// Checks that at most as many clients got no reply as replies were lost, and that no hook was sent that must not
    /// be.
    pub(crate) fn check_storeless(&self) {
        let (unanswered, lost, unwanted) = self.oracle(|oracle| {
            let unwanted = oracle.ends.unwanted.iter().filter(|(place, _)| oracle.ends.followed.contains(place));
            let unwanted: Vec<_> = unwanted.map(|(place, jobs)| (place.clone(), jobs.clone())).collect();
            (oracle.unanswered, oracle.replies_lost, unwanted)
        });
        if unanswered > lost && !self.has_forgotten_set(&[]) {
            let detail = format!("{unanswered} clients received no reply, and {lost} replies were lost");
            self.oracle(|oracle| oracle.report(Property::Client, detail));
        }
        for _ in 0..unanswered {
            self.oracle(|oracle| oracle.excuses("a reply that was lost without a store"));
        }
        for ((number, when), jobs) in unwanted {
            // A second copy of its message ends on its own.
            if self.may_be_lost(&jobs) {
                self.oracle(|oracle| oracle.excuses(LOST));
            } else {
                self.oracle(|oracle| oracle.report(Property::Followers, format!("{number} is followed as {when}")));
            }
        }
    }

    /// Returns whether one of these jobs may have failed because its messages were delivered too often.
    fn may_be_lost(&self, jobs: &[JobId]) -> bool {
        let most = self.scenario.most_losses();
        let exceeds = |oracle: &mut Oracle| jobs.iter().any(|job| oracle.exceeds_deliveries(&job.to_string()));
        let is_lost = |oracle: &mut Oracle| {
            if self.has_store() { oracle.has_deaths_beyond(most) } else { exceeds(oracle) }
        };
        self.oracle(is_lost)
    }

    /// Another program declares a part queue and publishes a set of messages with hooks.
    pub(crate) async fn send_set(self: &Arc<Self>, number: u64, scripts: Vec<Script>) {
        if self.server.is_none() {
            return;
        }
        let (queue, total) = (format!("part.set-{number}"), u64::try_from(scripts.len()).unwrap());
        self.make_part_queue(&queue);
        let well = scripts.iter().all(Script::succeeds);
        let (mut dice, mut jobs) = (Dice::new(self.scenario.seed, "set", number), Vec::new());
        let hook = |(name, when): (&str, When)| OnComplete {
            route: "next".to_owned(),
            method: None,
            inputs: Some(format!("{{\"of\":{number},\"when\":\"{name}\"}}")),
            when,
        };
        let hooks = [("always", When::Always), ("success", When::Success), ("failure", When::Failure)].map(hook);
        for (script, part_id) in scripts.into_iter().zip(0..) {
            let part = PartHook { part_id, total_parts: total, part_queue: queue.clone() };
            let hooks = Hooks { part: Some(part), on_complete: hooks.to_vec() };
            let bytes = (u128::from(dice.next()) << 64 | u128::from(dice.next())).to_be_bytes();
            self.names(JobId::from_bytes(bytes), number);
            jobs.push(JobId::from_bytes(bytes));
            // No worker knows the task of some of them.
            let is_unknown = script.how == How::FailsForGood;
            let body = serde_json::to_vec(&json!({ "script": script })).unwrap().into();
            let about = Message::about(JobId::from_bytes(bytes), if is_unknown { "strange" } else { "plain" });
            let message = Ok(Message { body, hooks: Some(Box::new(hooks)), ..about });
            let letter = Letter { message, is_copy: false, anonymous: false, foreign: false };
            while self.publishes(letter.clone(), is_unknown).is_err() {
                self.executor.sleep(500_000).await;
            }
        }
        self.is_followed(number, well, &jobs).await;
    }

    /// Waits until each hook that must be sent was sent.
    async fn is_followed(&self, number: u64, well: bool, jobs: &[JobId]) {
        for when in wanted(well) {
            let place = (number, when.to_owned());
            let seen = self.is_seen(|ends| ends.followed.contains(&place).then_some(()));
            if seen.await.is_none() {
                // A follower is a job without a store as well.
                let input = format!("{{\"of\":{number},\"when\":\"{when}\"}}");
                if !self.has_store() && self.oracle(|oracle| oracle.exceeds_deliveries(&input)) {
                    self.oracle(|oracle| oracle.excuses(LOST));
                    continue;
                }
                return self.does_not_end(&format!("what follows {number} as {when}"), jobs);
            }
        }
        self.oracle(|oracle| oracle.reaches(Reached::FollowedWithoutStore));
        if !self.may_be_lost(jobs) {
            let other = wanted(!well).into_iter().last().unwrap_or_default();
            self.oracle(|oracle| oracle.ends.unwanted.insert((number, other.to_owned()), jobs.to_vec()));
        }
    }

    /// Waits until `look` returns something, at most until clients give up.
    async fn is_seen<T>(&self, look: impl Fn(&super::ends::Ends) -> Option<T> + Send) -> Option<T> {
        loop {
            let seen = self.oracle(|oracle| look(&oracle.ends));
            if seen.is_some() || self.executor.now() > self.job_deadline() {
                return seen;
            }
            self.executor.sleep(1_000_000).await;
        }
    }

    /// Returns whether a set is left that nothing checks any more: of one of these jobs, or of another program. Without
    /// jobs, any set.
    fn has_forgotten_set(&self, jobs: &[JobId]) -> bool {
        let is_of = |set: &String| {
            jobs.is_empty() || set.starts_with("part.set-") || jobs.iter().any(|job| set.contains(&job.to_string()))
        };
        self.scenario.may_forget_sets() && self.server.as_ref().is_some_and(|server| server.sets().iter().any(is_of))
    }

    fn does_not_end(&self, what: &str, jobs: &[JobId]) {
        let excuse = if self.may_be_lost(jobs) {
            LOST
        } else if self.scenario.loses_messages() {
            "a message of others that the broker has lost"
        } else if self.has_forgotten_set(jobs) {
            "a set that others held while its workers ended"
        } else {
            let detail = format!("{what} has not ended {}", self.by_deadline(self.executor.now()));
            return self.oracle(|oracle| oracle.report(Property::Liveness, detail));
        };
        self.oracle(|oracle| oracle.excuses(excuse));
    }
}

/// Without a store, every redelivery counts as a lost call.
const LOST: &str = "a job without a store whose messages were delivered too often";

/// The results that the functions of a job must have seen, by their idempotency keys.
fn keys(id: JobId, job: &Job, expected: &Expected) -> Vec<(String, Option<u64>)> {
    match (job, expected) {
        (Job::Many(_), Expected::Success(sum)) => vec![(format!("{id}.join"), *sum)],
        (Job::Many(scripts), _) => {
            let part = |(index, script): (usize, &Script)| (format!("{id}.{index}"), script.result());
            scripts.iter().enumerate().map(part).collect()
        }
        (_, Expected::Success(number)) => vec![(id.to_string(), *number)],
        _ => vec![(id.to_string(), None)],
    }
}
