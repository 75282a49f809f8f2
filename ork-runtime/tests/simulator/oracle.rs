//! What must be true, whatever happens. It sees what is committed, what is called, and what processes are told.

use std::collections::{BTreeMap, BTreeSet};

use ork::accounting::ALIVE;
use ork::store::JobView;
use ork::{JobId, JobState};

use super::executor::Owner;

/// What was found to be false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) property: &'static str,
    pub(crate) words: String,
}

/// One call of a function.
#[derive(Debug, Clone)]
struct Call {
    owner: Owner,
    job: JobId,
    /// Of which job or part it is, and which attempt.
    what: String,
    begun: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    next_call: u64,
    live: BTreeMap<u64, Call>,
    pub(crate) n_calls: u64,
    /// How often a process died while it called this.
    deaths: BTreeMap<String, u32>,
    /// When the last sign of life of a process was written.
    beats: BTreeMap<Owner, u64>,
    /// When a process last was silent for so long that others may take it for dead.
    silent: BTreeMap<Owner, u64>,
    /// Which jobs a process was told to have ended, at which attempt, and when.
    told: BTreeMap<(Owner, JobId), (u32, u64)>,
    /// When processes went on that had been frozen.
    thawed: BTreeMap<Owner, u64>,
    drained: BTreeSet<Owner>,
    /// When jobs were taken up again.
    reopened: BTreeMap<JobId, u64>,
    /// How often something was let pass that only looks false, by the reason.
    pub(crate) excuses: BTreeMap<&'static str, u64>,
    /// Jobs that may be taken up again.
    pub(crate) retried: BTreeSet<JobId>,
    fault: Option<Fault>,
}

impl Oracle {
    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    pub(crate) fn blame(&mut self, property: &'static str, words: String) {
        self.fault.get_or_insert(Fault { property, words });
    }

    /// A call begins; answers its number.
    pub(crate) fn begins(&mut self, owner: Owner, job: JobId, key: &str, attempt: u32, now: u64) -> u64 {
        let what = format!("{key} attempt {attempt}");
        if self.drained.contains(&owner) {
            self.blame("drained", format!("{what} begins in process {} after it was told to stop", owner.0));
        }
        if let Some((at_attempt, at)) = self.told.get(&(owner, job)) {
            let heard = self.thawed.get(&owner).map_or(*at, |thawed| *thawed.max(at));
            if heard < now && *at_attempt >= attempt {
                self.blame("told", format!("{what} begins in process {}, which knew that it has ended", owner.0));
            }
        }
        let alive = u64::try_from(ALIVE.as_micros()).unwrap();
        if let Some(other) = self.live.values().find(|call| call.what == what) {
            let lives = self.beats.get(&other.owner).is_some_and(|beat| now < beat + alive);
            let since = |when: Option<&u64>| when.is_some_and(|when| *when >= other.begun);
            if since(self.reopened.get(&job)) {
                // What it returns counts for nothing; it may go on for as long as it is given to tidy up.
                *self.excuses.entry("beside a call of an earlier run").or_default() += 1;
            } else if other.owner == owner {
                self.blame("twice", format!("{what} begins twice in process {}", owner.0));
            } else if !lives || since(self.silent.get(&other.owner)) {
                *self.excuses.entry("beside a call whose process was silent").or_default() += 1;
            } else {
                let places = format!("process {} beside the one in {}, which lives", owner.0, other.owner.0);
                self.blame("twice", format!("{what} begins in {places}"));
            }
        }
        self.next_call += 1;
        self.n_calls += 1;
        self.live.insert(self.next_call, Call { owner, job, what, begun: now });
        self.next_call
    }

    pub(crate) fn ends(&mut self, call: u64) {
        self.live.remove(&call);
    }

    /// A process dies: its calls are lost.
    pub(crate) fn dies(&mut self, owner: Owner) {
        for call in self.live.values().filter(|call| call.owner == owner) {
            *self.deaths.entry(format!("{}", call.job)).or_default() += 1;
        }
    }

    pub(crate) fn beats(&mut self, owner: Owner, now: u64) {
        let alive = u64::try_from(ALIVE.as_micros()).unwrap();
        if self.beats.insert(owner, now).is_some_and(|last| now >= last + alive) {
            self.silent.insert(owner, now);
        }
    }

    pub(crate) fn told(&mut self, owner: Owner, job: JobId, attempt: u32, now: u64) {
        self.told.insert((owner, job), (attempt, now));
    }

    pub(crate) fn thaws(&mut self, owner: Owner, now: u64) {
        self.thawed.insert(owner, now);
    }

    pub(crate) fn drained(&mut self, owner: Owner) {
        self.drained.insert(owner);
    }

    /// A transaction has changed a job.
    pub(crate) fn changed(&mut self, before: Option<&JobView>, after: Option<&JobView>, now: u64) {
        let (Some(before), Some(after)) = (before, after) else { return };
        let id = after.job.id;
        let (was, is) = (before.job.state, after.job.state);
        if was.is_final() && !is.is_final() {
            self.reopened.insert(id, now);
            self.told.retain(|(_, job), _| *job != id);
        }
        // The next attempt of a job takes up those below it that failed.
        let may_reopen = self.retried.contains(&before.job.root) || after.job.parent.is_some();
        if was.is_final() && was != is && !may_reopen {
            self.blame("once", format!("job {id} was {was} and is {is}"));
        }
        if was.is_final() && was == is && before.output != after.output {
            self.blame("once", format!("job {id} has another output"));
        }
    }

    /// How many calls of a job were lost with their processes.
    pub(crate) fn deaths_of(&self, job: JobId) -> u32 {
        self.deaths.get(&job.to_string()).copied().unwrap_or(0)
    }

    pub(crate) fn n_live(&self) -> usize {
        self.live.len()
    }

    /// How many calls of a task run in processes that others must take for alive.
    pub(crate) fn calls_of(&self, is_wanted: impl Fn(JobId) -> bool, now: u64) -> usize {
        let alive = u64::try_from(ALIVE.as_micros()).unwrap();
        let lives = |call: &&Call| self.beats.get(&call.owner).is_some_and(|beat| now < beat + alive);
        self.live.values().filter(lives).filter(|call| is_wanted(call.job)).count()
    }
}

/// Whether a state is the last one.
pub(crate) fn is_open(view: &JobView) -> bool {
    !view.job.state.is_final()
}

/// What a job must come to, if that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Success(Option<u64>),
    Failed,
    Any,
}

impl Expected {
    pub(crate) fn holds(&self, state: JobState, output: Option<&[u8]>) -> bool {
        match self {
            Self::Any => true,
            Self::Failed => state == JobState::Failed,
            Self::Success(None) => state == JobState::Success,
            Self::Success(Some(number)) => {
                state == JobState::Success && output.is_some_and(|output| output == number.to_string().as_bytes())
            }
        }
    }
}
