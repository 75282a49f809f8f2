//! A scenario: all that happens in a run, as plain data. It is generated from a seed, and made smaller when a fault is
//! found.

use serde::{Deserialize, Serialize};

use ork::JobId;
use ork::broker::{DeadReason, Refused};
use ork::message::{Ask, Message};

use super::broker::Letter;
use super::dice::Dice;
use super::expected::Expected;
use super::tasks::{Script, TIMEOUT};

/// Everything that happens. All times are milliseconds since the beginning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scenario {
    /// Of the order of futures, of delays, of what processes draw.
    pub(crate) seed: u64,
    pub(crate) store: StoreKind,
    /// Whether there is a broker, and which queues it has.
    #[serde(default)]
    pub(crate) broker: Option<QueueKind>,
    /// For how many seconds jobs are kept that have ended; 0 for ever.
    #[serde(default)]
    pub(crate) retention: u64,
    /// How many calls of one attempt may be lost with their processes; 0 for the usual number.
    #[serde(default)]
    pub(crate) max_losses: u32,
    pub(crate) workers: Vec<ProcessSpec>,
    pub(crate) acts: Vec<(u64, Act)>,
    pub(crate) troubles: Vec<(u64, Trouble)>,
    /// When the last trouble has ended.
    pub(crate) calm: u64,
}

/// How the ends of a store hear of what others did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StoreKind {
    /// A server that tells each what happened, as `PostgreSQL` does.
    Server,
    /// A file; others hear that something happened, as with `SQLite`.
    File,
}

/// How the queues of a broker keep messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum QueueKind {
    /// Counts how often each message was delivered.
    Quorum,
    /// Knows only whether it was.
    Classic,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProcessSpec {
    pub(crate) ahead_ms: i64,
    pub(crate) ppm: i64,
    pub(crate) concurrency: u64,
    pub(crate) blocking: u64,
    /// After how many milliseconds it acknowledges what it still works on; 0 for the usual time.
    #[serde(default)]
    pub(crate) ack_within: u64,
}

/// What a client does to a job, which has a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Act {
    Submit(u64, Job),
    Cancel(u64),
    /// At the very moment at which a worker has claimed it.
    CancelClaimed(u64),
    Interrupt(u64),
    Retry(u64),
    /// It is asked what the job waits for.
    Why(u64),
}

/// What is submitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Job {
    Plain(Script),
    Blocking(Script),
    /// Two at a time, in all processes together.
    Narrow(Script),
    /// It has five seconds.
    Timed(Script),
    /// Split into these parts.
    Many(Vec<Script>),
    /// Jobs below it.
    Tree(Script, Vec<Script>),
    /// One of a key at a time.
    Unique(u64, Script),
    /// It splits itself into these parts.
    Itself(Vec<Script>),
    /// It begins when those of these numbers have ended that were submitted before.
    Follower(Vec<u64>, Script),
    /// Others follow its end: one in any case, one if it went well, one if it did not.
    Hooked(Script),
    /// Its client waits for the answer.
    Asked(Script),
}

/// How a worker comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ends {
    Dies,
    Drains,
    Stops,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Trouble {
    /// A worker dies, and is started again.
    Crash { worker: usize, back: u64 },
    /// A worker does nothing for a while, and goes on.
    Freeze { worker: usize, lasts: u64 },
    /// All processes do nothing for a while, as when their computer sleeps.
    Sleep { lasts: u64 },
    /// A worker is told to stop, and is started again.
    Drain { worker: usize, back: u64 },
    /// A worker is told to stop twice.
    Stop { worker: usize, back: u64 },
    /// The clock of a worker is set.
    Turn { worker: usize, by: i64 },
    /// A worker ends in the middle of a transaction: it is committed and not answered yet. So many transactions go before
    /// that one.
    InCommit { worker: usize, after: u64, what: Ends },
    /// The store answers late, up to so many milliseconds.
    Late { most: u64, lasts: u64 },
    /// Every second transaction is rolled back after it was carried out, and carried out again.
    Conflicts { lasts: u64 },
    /// The store refuses all that is to be written.
    NoSpace { lasts: u64 },
    /// The server of the store begins anew, without the last transactions that were not to outlive that.
    Undone { lasts: u64 },
    /// The connection to the broker is cut, of a worker or of all, and no other one is made for a while.
    Cut { worker: Option<usize>, lasts: u64 },
    /// The broker closes the channels of a worker.
    Channels { worker: usize },
    /// The broker answers late, up to so many milliseconds.
    SlowBroker { most: u64, lasts: u64 },
    /// The broker reads nothing that is published.
    Blocks { lasts: u64 },
    /// The queues take nothing.
    Full { lasts: u64 },
    /// Others publish again what waits, so much of each queue.
    Doubles { most: usize },
    /// Others take what waits, so much of each queue, and give it back or keep it.
    Stranger { most: usize, lasts: u64, keeps: bool },
    /// Others publish something.
    Foreign(Foreign),
    /// All that waits is removed.
    Purge,
    /// Another node of the broker takes over, which has not heard of the newest messages of each queue.
    Failover { most: usize, lasts: u64 },
    /// What has waited for so many milliseconds is removed.
    Expires { longest: u64, lasts: u64 },
    /// The store refuses everything, for one worker or for all.
    Refuses { worker: Option<usize>, lasts: u64 },
}

