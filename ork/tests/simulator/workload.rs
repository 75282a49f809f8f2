//! The acts of clients in a run: the jobs that they submit, and how they control them.

use serde::{Deserialize, Serialize};

use super::dice::Dice;
use super::expected::Expected;
use super::flows::{self, FlowTask};
use super::schedules::Minutely;
use super::tasks::{Script, TIMEOUT};

/// Something that a client does to a job, which has a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Act {
    Submit(u64, Job),
    Cancel(u64),
    /// At the very moment at which a worker has claimed the job.
    CancelClaimed(u64),
    Interrupt(u64),
    Retry(u64),
    /// Retries the part with this index of the job with this number.
    RetryPart(u64, u64),
    /// The client calls `why` for the job.
    Why(u64),
    /// The schedule with this number starts this script at each minute, until all else has ended.
    Schedule(u64, Minutely, Script),
    /// Pauses the schedule with this number, and resumes it after so many milliseconds.
    Pause(u64, u64),
}

/// A job that is submitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Job {
    Plain(Script),
    Blocking(Script),
    /// Two such jobs run at a time, in all processes together.
    Narrow(Script),
    /// Two such jobs run at a time for each key, which is the number.
    Keyed(u64, Script),
    /// Its input fits workers of the version of its client only.
    Versioned(Script),
    /// Jobs that are submitted together, all or none.
    Together(Vec<Script>),
    /// It has a time limit of five seconds.
    Timed(Script),
    /// It is split into these parts.
    Many(Vec<Script>),
    /// It submits child jobs.
    Tree(Script, Vec<Script>),
    /// One job per key at a time.
    Unique(u64, Script),
    /// It takes its key over from a job that has been inactive for this many milliseconds.
    Takeover(u64, u64, Script),
    /// It splits itself into these parts.
    Itself(Vec<Script>),
    /// It starts when the earlier jobs with these numbers have ended.
    Follower(Vec<u64>, Script),
    /// Others follow its end: one in any case, one if it succeeded, one if it did not.
    Hooked(Script),
    /// Its client waits for the outcome.
    Asked(Script),
    /// A workflow of these tasks.
    Flow(Vec<FlowTask>),
    /// Messages of another program; the last of the set sends hooks.
    Set(Vec<Script>),
}

impl Act {
    /// The number and the job that it submits.
    pub(crate) const fn submits(&self) -> Option<(u64, &Job)> {
        match self {
            Self::Submit(number, job) => Some((*number, job)),
            Self::Cancel(_)
            | Self::CancelClaimed(_)
            | Self::Interrupt(_)
            | Self::Retry(_)
            | Self::RetryPart(..)
            | Self::Why(_)
            | Self::Schedule(..)
            | Self::Pause(..) => None,
        }
    }
}

impl Act {
    /// The number of the client that does it, of so many; `None` if another program does. Another client controls a
    /// job than the one that submits it.
    pub(crate) fn client(&self, n_clients: usize) -> Option<usize> {
        let number = match self {
            Self::Submit(_, Job::Set(_)) => return None,
            Self::Submit(number, _) | Self::Schedule(number, ..) => *number,
            Self::Cancel(number)
            | Self::CancelClaimed(number)
            | Self::Interrupt(number)
            | Self::Retry(number)
            | Self::RetryPart(number, _)
            | Self::Pause(number, _)
            | Self::Why(number) => number + 1,
        };
        usize::try_from(number).ok()?.checked_rem(n_clients)
    }

    pub(crate) const fn submits_mut(&mut self) -> Option<&mut Job> {
        match self {
            Self::Submit(_, job) => Some(job),
            _ => None,
        }
    }
}

impl Job {
    pub(crate) fn scripts(&self) -> Vec<Script> {
        self.clone().scripts_mut().into_iter().map(|script| script.clone()).collect()
    }

    pub(crate) fn scripts_mut(&mut self) -> Vec<&mut Script> {
        match self {
            Self::Plain(script)
            | Self::Versioned(script)
            | Self::Blocking(script)
            | Self::Narrow(script)
            | Self::Timed(script)
            | Self::Keyed(_, script)
            | Self::Unique(_, script)
            | Self::Takeover(_, _, script)
            | Self::Follower(_, script)
            | Self::Hooked(script)
            | Self::Asked(script) => vec![script],
            Self::Many(scripts) | Self::Itself(scripts) | Self::Set(scripts) | Self::Together(scripts) => {
                scripts.iter_mut().collect()
            }
            Self::Tree(script, below) => [script].into_iter().chain(below).collect(),
            Self::Flow(tasks) => tasks.iter_mut().flat_map(FlowTask::scripts_mut).collect(),
        }
    }

