//! A scenario: all that happens in a run, as plain data. It is generated from a seed, and made smaller when a fault is
//! found.

use serde::{Deserialize, Serialize};

use ork::JobId;
use ork::broker::{DeadLetterReason, Rejected};
use ork::message::{Message, WorkKind};
use ork::workflow::Overlap;

use super::broker::Letter;
use super::dice::Dice;
use super::schedules::{self, Minutely};
use super::tasks::{How, Script};
use super::workload::{self, Act, Job};

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
    /// Whether outputs beyond a few bytes are kept in a place of their own.
    #[serde(default)]
    pub(crate) large: bool,
    /// Whether processes publish events, and the client subscribes to them.
    #[serde(default)]
    pub(crate) events: bool,
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
    /// None: jobs are messages, and nothing else.
    None,
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
    /// A worker ends in the middle of a transaction: it is committed and not answered yet. So many transactions go
    /// before that one.
    InCommit { worker: usize, after: u64, what: Ends },
    /// The store answers late, up to so many milliseconds.
    Late { most: u64, lasts: u64 },
    /// Every second transaction is rolled back after it was carried out, and carried out again.
    Conflicts { lasts: u64 },
    /// The store refuses all that is to be written.
    NoSpace { lasts: u64 },
    /// The server of the store begins anew, without the last transactions that were not to outlive that.
    Undone { lasts: u64 },
    /// Commits are not answered, and half of them are not made: both is found out in the end.
    Doubt { lasts: u64 },
    /// The place for large outputs refuses everything, and does half of it all the same.
    Objects { lasts: u64 },
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
    /// Others take records out of part queues, so many of each, and give them back later.
    Holds { most: usize, lasts: u64 },
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
                Err(Rejected { reason: DeadLetterReason::Undecodable, detail, reply, job, task, hooks })
            }
            Self::UnknownTask => Ok(message),
            Self::UnknownJob => {
                Ok(Message { task: "many".to_owned(), kind: WorkKind::Part { epoch: 1, index: 0 }, ..message })
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
        let calm = if dice.percent(12) { dice.between(HOUR, 5 * HOUR) } else { dice.between(20_000, 180_000) };
        let store = match dice.below(20) {
            0..=8 => StoreKind::Server,
            9..=16 => StoreKind::File,
            _ => StoreKind::None,
        };
        let n_workers = dice.between(1, 4);
        let workers =
            (0..n_workers).map(|number| worker(&mut Dice::new(seed, "worker", number), store, calm)).collect();
        // Each seed leaves out some kinds of trouble, so that they do not always mask one another.
        let mut kinds: Vec<u64> = (0..14).filter(|_| dice.percent(60)).collect();
        let broker = match dice.below(4) {
            0 => Some(QueueKind::Classic),
            1 => Some(QueueKind::Quorum),
            _ if store == StoreKind::None => Some(QueueKind::Quorum),
            _ => None,
        };
        if broker.is_some() {
            kinds.extend((20..29).filter(|_| dice.percent(50)));
            // What loses messages takes long to be found.
            if dice.percent(25) && store != StoreKind::None {
                kinds.extend(30..34);
                // If the removal of a row of the outbox is undone, a lost message of it is not detected.
                kinds.retain(|kind| *kind != 11);
            }
        }
        if store == StoreKind::File {
            // The processes of a file share the clock of their computer, and end with it.
            kinds.retain(|kind| *kind != 4 && *kind != 11);
        }
        if store == StoreKind::None {
            kinds.retain(|kind| !matches!(kind, 5..=7 | 9..=13));
        }
        let retention = if store != StoreKind::None && dice.percent(20) { dice.between(60, 120) } else { 0 };
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
        let usual = dice.below(workload::JOB_KINDS);
        let job = |number| workload::submission(&mut Dice::new(seed, "job", number), (number, usual), calm);
        let mut acts: Vec<_> = (0..n_jobs).map(job).collect();
        acts.sort_by_key(|(at, _)| *at);
        let submitted: Vec<_> = acts.iter().filter_map(|(at, act)| Some((act.submits()?.0, *at))).collect();
        for number in 0..dice.any_size(24) {
            acts.push(workload::act(&mut Dice::new(seed, "act", number), &submitted));
        }
        if store == StoreKind::None {
            let unkept = |(at, act)| match act {
                Act::Submit(number, job) => Some((at, Act::Submit(number, workload::unkept(job)))),
                _ => None,
            };
            acts = acts.into_iter().filter_map(unkept).collect();
        } else if dice.percent(20) {
            for number in 0..dice.between(1, 3) {
                let script = Script::short(&mut Dice::new(seed, "schedule", number));
                acts.push((dice.below(calm), Act::Schedule(number, Minutely::generate(dice.below(6)), script)));
            }
        }
        let has_unstorable = dice.percent(10);
        // Without a store only records of parts are too large.
        let can_hold = |job: &Job| store == StoreKind::None && !matches!(job, Job::Many(_) | Job::Set(_));
        let jobs = acts.iter_mut().filter_map(|(_, act)| act.submits_mut());
        let storable = jobs.filter(|job| !has_unstorable || can_hold(job));
        storable.flat_map(Job::scripts_mut).for_each(Script::be_storable);
        // Each call of such a task costs the time after which its process is taken for dead.
        // A classic queue does not count them, so without a store they would never end.
        let counts = store != StoreKind::None || broker == Some(QueueKind::Quorum);
        if !(matches!(max_losses, 1 | 2) && counts && dice.percent(50)) {
            let jobs = acts.iter_mut().filter_map(|(_, act)| act.submits_mut());
            jobs.flat_map(Job::scripts_mut).for_each(Script::be_harmless);
        }
        let large = store != StoreKind::None && dice.percent(20);
        let events = broker.is_some() && dice.percent(30);
        Self { seed, store, broker, retention, max_losses, large, events, workers, acts, troubles, calm }
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
            | Self::Doubt { .. }
            | Self::Objects { .. }
            | Self::Refuses { .. } => false,
            Self::Cut { .. }
            | Self::Channels { .. }
            | Self::SlowBroker { .. }
            | Self::Blocks { .. }
            | Self::Full { .. }
            | Self::Doubles { .. }
            | Self::Stranger { .. }
            | Self::Holds { .. }
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

    /// Whether calls return what the store cannot hold.
    pub(crate) fn has_unstorable(&self) -> bool {
        let mut scripts = self.acts.iter().filter_map(|(_, act)| Some(act.submits()?.1)).flat_map(Job::scripts);
        scripts.any(|script| script.how == How::Unstorable)
    }

    /// How many calls of one attempt may be lost.
    pub(crate) const fn most_losses(&self) -> u32 {
        if self.max_losses > 0 { self.max_losses } else { 20 }
    }

    /// Whether others publish messages once more.
    pub(crate) fn doubles(&self) -> bool {
        self.troubles.iter().any(|(_, trouble)| matches!(trouble, Trouble::Doubles { .. }))
    }

    /// Whether the store loses transactions that it has not promised to keep.
    pub(crate) fn undoes(&self) -> bool {
        self.troubles.iter().any(|(_, trouble)| matches!(trouble, Trouble::Undone { .. }))
    }

    /// Whether this schedule starts nothing while what it has started before is open.
    pub(crate) fn may_not_overlap(&self, number: u64) -> bool {
        let schedules = self.acts.iter().filter_map(|(_, act)| match act {
            Act::Schedule(of, minutely, _) if *of == number => Some(minutely),
            _ => None,
        });
        schedules.into_iter().any(|minutely| minutely.overlap == Overlap::Skip)
    }

    /// How many schedules there are.
    pub(crate) fn n_schedules(&self) -> usize {
        self.acts.iter().filter(|(_, act)| matches!(act, Act::Schedule(..))).count()
    }

    /// How many milliseconds all calls of jobs take, if each is called as often as it may be.
    pub(crate) fn work(&self) -> u64 {
        let jobs = self.acts.iter().filter_map(|(_, act)| Some(act.submits()?.1));
        3 * jobs.flat_map(Job::scripts).map(|script| script.takes + 2_000).sum::<u64>()
    }

    /// How many milliseconds schedules may take, when all else has ended.
    pub(crate) fn schedule_work(&self) -> u64 {
        let of_act = |(_, act): &(u64, Act)| match act {
            Act::Schedule(_, _, script) => schedules::LASTS + self.calm / 60_000 * (script.takes + 2_000),
            _ => 0,
        };
        3 * self.acts.iter().map(of_act).sum::<u64>()
    }

    /// Whether workers end while others hold records of part queues: then no process may know of a set any more.
    pub(crate) fn forgets_sets(&self) -> bool {
        let any = |is: fn(&Trouble) -> bool| self.troubles.iter().any(|(_, trouble)| is(trouble));
        any(|trouble| matches!(trouble, Trouble::Holds { .. }))
            && any(|trouble| {
                matches!(
                    trouble,
                    Trouble::Crash { .. } | Trouble::Drain { .. } | Trouble::Stop { .. } | Trouble::InCommit { .. }
                )
            })
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
        12 => Trouble::Doubt { lasts: lasts.min(20_000) },
        13 => Trouble::Objects { lasts },
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
        28 => Trouble::Holds { most: 1 + dice.index(4), lasts },
        30 => Trouble::Purge,
        31 => Trouble::Failover { most: 1 + dice.index(4), lasts },
        32 => Trouble::Stranger { most: 1 + dice.index(4), lasts, keeps: dice.percent(30) },
        33 => Trouble::Expires { longest: 1 + dice.any_size(20_000), lasts },
        5 => Trouble::Late { most: 1 + dice.any_size(8_000), lasts },
        _ => Trouble::Refuses { worker: dice.percent(50).then_some(worker), lasts },
    };
    (at, trouble)
}
