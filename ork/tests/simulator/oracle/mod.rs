//! The properties that must hold in every run. The oracle sees transactions, calls, heartbeats and replies.

mod disturbances;
mod keys;
mod processes;
mod repeats;

use std::collections::{BTreeMap, BTreeSet};

use ork::{JobId, JobState};
use ork_core::message::{Message, WorkKind};
use ork_ports::store::JobView;

use self::disturbances::Disturbance;
use crate::call::Call;
use crate::ends::{Ends, Return};
use crate::executor::Owner;
use crate::names::{Property, Reached};
use crate::trace::Moment;

/// A property that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) property: Property,
    pub(crate) detail: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.property, self.detail)
    }
}

/// How long a call may continue after its job has ended: the notice may be lost, so that the next heartbeat brings it;
/// then the call has its grace period.
const LONGEST_AFTER: u64 = 12_000_000;

/// The shortest delay before a retry, less the difference that clocks may have.
const SHORTEST_PAUSE: u64 = 355_000;

/// How long the effects of a disturbance last after its end.
const SETTLES: u64 = 2_000_000;

/// How long a heartbeat counts.
const ALIVE_FOR: u64 = 15_000_000;

/// A process notices within this time that it has lost a delivery.
const NOTICES_LOSS: u64 = 1_000_000;

/// How long a delivery may wait for a slot before it is requeued.
const WAITS_FOR_SLOT: u64 = 10_000_000;

/// The rows that a dead process held are released, and sent again, within this time.
const FREED_WITHIN: u64 = 60_000_000;

/// The heartbeat interval.
const BEAT: u64 = 5_000_000;

/// A client learns of the end of a job within this time.
const SOON: u64 = 1_000_000;

/// A delivery for a call.
#[derive(Debug)]
struct Received {
    /// What identifies its message, as far as the process can tell.
    message: String,
    /// When it was received, if one more loss would fail its work.
    suspect_since: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    next_call: u64,
    live: BTreeMap<u64, Call>,
    pub(crate) n_calls: u64,
    /// How often a process died during this call.
    deaths: BTreeMap<String, u32>,
    /// When the last heartbeat of a process was written.
    beats: BTreeMap<Owner, u64>,
    /// When a process was last silent for so long that another one could presume it dead.
    dead: BTreeMap<Owner, u64>,
    /// The calls that returned, and when.
    returned: BTreeMap<String, (Call, u64)>,
    /// The jobs of which a process has learned that they ended, at which attempt, and when.
    known_ends: BTreeMap<(Owner, JobId), (u32, u64)>,
    /// When a process was last frozen, and when it resumed.
    thawed: BTreeMap<Owner, (u64, u64)>,
    /// When each process was asked to stop.
    drained: BTreeMap<Owner, u64>,
    /// The open job that holds each unique key.
    holders: BTreeMap<String, JobId>,
    /// The jobs that each job follows.
    pub(crate) follows: BTreeMap<JobId, Vec<JobId>>,
    /// The jobs that have ended once.
    ever_ended: BTreeSet<JobId>,
    /// When the store last lost transactions that it had not promised to keep.
    undone: Option<u64>,
    /// The processes that control jobs.
    pub(crate) clients: BTreeSet<Owner>,
    /// When a process last wrote something about a job.
    wrote: BTreeMap<(Owner, JobId), u64>,
    /// Parts with more than one published message: nothing prevents these from running at once.
    copied: BTreeSet<String>,
    /// The splits that run.
    live_splits: BTreeMap<u64, Call>,
    /// The deliveries that a process has received for a call: the time of each that one more loss would fail.
    suspects: BTreeMap<(Owner, String), Vec<Received>>,
    /// When a message was last redelivered, by the call that it requests.
    redelivered: BTreeMap<String, u64>,
    /// How often deliveries of a message were lost, by what it requests.
    lost: BTreeMap<String, u32>,
    /// The jobs with a message that was delivered more often than it may be lost, and the inputs of such messages.
    excess: BTreeSet<String>,
    /// The jobs that were reopened after they had ended.
    pub(crate) revived: BTreeSet<JobId>,
    /// When jobs were reopened, or split: earlier calls belong to an earlier run.
    reopened: BTreeMap<JobId, u64>,
    /// How often something was let pass that only looks wrong, by the reason.
    pub(crate) excused: BTreeMap<&'static str, u64>,
    /// How often each situation was reached.
    pub(crate) reached: BTreeMap<Reached, u64>,
    /// When jobs ended, unless they were reopened.
    pub(crate) ended: BTreeMap<JobId, u64>,
    /// When an attempt first failed that is to be retried: it may be made twice, and only one of the two counts.
    failed: BTreeMap<(String, u32), u64>,
    /// Since when these jobs have waited for a permit that is free.
    idle: BTreeMap<JobId, u64>,
    /// The longest that the store has taken to return its time.
    pub(crate) slowest_response: u64,
    /// From when to when this process, or all of them (`None`), could not work normally.
    disturbed: Vec<Disturbance>,
    /// From when to when the store refused requests of this process, or of all of them (`None`), so that they had to
    /// be repeated.
    refused: Vec<Disturbance>,
    /// The processes that have found the store damaged.
    met_damage: BTreeSet<Owner>,
    /// When a process could not record the end of a call as the store was damaged: it must stop.
    must_stop: BTreeMap<Owner, u64>,
    /// Jobs that may be retried.
    pub(crate) retried: BTreeSet<JobId>,
    /// Whether no store keeps jobs: then a job exists only as a message, and one that is delivered twice runs twice.
    storeless: bool,
    /// The jobs that were cancelled so that another job could take over their keys.
    pub(crate) taken_over: BTreeSet<JobId>,
    /// How calls ended.
    pub(crate) ends: Ends,
    /// How many replies found no client.
    pub(crate) replies_lost: u64,
    /// How many clients received no reply.
    pub(crate) unanswered: u64,
    fault: Option<Fault>,
}