/// What others publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Foreign {
    /// It is no message of ork.
    Unreadable,
    /// No worker knows its task.
    UnknownTask,
    /// It is about a part of an unknown job.
    UnknownJob,
}

impl Foreign {
    /// What it is that is published at this moment.
    pub(crate) fn letter(self, now: u64) -> Letter {
        let mut job = [0; 16];
        job.iter_mut().zip(now.to_be_bytes()).for_each(|(to, from)| *to = from);
        let message = Message { body: "null".into(), ..Message::about(JobId::from_bytes(job), "strange") };
        let message = match self {
            Self::Unreadable => {
                let detail = "its header is wrong".to_owned();
                let (reply, job, task, hooks) = (None, None, None, None);
                Err(Refused { reason: DeadReason::Undecodable, detail, reply, job, task, hooks })
            }
            Self::UnknownTask => Ok(message),
            Self::UnknownJob => {
                Ok(Message { task: "many".to_owned(), ask: Ask::Part { epoch: 1, index: 0 }, ..message })
            }
        };
        Letter { message, anonymous: self == Self::Unreadable, foreign: true }
    }
}

/// In milliseconds.
const HOUR: u64 = 3_600_000;

impl Scenario {
    /// The scenario of a seed.
    pub(crate) fn generate(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "scenario", 0);
        // Some last for hours, with longer troubles.
        let calm = if dice.percent(6) { dice.between(HOUR, 5 * HOUR) } else { dice.between(20_000, 180_000) };
        let store = if dice.percent(50) { StoreKind::Server } else { StoreKind::File };
        let n_workers = dice.between(1, 4);
        let workers =
            (0..n_workers).map(|number| worker(&mut Dice::new(seed, "worker", number), store, calm)).collect();
        // Each seed leaves out some kinds of trouble, so that they do not always mask one another.
        let mut kinds: Vec<u64> = (0..12).filter(|_| dice.percent(60)).collect();
        let broker = match dice.below(4) {
            0 => Some(QueueKind::Classic),
            1 => Some(QueueKind::Quorum),
            _ => None,
        };
        if broker.is_some() {
            kinds.extend((20..28).filter(|_| dice.percent(50)));
            // What loses messages takes long to be found.
            if dice.percent(25) {
                kinds.extend(30..34);
                // If the removal of a row of the outbox is undone, a lost message of it is not detected.
                kinds.retain(|kind| *kind != 11);
            }
        }
        if store == StoreKind::File {
            // The processes of a file share the clock of their computer, and end with it.
            kinds.retain(|kind| *kind != 4 && *kind != 11);
        }
        let retention = if dice.percent(20) { dice.between(60, 120) } else { 0 };
        let max_losses = if dice.percent(30) { u32::try_from(dice.between(1, 4)).unwrap() } else { 0 };
        let n_troubles = if kinds.is_empty() { 0 } else { dice.any_size(24) };
        let mut troubles: Vec<_> = (0..n_troubles)
            .map(|number| {
                let mut dice = Dice::new(seed, "trouble", number);
                let kind = kinds.get(dice.index(kinds.len())).copied().unwrap_or(0);
                trouble(&mut dice, kind, n_workers, calm)
            })
            .collect();
        troubles.sort_by_key(|(at, _)| *at);
        let n_jobs = dice.between(1, 40);
        let usual = dice.below(JOB_KINDS);
        let job = |number| submission(&mut Dice::new(seed, "job", number), (number, usual), calm);
        let mut acts: Vec<_> = (0..n_jobs).map(job).collect();
        acts.sort_by_key(|(at, _)| *at);
        let submitted: Vec<_> = acts.iter().filter_map(|(at, act)| Some((act.submits()?.0, *at))).collect();
        for number in 0..dice.any_size(24) {
            acts.push(act(&mut Dice::new(seed, "act", number), &submitted));
        }
        Self { seed, store, broker, retention, max_losses, workers, acts, troubles, calm }
    }
}

