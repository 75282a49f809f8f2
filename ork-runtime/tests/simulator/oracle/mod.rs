//! The properties that must hold in every run. The oracle sees transactions, calls, heartbeats and answers.

mod processes;
mod repeats;

use std::collections::{BTreeMap, BTreeSet};

use ork::message::{Message, WorkKind};
use ork::store::JobView;
use ork::{JobId, JobState};

use crate::call::Call;
use crate::ends::{Ends, Return};
use crate::executor::Owner;
use crate::names::{Property, Reached};
use crate::trace::Moment;

/// A property that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) property: Property,
    pub(crate) words: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.property, self.words)
    }
}

/// A call may go on for so long after its job has ended: the news may be lost, so that a sign of life brings it; then
/// it has its time to tidy up.
const LONGEST_AFTER: u64 = 12_000_000;

/// The shortest pause before an attempt is made again, less what clocks may differ by.
const SHORTEST_PAUSE: u64 = 355_000;

/// How long a disturbance is noticed after its end.
const SETTLES: u64 = 2_000_000;

/// For so long a sign of life is believed.
const ALIVE_FOR: u64 = 15_000_000;

/// A process that has lost a delivery hears of it within this time.
const HEARS_OF_LOSS: u64 = 1_000_000;

/// For so long a delivery may wait for a slot before it is given back.
const WAITS_FOR_SLOT: u64 = 10_000_000;

/// What a dead process held is freed within this time, and sent again.
const FREED_WITHIN: u64 = 60_000_000;

/// Between two signs of life.
const BEAT: u64 = 5_000_000;

/// A client hears of an end within this time.
const SOON: u64 = 1_000_000;

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    next_call: u64,
    live: BTreeMap<u64, Call>,
    pub(crate) n_calls: u64,
    /// How often a process died while it called this.
    deaths: BTreeMap<String, u32>,
    /// When the last sign of life of a process was written.
    beats: BTreeMap<Owner, u64>,
    /// When a process was last silent for so long that another one could take it for dead.
    dead: BTreeMap<Owner, u64>,
    /// The calls that returned, and when.
    returned: BTreeMap<String, (Call, u64)>,
    /// The jobs of which a process has learned that they ended, at which attempt, and when.
    told: BTreeMap<(Owner, JobId), (u32, u64)>,
    /// When processes were frozen last, and when they went on.
    thawed: BTreeMap<Owner, (u64, u64)>,
    drained: BTreeSet<Owner>,
    /// The jobs after whose end these begin.
    pub(crate) follows: BTreeMap<JobId, Vec<JobId>>,
    /// The jobs that have ended once.
    ever_ended: BTreeSet<JobId>,
    /// When the store last forgot what it had not promised to keep.
    undone: Option<u64>,
    /// The processes that steer jobs.
    pub(crate) clients: BTreeSet<Owner>,
    /// When a process last wrote something of a job.
    wrote: BTreeMap<(Owner, JobId), u64>,
    /// Parts of which more than one message was published: nothing keeps those apart.
    copied: BTreeSet<String>,
    /// When a message last came that had come before, by the call that it asks for.
    came_again: BTreeMap<String, u64>,
    /// How often deliveries of a message were lost, by what it asks for.
    lost: BTreeMap<String, u32>,
    /// The jobs of which a message came more often than it may be lost, and what such a message had for an input.
    too_often: BTreeSet<String>,
    /// The jobs that were taken up again after they had ended.
    pub(crate) revived: BTreeSet<JobId>,
    /// When jobs were taken up again, or split: what was called before is of an earlier run.
    reopened: BTreeMap<JobId, u64>,
    /// How often something was let pass that only looks false, by the reason.
    pub(crate) excused: BTreeMap<&'static str, u64>,
    /// How often it came to something.
    pub(crate) reached: BTreeMap<Reached, u64>,
    /// When jobs ended, unless they were taken up again.
    pub(crate) ended: BTreeMap<JobId, u64>,
    /// When an attempt first failed that is to be made again: it may be made twice, and only one of them counts.
    failed: BTreeMap<(String, u32), u64>,
    /// Since when these have waited for a permit that nobody has.
    idle: BTreeMap<JobId, u64>,
    /// The longest that the store has taken to tell a process its time.
    pub(crate) slowest_answer: u64,
    /// From when to when this process, or all of them (`None`), could not work normally.
    disturbed: Vec<(Option<Owner>, u64, u64)>,
    /// Jobs that may be taken up again.
    pub(crate) retried: BTreeSet<JobId>,
    /// Whether no store keeps jobs: then a message is all there is of one, and what comes twice is run twice.
    unkept: bool,
    /// How calls ended.
    pub(crate) ends: Ends,
    /// How many answers found no client.
    pub(crate) answers_lost: u64,
    /// How many clients were not answered.
    pub(crate) unanswered: u64,
    fault: Option<Fault>,
}