impl Oracle {
    pub(crate) fn new(storeless: bool) -> Self {
        Self { storeless, ..Self::default() }
    }

    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    pub(crate) fn report(&mut self, property: Property, detail: String) {
        self.fault.get_or_insert(Fault { property, detail });
    }

    /// Counts something that is let pass, as it only looks wrong.
    pub(crate) fn excuses(&mut self, why: &'static str) {
        *self.excused.entry(why).or_default() += 1;
    }

    /// Counts a situation that was reached.
    pub(crate) fn reaches(&mut self, what: Reached) {
        *self.reached.entry(what).or_default() += 1;
    }

    /// Records that a call starts, and returns its number.
    pub(crate) fn begins(&mut self, mut call: Call, key: &str, attempt: u32) -> u64 {
        self.check_wanted(&call, attempt);
        self.check_not_damaged(&call);
        self.check_due(&call, key, attempt);
        self.check_follows(&call);
        self.check_not_repeated(&call);
        self.check_not_twice(&call);
        self.check_alone(&mut call);
        self.next_call += 1;
        self.n_calls += 1;
        self.live.insert(self.next_call, call);
        self.next_call
    }

    /// Checks that no call starts after its process has learned of the end of its job, or after it was asked to stop.
    fn check_wanted(&mut self, Call { owner, job, what, started, .. }: &Call, attempt: u32) {
        if self.drained.contains_key(owner) {
            self.report(Property::Drained, format!("{what} starts in process {} after it was asked to stop", owner.0));
        }
        let Some((at_attempt, at)) = self.known_ends.get(&(*owner, *job)) else { return };
        let noticed = self.thawed.get(owner).map_or(*at, |(_, thawed)| *thawed.max(at));
        if noticed < *started && *at_attempt >= attempt {
            self.report(
                Property::CallAfterEnd,
                format!("{what} starts in process {}, which knew that it has ended", owner.0),
            );
        }
    }

    /// Checks that no attempt starts before its time. The clock of a process may be behind that of the store by as
    /// long as the store took to return its time.
    fn check_due(&mut self, Call { job, what, started, .. }: &Call, key: &str, attempt: u32) {
        let Some(failed) = self.failed.get(&(key.to_owned(), attempt - 1)).copied() else { return };
        if *started + self.slowest_response < failed + SHORTEST_PAUSE && self.is_same_run(*job, failed) {
            let millis = (started - failed) / 1_000;
            self.report(Property::Early, format!("{what} starts {millis} ms after the one before it failed"));
        }
    }