impl Trouble {
    /// Whether it is a trouble of a broker.
    pub(crate) const fn is_of_broker(&self) -> bool {
        match self {
            Self::Crash { .. }
            | Self::Freeze { .. }
            | Self::Sleep { .. }
            | Self::Drain { .. }
            | Self::Stop { .. }
            | Self::Turn { .. }
            | Self::InCommit { .. }
            | Self::Late { .. }
            | Self::Conflicts { .. }
            | Self::NoSpace { .. }
            | Self::Undone { .. }
            | Self::Refuses { .. } => false,
            Self::Cut { .. }
            | Self::Channels { .. }
            | Self::SlowBroker { .. }
            | Self::Blocks { .. }
            | Self::Full { .. }
            | Self::Doubles { .. }
            | Self::Stranger { .. }
            | Self::Foreign(_)
            | Self::Purge
            | Self::Failover { .. }
            | Self::Expires { .. } => true,
        }
    }
}

impl Scenario {
    /// Whether the broker loses what it has confirmed.
    pub(crate) fn loses_messages(&self) -> bool {
        let loses = |trouble: &Trouble| match trouble {
            Trouble::Purge | Trouble::Failover { .. } | Trouble::Expires { .. } => true,
            Trouble::Stranger { keeps, .. } => *keeps,
            _ => false,
        };
        self.troubles.iter().any(|(_, trouble)| loses(trouble))
    }

    /// Whether the store loses transactions that it has not promised to keep.
    pub(crate) fn undoes(&self) -> bool {
        self.troubles.iter().any(|(_, trouble)| matches!(trouble, Trouble::Undone { .. }))
    }

    /// How many milliseconds all calls take, if each is called as often as it may be.
    pub(crate) fn work(&self) -> u64 {
        let of_job = |(_, act): &(u64, Act)| match act {
            Act::Submit(_, job) => job.scripts().iter().map(|script| script.takes + 2_000).sum(),
            Act::Cancel(_) | Act::CancelClaimed(_) | Act::Interrupt(_) | Act::Retry(_) | Act::Why(_) => 0,
        };
        3 * self.acts.iter().map(of_job).sum::<u64>()
    }
}

impl Act {
    /// The job that it submits, and its number.
    pub(crate) const fn submits(&self) -> Option<(u64, &Job)> {
        match self {
            Self::Submit(number, job) => Some((*number, job)),
            Self::Cancel(_) | Self::CancelClaimed(_) | Self::Interrupt(_) | Self::Retry(_) | Self::Why(_) => None,
        }
    }
}

impl Job {
    fn scripts(&self) -> Vec<&Script> {
        match self {
            Self::Plain(script)
            | Self::Blocking(script)
            | Self::Narrow(script)
            | Self::Timed(script)
            | Self::Unique(_, script)
            | Self::Follower(_, script)
            | Self::Hooked(script)
            | Self::Asked(script) => vec![script],
            Self::Many(scripts) | Self::Itself(scripts) => scripts.iter().collect(),
            Self::Tree(script, below) => [script].into_iter().chain(below).collect(),
        }
    }

    /// Its result if no client steers it.
    pub(crate) fn expected(&self) -> Expected {
        let scripts = self.scripts();
        match self {
            // One that was frozen may have returned in time, or not.
            Self::Timed(script) if u128::from(script.takes) + 100 > TIMEOUT.as_millis() => Expected::Any,
            _ if !scripts.iter().all(|script| script.succeeds()) => Expected::Failed,
            Self::Many(_) | Self::Itself(_) => Expected::Success(Some(scripts.iter().map(|script| script.key).sum())),
            _ => Expected::Success(scripts.first().map(|script| script.key)),
        }
    }
}