    /// Its outcome if no client controls it.
    pub(crate) fn expected(&self) -> Expected {
        let scripts = self.scripts();
        match self {
            // They are compared one by one.
            Self::Together(_) => Expected::Any,
            // The attempts in which it was parked have numbers, too.
            Self::Versioned(script) if script.fails > 0 => Expected::Any,
            // A process that was frozen may have returned in time, or not.
            Self::Timed(script) if u128::from(script.takes) + 100 > TIMEOUT.as_millis() => Expected::Any,
            Self::Flow(tasks) if flows::succeeds(tasks) => Expected::Success(None),
            Self::Flow(_) => Expected::Failed,
            _ if !scripts.iter().all(Script::succeeds) => Expected::Failed,
            Self::Many(_) | Self::Itself(_) => Expected::Success(Some(scripts.iter().map(|script| script.key).sum())),
            _ => Expected::Success(scripts.first().map(|script| script.key)),
        }
    }
}

/// The number of kinds that are drawn; some are there twice, as they are likelier.
pub(crate) const JOB_KINDS: u64 = 28;

/// Draws a submission. A third of the jobs of a seed are of its usual kind, so that these meet.
pub(crate) fn submission(dice: &mut Dice, (number, usual): (u64, u64), calm: u64) -> (u64, Act) {
    let (at, other) = (dice.below(calm), dice.below(JOB_KINDS));
    let kind = if dice.percent(33) { usual } else { other };
    let script = Script::generate(dice);
    let some = |dice: &mut Dice, most| (0..dice.any_size(most)).map(|_| Script::generate(dice)).collect();
    let job = match kind {
        0..=2 => Job::Plain(script),
        3 | 4 => Job::Blocking(script),
        5 | 6 => Job::Narrow(script),
        7 => Job::Timed(script),
        8 | 9 => Job::Many(some(dice, 40)),
        10 => Job::Tree(script, some(dice, 8)),
        11 => Job::Itself(some(dice, 12)),
        12 => Job::Follower((0..dice.between(1, 4)).map(|_| dice.below(number + 1)).collect(), script),
        13 | 14 => Job::Hooked(script),
        15 => Job::Asked(script),
        16 | 17 => Job::Flow(FlowTask::generate_all(dice)),
        18 => Job::Set((0..=dice.any_size(12)).map(|_| Script::generate(dice)).collect()),
        19 | 20 => Job::Keyed(dice.below(3), script),
        21 | 22 => Job::Together((0..=dice.any_size(8)).map(|_| Script::generate(dice)).collect()),
        25 | 26 => Job::Versioned(Script { fails: 0, ..script }),
        23 | 24 => Job::Takeover(dice.below(2), dice.between(1, 40_000), script),
        _ => Job::Unique(dice.below(2), script),
    };
    (at, Act::Submit(number, job))
}

/// Returns a job of a similar kind that needs no store.
pub(crate) fn storeless(job: Job) -> Job {
    match job {
        Job::Plain(_)
        | Job::Blocking(_)
        | Job::Timed(_)
        | Job::Many(_)
        | Job::Hooked(_)
        | Job::Asked(_)
        | Job::Set(_) => job,
        Job::Narrow(script)
        | Job::Versioned(script)
        | Job::Keyed(_, script)
        | Job::Unique(_, script)
        | Job::Takeover(_, _, script)
        | Job::Follower(_, script) => Job::Plain(script),
        Job::Tree(_, scripts) | Job::Itself(scripts) | Job::Together(scripts) => Job::Many(scripts),
        Job::Flow(tasks) => Job::Many(tasks.into_iter().flat_map(FlowTask::into_scripts).collect()),
    }
}

pub(crate) fn act(dice: &mut Dice, submitted: &[(u64, u64)]) -> (u64, Act) {
    let (job, at) = submitted.get(dice.index(submitted.len())).copied().unwrap_or_default();
    let at = at + dice.any_size(30_000);
    let act = match dice.below(8) {
        0 => Act::Cancel(job),
        3 | 4 => Act::CancelClaimed(job),
        1 => Act::Interrupt(job),
        5..=7 => Act::Why(job),
        _ => Act::Retry(job),
    };
    (at, act)
}