    /// Checks that no job starts before those that it follows have ended.
    fn check_follows(&mut self, Call { job, what, .. }: &Call) {
        let after = self.follows.get(job).cloned().unwrap_or_default();
        if let Some(open) = after.into_iter().find(|other| !self.ever_ended.contains(other)) {
            self.report(Property::Follower, format!("{what} starts, and {open}, which it follows, has not ended"));
        }
    }

    /// When a process last wrote that it works on a job, or `now`.
    pub(crate) fn claimed_at(&self, owner: Owner, job: JobId, now: u64) -> u64 {
        self.wrote.get(&(owner, job)).copied().unwrap_or(now)
    }

    /// Returns whether a call of this job runs.
    pub(crate) fn has_call(&self, job: JobId) -> bool {
        self.live.values().any(|call| call.job == job)
    }

    /// Checks that a job is sent again only if its message is lost.
    pub(crate) fn sent_again(&mut self, job: JobId, may_be_lost: bool) {
        self.reaches(Reached::SentAgain);
        if !may_be_lost {
            self.report(Property::SentAgain, format!("{job} is sent again, and the broker has lost nothing"));
        }
        if let Some(call) = self.live.values().find(|call| call.job == job) {
            let detail = format!("{job} is sent again, as if it were lost, while {} runs", call.what);
            self.report(Property::SentAgain, detail);
        }
    }

    /// Returns whether the last heartbeat of a process has expired.
    pub(crate) fn is_silent(&self, owner: Owner, now: u64) -> bool {
        self.beats.get(&owner).is_none_or(|last| last + ALIVE_FOR < now)
    }

    /// Records that a message is delivered again.
    pub(crate) fn note_redelivery(&mut self, message: &Message, now: u64) {
        let key = key_of(message);
        self.reaches(Reached::Redelivered);
        // A call that lost its connection while it ran counts like one that died.
        if self.live.values().any(|call| call.key() == key) {
            *self.deaths.entry(key.clone()).or_default() += 1;
        }
        self.redelivered.insert(key, now);
    }

    /// When a job was last reopened.
    pub(crate) fn reopened_at(&self, job: JobId) -> Option<u64> {
        self.reopened.get(&job).copied()
    }

    /// Records that the store has lost its last transactions, and takes requests again from then on.
    pub(crate) fn undoes(&mut self, until: u64) {
        self.undone = Some(until);
    }

    /// Returns whether a job was neither reopened nor split again since then.
    fn is_same_run(&self, job: JobId, since: u64) -> bool {
        self.reopened.get(&job).is_none_or(|reopened| *reopened < since)
    }

    /// Records that a call ends, or is dropped.
    pub(crate) fn ends(&mut self, call: u64, is_over: bool, now: u64) {
        if let Some(call) = self.live.remove(&call) {
            self.runs_on(&call, now);
            self.suspects.remove(&(call.owner, call.key().to_owned()));
            // The call was not completed, and its result may be lost with its process. A process that lives drops a
            // call that another one has completed.
            if !is_over && (self.has_died(call.owner) || !self.returned.contains_key(&call.what)) {
                *self.deaths.entry(call.key().to_owned()).or_default() += 1;
            }
            let allowed = call.limit.map(|limit| call.started + limit + SETTLES);
            if allowed.is_some_and(|allowed| now > allowed) && self.is_calm(call.owner, call.started, now) {
                let secs = (now - call.started) / 1_000_000;
                self.report(
                    Property::Overtime,
                    format!("{} has taken {secs} s in process {}", call.what, call.owner.0),
                );
            }
        }
    }

    /// Checks that no call continues for long after its job has ended.
    fn runs_on(&mut self, call: &Call, now: u64) {
        let Some(ended) = self.ended.get(&call.job).map(|ended| *ended.max(&call.started)) else { return };
        if now > ended + LONGEST_AFTER && self.is_calm(call.owner, ended, now) {
            let secs = (now - ended) / 1_000_000;
            self.report(Property::RunsOn, format!("{} continues in process {} for {secs} s", call.what, call.owner.0));
        }
    }