impl Oracle {
    pub(crate) fn new(unkept: bool) -> Self {
        Self { unkept, ..Self::default() }
    }

    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    pub(crate) fn report(&mut self, property: Property, words: String) {
        self.fault.get_or_insert(Fault { property, words });
    }

    /// Something is let pass that only looks false.
    pub(crate) fn excuses(&mut self, why: &'static str) {
        *self.excused.entry(why).or_default() += 1;
    }

    /// It has come to something that is to be reached.
    pub(crate) fn reaches(&mut self, what: Reached) {
        *self.reached.entry(what).or_default() += 1;
    }

    /// A call begins; answers its number.
    pub(crate) fn begins(&mut self, call: Call, key: &str, attempt: u32) -> u64 {
        self.check_wanted(&call, attempt);
        self.check_due(&call, key, attempt);
        self.check_follows(&call);
        self.check_not_repeated(&call);
        self.check_not_twice(&call);
        self.next_call += 1;
        self.n_calls += 1;
        self.live.insert(self.next_call, call);
        self.next_call
    }

    /// No call begins after its process has learned of the end of its job, or after it was asked to stop.
    fn check_wanted(&mut self, Call { owner, job, what, begun, .. }: &Call, attempt: u32) {
        if self.drained.contains(owner) {
            self.report(Property::Drained, format!("{what} begins in process {} after it was asked to stop", owner.0));
        }
        let Some((at_attempt, at)) = self.told.get(&(*owner, *job)) else { return };
        let heard = self.thawed.get(owner).map_or(*at, |(_, thawed)| *thawed.max(at));
        if heard < *begun && *at_attempt >= attempt {
            self.report(Property::Told, format!("{what} begins in process {}, which knew that it has ended", owner.0));
        }
    }

    /// No attempt begins before its time. The clock of a process may be behind that of the store by as long as the store
    /// took to tell its time.
    fn check_due(&mut self, Call { job, what, begun, .. }: &Call, key: &str, attempt: u32) {
        let Some(failed) = self.failed.get(&(key.to_owned(), attempt - 1)).copied() else { return };
        if *begun + self.slowest_answer < failed + SHORTEST_PAUSE && self.is_same_run(*job, failed) {
            let millis = (begun - failed) / 1_000;
            self.report(Property::Early, format!("{what} begins {millis} ms after the one before it failed"));
        }
    }

    /// No job begins before those that it follows have ended.
    fn check_follows(&mut self, Call { job, what, .. }: &Call) {
        let after = self.follows.get(job).cloned().unwrap_or_default();
        if let Some(open) = after.into_iter().find(|other| !self.ever_ended.contains(other)) {
            self.report(Property::Follower, format!("{what} begins, and {open}, which it follows, has not ended"));
        }
    }

    /// When a process wrote that it works on a job, at the latest.
    pub(crate) fn claimed_at(&self, owner: Owner, job: JobId, now: u64) -> u64 {
        self.wrote.get(&(owner, job)).copied().unwrap_or(now)
    }

    /// Whether a call of this job runs.
    pub(crate) fn has_call(&self, job: JobId) -> bool {
        self.live.values().any(|call| call.job == job)
    }