fn worker(dice: &mut Dice, store: StoreKind, calm: u64) -> ProcessSpec {
    let server = store == StoreKind::Server;
    let ahead = match dice.below(10) {
        _ if !server => 0,
        0 => 3_600_000,
        1 | 2 => 40_000,
        _ => 200,
    };
    let sign = |n: i64, dice: &mut Dice| if dice.percent(50) { -n } else { n };
    let ahead_ms = i64::try_from(dice.below(ahead + 1)).unwrap();
    let ahead_ms = sign(ahead_ms, dice);
    // While the store is away for an hour, nothing sets a clock right.
    let drift = if calm > HOUR { 10 } else { 200 };
    let ack_within = if dice.percent(30) { dice.between(2_000, 20_000) } else { 0 };
    let ppm = i64::try_from(if server { dice.below(drift) } else { 0 }).unwrap();
    ProcessSpec {
        ahead_ms,
        ppm: sign(ppm, dice),
        concurrency: dice.between(1, 8),
        blocking: dice.between(1, 3),
        ack_within,
    }
}

fn trouble(dice: &mut Dice, kind: u64, n_workers: u64, calm: u64) -> (u64, Trouble) {
    let at = dice.below(calm);
    let worker = usize::try_from(dice.below(n_workers)).unwrap();
    let back = 1 + dice.any_size(20_000);
    // Every fourth lasts longer than a heartbeat is believed.
    let lasts = if dice.percent(25) { dice.between(15_000, 40_000) } else { dice.any_size(15_000) };
    let lasts = if calm > HOUR && dice.percent(25) { dice.any_size(HOUR) } else { lasts };
    let lasts = (1 + lasts).min(calm - at);
    let trouble = match kind {
        0 => Trouble::Crash { worker, back },
        1 => Trouble::Freeze { worker, lasts },
        2 => Trouble::Drain { worker, back },
        3 => Trouble::Stop { worker, back },
        4 => {
            let by = i64::try_from(dice.any_size(3_600_000)).unwrap();
            Trouble::Turn { worker, by: if dice.percent(50) { -by } else { by } }
        }
        8 => Trouble::Sleep { lasts },
        7 => {
            let what = [Ends::Dies, Ends::Drains, Ends::Drains, Ends::Stops];
            let what = what.get(dice.index(what.len())).copied().unwrap_or(Ends::Dies);
            Trouble::InCommit { worker, after: dice.any_size(30), what }
        }
        9 => Trouble::Conflicts { lasts },
        10 => Trouble::NoSpace { lasts },
        11 => Trouble::Undone { lasts: lasts.min(10_000) },
        20 | 21 => Trouble::Cut { worker: dice.percent(60).then_some(worker), lasts },
        22 => Trouble::Channels { worker },
        23 => Trouble::SlowBroker { most: 1 + dice.any_size(8_000), lasts },
        24 => Trouble::Blocks { lasts },
        25 => Trouble::Full { lasts },
        26 => Trouble::Doubles { most: 1 + dice.index(4) },
        27 => {
            let what = [Foreign::Unreadable, Foreign::UnknownTask, Foreign::UnknownJob];
            Trouble::Foreign(what.get(dice.index(what.len())).copied().unwrap_or(Foreign::Unreadable))
        }
        30 => Trouble::Purge,
        31 => Trouble::Failover { most: 1 + dice.index(4), lasts },
        32 => Trouble::Stranger { most: 1 + dice.index(4), lasts, keeps: dice.percent(30) },
        33 => Trouble::Expires { longest: 1 + dice.any_size(20_000), lasts },
        5 => Trouble::Late { most: 1 + dice.any_size(8_000), lasts },
        _ => Trouble::Refuses { worker: dice.percent(50).then_some(worker), lasts },
    };
    (at, trouble)
}

/// So many kinds of jobs are drawn; some are there twice, as they are likelier.
const JOB_KINDS: u64 = 17;

/// A third of the jobs of a seed are of its usual kind, so that they meet.
fn submission(dice: &mut Dice, (number, usual): (u64, u64), calm: u64) -> (u64, Act) {
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
        _ => Job::Unique(dice.below(3), script),
    };
    (at, Act::Submit(number, job))
}

fn act(dice: &mut Dice, submitted: &[(u64, u64)]) -> (u64, Act) {
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