    /// Records that a call has returned, or failed.
    pub(crate) fn returned(&mut self, call: u64, how: Return, now: u64) {
        if let Some(call) = self.live.get(&call) {
            if let Return::Last(what) = how {
                self.ends.record(call.what.split(' ').next().unwrap_or_default(), what);
            } else if self.storeless {
                // Attempts are counted by the process alone: another process starts with the first one.
                return;
            }
            self.returned.entry(call.what.clone()).or_insert_with(|| (call.clone(), now));
        }
    }

    /// Records that an attempt has failed, and may be retried.
    pub(crate) fn failed(&mut self, key: String, attempt: u32, now: u64) {
        self.failed.entry((key, attempt)).or_insert(now);
    }

    /// Handles an event that is published after an event that happened later.
    pub(crate) fn is_published_late(&mut self, detail: String, happened: u64, now: u64) {
        // If its process has died, another one publishes it once the rows are released.
        let was_delayed = |from: u64, until: u64| from < now && until.min(from + FREED_WITHIN) > happened;
        if self.disturbed.iter().chain(&self.refused).any(|(_, from, until)| was_delayed(*from, *until)) {
            self.excuses("an event of a process that was held up");
        } else {
            self.report(Property::Events, detail);
        }
    }

    /// Checks for how long these jobs have waited for a permit although one is free.
    pub(crate) fn waits_for_free_permit(&mut self, jobs: &[JobId], now: u64) {
        self.idle.retain(|job, _| jobs.contains(job));
        for job in jobs {
            let since = *self.idle.entry(*job).or_insert(now);
            if now > since && self.is_calm(Owner::WORLD, since, now) {
                let millis = (now - since) / 1_000;
                let detail = format!("{job} waits since {} s, {millis} ms, for a permit that is free", Moment(since));
                self.report(Property::Idle, detail);
            }
        }
    }

    /// Checks that a job which a client no longer finds was not removed too early.
    pub(crate) fn removed(&mut self, job: JobId, kept: u64, now: u64) {
        self.reaches(Reached::RemovedWhileAwaited);
        // By a clock that is correct within a few seconds.
        let is_due = self.ended.get(&job).is_some_and(|ended| *ended + kept <= now + BEAT);
        if !is_due {
            self.report(Property::Kept, format!("{job} was removed before its time"));
        }
    }

    /// Checks what must be true at the end of the run.
    pub(crate) fn check_rest(&mut self, now: u64) {
        for call in std::mem::take(&mut self.live).into_values() {
            self.runs_on(&call, now);
        }
    }

    /// Checks how long it took until a client learned of the end of a job.
    pub(crate) fn client_learns(&mut self, client: Owner, job: JobId, since: u64, now: u64) {
        let Some(ended) = self.ended.get(&job).map(|ended| *ended.max(&since)) else { return };
        if now > ended + SOON && self.is_calm(client, ended, now) {
            let millis = (now - ended) / 1_000;
            self.report(Property::Late, format!("a client learns of the end of {job} {millis} ms after it"));
        }
    }

    pub(crate) fn drained(&mut self, owner: Owner, now: u64) {
        self.drained.entry(owner).or_insert(now);
    }

    /// Checks what a transaction has changed of a job.
    pub(crate) fn changed(&mut self, by: Owner, before: Option<&JobView>, after: Option<&JobView>, now: u64) {
        let Some(after) = after else { return };
        let id = after.job.id;
        self.wrote.insert((by, id), now);
        self.check_unique(after);
        let Some(before) = before else {
            // It was removed in time, and a message of it was still under way.
            if self.ended.remove(&id).is_some() {
                self.reopened.insert(id, now);
                self.revived.insert(id);
                self.known_ends.retain(|(_, job), _| *job != id);
                self.excuses("a job started again that had been removed");
            }
            return;
        };
        let (was, is) = (before.job.state, after.job.state);
        if self.retried.contains(&id) && self.clients.contains(&by) && before.job.attempt != after.job.attempt {
            self.reopened.insert(id, now);
        }
        if before.head.epoch != after.head.epoch {
            // It was split again: the calls of its earlier parts no longer count.
            self.reaches(Reached::Split);
            self.reopened.insert(id, now);
        }
        if was.is_final() && !is.is_final() {
            self.reaches(Reached::Reopened);
            self.reopened.insert(id, now);
            self.revived.insert(id);
            self.ended.remove(&id);
            self.known_ends.retain(|(_, job), _| *job != id);
        }
        if is.is_final() && !was.is_final() {
            self.has_ended(id, now);
        }
        let place = format!("p{}/", by.0);
        let is_of_another = before.job.worker.as_ref().is_some_and(|worker| !worker.starts_with(&place));
        if was == JobState::Running && is == JobState::Ready && is_of_another && before.job.attempt == after.job.attempt
        {
            self.report(Property::WrongRelease, format!("process {} releases job {id}, which another one has", by.0));
        }
        // The next attempt of a job reopens the failed jobs below it.
        let may_reopen = self.retried.contains(&before.job.root) || after.job.parent.is_some();
        if was.is_final() && was != is && !may_reopen {
            self.report(Property::Once, format!("job {id} was {was} and is {is}"));
        }
        if was.is_final() && was == is && before.output != after.output {
            self.report(Property::Once, format!("job {id} has another output"));
        }
    }