    /// A job is sent again, as its message is said to be lost.
    pub(crate) fn sent_again(&mut self, job: JobId, may_be_lost: bool) {
        self.reaches(Reached::SentAgain);
        if !may_be_lost {
            self.report(Property::SentAgain, format!("{job} is sent again, and the broker has lost nothing"));
        }
        if let Some(call) = self.live.values().find(|call| call.job == job) {
            let words = format!("{job} is sent again, as if it were lost, while {} is called", call.what);
            self.report(Property::SentAgain, words);
        }
    }

    /// Whether the last heartbeat of a process has expired.
    pub(crate) fn is_silent(&self, owner: Owner, now: u64) -> bool {
        self.beats.get(&owner).is_none_or(|last| last + ALIVE_FOR < now)
    }

    /// A message comes that has come before.
    pub(crate) fn comes_again(&mut self, message: &Message, now: u64) {
        let job = message.job;
        let key = match message.kind {
            WorkKind::Part { index, .. } => format!("{job}.{index}"),
            WorkKind::Join => format!("{job}.join"),
            WorkKind::Job | WorkKind::Single | WorkKind::Step | WorkKind::Hooks(_) => job.to_string(),
        };
        self.reaches(Reached::CameAgain);
        // What lost its connection while it ran counts like what died.
        if self.live.values().any(|call| call.key() == key) {
            *self.deaths.entry(key.clone()).or_default() += 1;
        }
        self.came_again.insert(key, now);
    }

    /// When a job was last taken up again.
    pub(crate) fn taken_up(&self, job: JobId) -> Option<u64> {
        self.reopened.get(&job).copied()
    }

    /// The store has forgotten its last transactions, and takes requests again from then on.
    pub(crate) fn undoes(&mut self, until: u64) {
        self.undone = Some(until);
    }

    /// Whether a job was neither taken up again nor split again since then.
    fn is_same_run(&self, job: JobId, since: u64) -> bool {
        self.reopened.get(&job).is_none_or(|reopened| *reopened < since)
    }

    /// A call ends, or is dropped.
    pub(crate) fn ends(&mut self, call: u64, is_over: bool, now: u64) {
        if let Some(call) = self.live.remove(&call) {
            self.runs_on(&call, now);
            // It did not come to its end, and what is said of that may be lost with its process. One that lives drops
            // what another one has brought to its end.
            if !is_over && (self.has_died(call.owner) || !self.returned.contains_key(&call.what)) {
                *self.deaths.entry(call.key().to_owned()).or_default() += 1;
            }
            let allowed = call.limit.map(|limit| call.begun + limit + SETTLES);
            if allowed.is_some_and(|allowed| now > allowed) && self.is_calm(call.owner, call.begun, now) {
                let secs = (now - call.begun) / 1_000_000;
                self.report(
                    Property::Overtime,
                    format!("{} has taken {secs} s in process {}", call.what, call.owner.0),
                );
            }
        }
    }

    /// No call goes on for long after its job has ended.
    fn runs_on(&mut self, call: &Call, now: u64) {
        let Some(ended) = self.ended.get(&call.job).map(|ended| *ended.max(&call.begun)) else { return };
        if now > ended + LONGEST_AFTER && self.is_calm(call.owner, ended, now) {
            let secs = (now - ended) / 1_000_000;
            self.report(Property::RunsOn, format!("{} goes on in process {} for {secs} s", call.what, call.owner.0));
        }
    }

    /// A call has returned, or failed.
    pub(crate) fn returned(&mut self, call: u64, how: Return, now: u64) {
        if let Some(call) = self.live.get(&call) {
            if let Return::Last(what) = how {
                self.ends.came_to(call.what.split(' ').next().unwrap_or_default(), what);
            } else if self.unkept {
                // Attempts are counted by the process alone: another one begins with the first.
                return;
            }
            self.returned.entry(call.what.clone()).or_insert_with(|| (call.clone(), now));
        }
    }

    /// A job is split: calls of parts that were made before count for nothing.
    pub(crate) fn splits(&mut self, job: JobId, now: u64) {
        self.reopened.insert(job, now);
    }

    /// An attempt has failed, and may be made again.
    pub(crate) fn failed(&mut self, key: String, attempt: u32, now: u64) {
        self.failed.entry((key, attempt)).or_insert(now);
    }

    /// A process, or all of them (`None`), cannot work normally until then.
    pub(crate) fn disturbs(&mut self, owner: Option<Owner>, from: u64, until: u64) {
        self.disturbed.push((owner, from, until + SETTLES));
    }

    /// Whether a process could work normally between two moments.
    fn is_calm(&self, owner: Owner, from: u64, to: u64) -> bool {
        let concerns = |of: &Option<Owner>| of.is_none_or(|of| of == owner);
        !self.disturbed.iter().any(|(of, begins, ends)| concerns(of) && *begins < to && *ends > from)
    }

    /// An event is published after one that happened later.
    pub(crate) fn is_told_late(&mut self, words: String, happened: u64, now: u64) {
        // If its process has died, another one publishes it once the rows are released.
        let held_up = |from: u64, until: u64| from < now && until.min(from + FREED_WITHIN) > happened;
        if self.disturbed.iter().any(|(_, from, until)| held_up(*from, *until)) {
            self.excuses("an event of a process that was held up");
        } else {
            self.report(Property::Events, words);
        }
    }

    /// These jobs wait for a permit although one is free.
    pub(crate) fn waits_for_free_permit(&mut self, jobs: &[JobId], now: u64) {
        self.idle.retain(|job, _| jobs.contains(job));
        for job in jobs {
            let since = *self.idle.entry(*job).or_insert(now);
            if now > since && self.is_calm(Owner::WORLD, since, now) {
                let millis = (now - since) / 1_000;
                let words = format!("{job} waits since {} s, {millis} ms, for a permit that is free", Moment(since));
                self.report(Property::Idle, words);
            }
        }
    }

    /// A client hears that a job is not there any more.
    pub(crate) fn removed(&mut self, job: JobId, kept: u64, now: u64) {
        self.reaches(Reached::RemovedWhileAwaited);
        // By a clock that is set right within some seconds.
        let is_due = self.ended.get(&job).is_some_and(|ended| *ended + kept <= now + BEAT);
        if !is_due {
            self.report(Property::Kept, format!("{job} was removed before its time"));
        }
    }

    /// What must be true in the end.
    pub(crate) fn rests(&mut self, now: u64) {
        for call in std::mem::take(&mut self.live).into_values() {
            self.runs_on(&call, now);
        }
    }

    /// A client has heard of the end of a job.
    pub(crate) fn hears(&mut self, client: Owner, job: JobId, asked: u64, now: u64) {
        let Some(ended) = self.ended.get(&job).map(|ended| *ended.max(&asked)) else { return };
        if now > ended + SOON && self.is_calm(client, ended, now) {
            let millis = (now - ended) / 1_000;
            self.report(Property::Late, format!("a client hears of the end of {job} {millis} ms after it"));
        }
    }

    pub(crate) fn drained(&mut self, owner: Owner) {
        self.drained.insert(owner);
    }