    /// Returns whether a process that lives is calling the job, and has been for a while.
    pub(crate) fn is_called(&self, job: JobId, now: u64) -> bool {
        let lives = |owner: &Owner| self.beats.get(owner).is_some_and(|beat| now < beat + ALIVE_FOR);
        let mut calls = self.live.values().filter(|call| call.job == job && self.is_same_run(job, call.claimed));
        calls.any(|call| call.started + SETTLES < now && lives(&call.owner) && self.undone.is_none())
    }

    /// Records that a job has ended.
    pub(crate) fn has_ended(&mut self, job: JobId, now: u64) {
        self.ever_ended.insert(job);
        self.ended.entry(job).or_insert(now);
    }

    /// How many calls of a job, or of its part that lost most, were lost with their processes.
    pub(crate) fn deaths_of(&self, job: JobId) -> u32 {
        let job = job.to_string();
        let is_of = |key: &String| key.split('.').next() == Some(job.as_str());
        self.deaths.iter().filter(|(key, _)| is_of(key)).map(|(_, deaths)| *deaths).max().unwrap_or(0)
    }

    /// Returns whether the calls of any job or part were lost more often than this.
    pub(crate) fn has_deaths_beyond(&self, most: u32) -> bool {
        self.deaths.values().any(|deaths| *deaths > most)
    }

    /// How many calls of a process run.
    pub(crate) fn n_calls_of(&self, owner: Owner) -> usize {
        self.live.values().filter(|call| call.owner == owner).count()
    }

    /// Reports that a job has waited in one worker while another one had a slot for it.
    pub(crate) fn hoards(&mut self, job: JobId, (owner, idle): (Owner, Owner), since: u64, now: u64) {
        if self.is_calm(owner, since, now) && self.is_calm(idle, since, now) {
            let (secs, owner, idle) = ((now - since) / 1_000_000, owner.0, idle.0);
            self.report(
                Property::Hoards,
                format!("{job} has waited in process {owner} for {secs} s, while {idle} had a slot"),
            );
        }
    }

    /// The number of running calls that a predicate selects, without those of processes that could be presumed dead.
    pub(crate) fn calls_of(&self, is_wanted: impl Fn(JobId) -> bool, now: u64) -> usize {
        let counts = |call: &&Call| {
            let lives = self.beats.get(&call.owner).is_some_and(|beat| now < beat + ALIVE_FOR);
            // The claim of a call may have been undone, and its permit with it.
            let is_kept = self.undone.is_none_or(|undone| undone < call.started);
            is_kept && lives && self.dead.get(&call.owner).is_none_or(|dead| *dead < call.started)
        };
        self.live.values().filter(counts).filter(|call| is_wanted(call.job)).count()
    }
}

/// The idempotency key of the call that a message requests.
fn key_of(message: &Message) -> String {
    let job = message.job;
    match message.kind {
        WorkKind::Part { index, .. } => format!("{job}.{index}"),
        WorkKind::Join => format!("{job}.join"),
        WorkKind::Job | WorkKind::Single | WorkKind::Step | WorkKind::Hooks(_) => job.to_string(),
    }
}