    /// A transaction has changed a job.
    pub(crate) fn changed(&mut self, by: Owner, before: Option<&JobView>, after: Option<&JobView>, now: u64) {
        let Some(after) = after else { return };
        let id = after.job.id;
        self.wrote.insert((by, id), now);
        let Some(before) = before else {
            // It was removed in time, and a message of it was still under way.
            if self.ended.remove(&id).is_some() {
                self.reopened.insert(id, now);
                self.told.retain(|(_, job), _| *job != id);
                self.excuses("a job begun anew that had been removed");
            }
            return;
        };
        let (was, is) = (before.job.state, after.job.state);
        if self.retried.contains(&id) && self.clients.contains(&by) && before.job.attempt != after.job.attempt {
            self.reopened.insert(id, now);
        }
        if before.head.epoch != after.head.epoch {
            // Split anew: what was made of it before counts for nothing.
            self.reaches(Reached::Split);
            self.reopened.insert(id, now);
        }
        if was.is_final() && !is.is_final() {
            self.reaches(Reached::TakenUpAgain);
            self.reopened.insert(id, now);
            self.revived.insert(id);
            self.ended.remove(&id);
            self.told.retain(|(_, job), _| *job != id);
        }
        if is.is_final() && !was.is_final() {
            self.has_ended(id, now);
        }
        let place = format!("p{}/", by.0);
        let is_of_another = before.job.worker.as_ref().is_some_and(|worker| !worker.starts_with(&place));
        if was == JobState::Running && is == JobState::Ready && is_of_another && before.job.attempt == after.job.attempt
        {
            self.report(Property::GivenBack, format!("process {} gives back job {id}, which another one has", by.0));
        }
        // The next attempt of a job takes up those below it that failed.
        let may_reopen = self.retried.contains(&before.job.root) || after.job.parent.is_some();
        if was.is_final() && was != is && !may_reopen {
            self.report(Property::Once, format!("job {id} was {was} and is {is}"));
        }
        if was.is_final() && was == is && before.output != after.output {
            self.report(Property::Once, format!("job {id} has another output"));
        }
    }

    /// Whether a job is called by a process that lives, and has been for a while.
    pub(crate) fn is_called(&self, job: JobId, now: u64) -> bool {
        let lives = |owner: &Owner| self.beats.get(owner).is_some_and(|beat| now < beat + ALIVE_FOR);
        let mut calls = self.live.values().filter(|call| call.job == job && self.is_same_run(job, call.claimed));
        calls.any(|call| call.begun + SETTLES < now && lives(&call.owner) && self.undone.is_none())
    }

    /// A job has ended.
    pub(crate) fn has_ended(&mut self, job: JobId, now: u64) {
        self.ever_ended.insert(job);
        self.ended.entry(job).or_insert(now);
    }

    /// How many calls of a job, or of the part of it that lost most, were lost with their processes.
    pub(crate) fn deaths_of(&self, job: JobId) -> u32 {
        let job = job.to_string();
        let is_of = |key: &String| key.split('.').next() == Some(job.as_str());
        self.deaths.iter().filter(|(key, _)| is_of(key)).map(|(_, deaths)| *deaths).max().unwrap_or(0)
    }

    /// Whether calls of anything were lost more often than this.
    pub(crate) fn has_deaths_beyond(&self, most: u32) -> bool {
        self.deaths.values().any(|deaths| *deaths > most)
    }

    /// How many calls a process makes.
    pub(crate) fn n_calls_of(&self, owner: Owner) -> usize {
        self.live.values().filter(|call| call.owner == owner).count()
    }

    /// A job has waited in one worker while another one had a slot for it.
    pub(crate) fn hoards(&mut self, job: JobId, (owner, idle): (Owner, Owner), since: u64, now: u64) {
        if self.is_calm(owner, since, now) && self.is_calm(idle, since, now) {
            let (secs, owner, idle) = ((now - since) / 1_000_000, owner.0, idle.0);
            self.report(
                Property::Hoards,
                format!("{job} has waited in process {owner} for {secs} s, while {idle} had a slot"),
            );
        }
    }

    /// How many wanted calls run that nobody could take for dead.
    pub(crate) fn calls_of(&self, is_wanted: impl Fn(JobId) -> bool, now: u64) -> usize {
        let counts = |call: &&Call| {
            let lives = self.beats.get(&call.owner).is_some_and(|beat| now < beat + ALIVE_FOR);
            // That a call has its permit may have been undone with its beginning.
            let is_kept = self.undone.is_none_or(|undone| undone < call.begun);
            is_kept && lives && self.dead.get(&call.owner).is_none_or(|dead| *dead < call.begun)
        };
        self.live.values().filter(counts).filter(|call| is_wanted(call.job)).count()
    }
}
