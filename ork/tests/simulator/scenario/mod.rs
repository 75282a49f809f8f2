//! A scenario: all that happens in a run, as plain data. It is generated from a seed, and made smaller when a fault is
//! found.

mod draw;
mod foreign;
mod problem;
mod trouble;

use serde::{Deserialize, Serialize};

use ork::workflow::Overlap;

pub(crate) use self::problem::wrongly_judged;
pub(crate) use self::trouble::{Ends, Kind, Trouble};
use super::dice::Dice;
use super::schedules::{self, Minutely};
use super::tasks::{How, Script};
use super::workload::{self, Act, Job};

/// All that happens in a run. All times are milliseconds since the beginning.
///
/// `Scenario::problem` describes what is invalid in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The seed of the order of futures, of delays, and of the random numbers of processes.
    pub(crate) seed: u64,
    pub(crate) store: StoreKind,
    /// The kind of queues of the broker, if there is one.
    #[serde(default)]
    pub(crate) broker: Option<QueueKind>,
    /// For how many seconds jobs are kept after their end; 0 for ever.
    #[serde(default)]
    pub(crate) retention: u64,
    /// How many calls of one attempt may be lost with their processes; 0 for the default.
    #[serde(default)]
    pub(crate) max_losses: u32,
    /// Whether outputs beyond a few bytes are stored as objects.
    #[serde(default)]
    pub(crate) large: bool,
    /// Whether processes publish events, and the client subscribes to them.
    #[serde(default)]
    pub(crate) events: bool,
    pub(crate) workers: Vec<ProcessSpec>,
    /// Job n belongs to client n modulo their number; the next client controls it. None stands for one client whose
    /// clock is right.
    #[serde(default)]
    pub(crate) clients: Vec<ClientSpec>,
    /// In any order, as each act waits for its time. An act on a job that is not submitted does nothing.
    pub(crate) acts: Vec<(u64, Act)>,
    /// In the order of their times.
    pub(crate) troubles: Vec<(u64, Trouble)>,
    /// No trouble lasts beyond this time. Deadlines are counted from here, or from the last act if that is later.
    pub(crate) calm: u64,
}

/// How the connections of a store learn of the changes of other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StoreKind {
    /// A server that reports each change, as `PostgreSQL` does.
    Server,
    /// A file; other processes learn only that something has changed, as with `SQLite`.
    File,
    /// No store: jobs exist as messages only.
    None,
}

/// The kind of queues of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum QueueKind {
    /// Counts how often each message was delivered.
    Quorum,
    /// Only knows whether a message was delivered before.
    Classic,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessSpec {
    /// By how many milliseconds its clock is ahead of the store's clock at the beginning.
    pub(crate) ahead_ms: i64,
    /// By how many parts in a million its clock is too fast.
    pub(crate) ppm: i64,
    /// How many calls it makes at once.
    pub(crate) concurrency: u64,
    /// How many calls of `fn` tasks it makes at once.
    pub(crate) blocking: u64,
    /// After how many milliseconds it acknowledges work that still runs; 0 for the default.
    #[serde(default)]
    pub(crate) ack_within: u64,
    /// The tasks that its program does not have. The first worker has all.
    #[serde(default)]
    pub(crate) lacks: Vec<String>,
    /// Whether its program is newer than that of the first worker: one task has another input.
    #[serde(default)]
    pub(crate) newer: bool,
}

/// The tasks that the program of a worker need not have: clients submit them, and no other task does.
pub(crate) const OPTIONAL_TASKS: [&str; 6] = ["narrow", "keyed", "timed", "blocking", "together", "itself"];

/// A client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientSpec {
    /// By how many milliseconds its clock is ahead of the store's clock at the beginning.
    pub(crate) ahead_ms: i64,
    /// By how many parts in a million its clock is too fast.
    pub(crate) ppm: i64,
    /// Whether its program is newer than that of the first worker.
    #[serde(default)]
    pub(crate) newer: bool,
}

/// In milliseconds.
const HOUR: u64 = 3_600_000;

impl Scenario {
    /// Generates the scenario of a seed.
    pub(crate) fn generate(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "scenario", 0);
        // Some scenarios last for hours, with longer troubles.
        let calm = if dice.percent(12) { dice.between(HOUR, 5 * HOUR) } else { dice.between(20_000, 180_000) };
        let store = match dice.below(20) {
            0..=8 => StoreKind::Server,
            9..=16 => StoreKind::File,
            _ => StoreKind::None,
        };
        let n_workers = dice.between(1, 4);
        let workers: Vec<_> =
            (0..n_workers).map(|number| worker(&mut Dice::new(seed, "worker", number), number, store, calm)).collect();
        let has_newer = workers.iter().any(|worker: &ProcessSpec| worker.newer);
        let clients = clients(&mut Dice::new(seed, "clients", 0), has_newer, store, calm);
        let usual = trouble::usual_kinds(&mut dice);
        let broker = match dice.below(4) {
            0 => Some(QueueKind::Classic),
            1 => Some(QueueKind::Quorum),
            _ if store == StoreKind::None => Some(QueueKind::Quorum),
            _ => None,
        };
        let kinds = trouble::kinds(&mut dice, usual, broker, store);
        let retention = if store != StoreKind::None && dice.percent(20) { dice.between(60, 120) } else { 0 };
        let max_losses = if dice.percent(30) { u32::try_from(dice.between(1, 4)).unwrap() } else { 0 };
        let n_troubles = if kinds.is_empty() { 0 } else { dice.any_size(24) };
        let mut troubles: Vec<_> = (0..n_troubles)
            .filter_map(|number| {
                let mut dice = Dice::new(seed, "trouble", number);
                let kind = kinds.get(dice.index(kinds.len())).copied()?;
                Some(draw::trouble(&mut dice, kind, (n_workers, clients.len().max(1)), calm))
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
        for (at, number, len) in acts.iter().filter_map(split_of).collect::<Vec<_>>() {
            let dice = &mut Dice::new(seed, "part", number);
            if dice.percent(30) {
                acts.push((at + dice.between(1_000, 60_000), Act::RetryPart(number, dice.below(len))));
            }
        }
        if store == StoreKind::None {
            let storeless = |(at, act)| match act {
                Act::Submit(number, job) => Some((at, Act::Submit(number, workload::storeless(job)))),
                _ => None,
            };
            acts = acts.into_iter().filter_map(storeless).collect();
        } else if dice.percent(20) {
            for number in 0..dice.between(1, 3) {
                let script = Script::short(&mut Dice::new(seed, "schedule", number));
                acts.push((dice.below(calm), Act::Schedule(number, Minutely::generate(dice.below(6)), script)));
                if dice.percent(50) {
                    let at = dice.below(calm);
                    acts.push((at, Act::Pause(number, dice.between(1, 120_000).min(calm - at))));
                }
            }
        }
        let has_unstorable = dice.percent(10);
        // Without a store, only records of parts can be too large.
        let can_hold = |job: &Job| store == StoreKind::None && !matches!(job, Job::Many(_) | Job::Set(_));
        let jobs = acts.iter_mut().filter_map(|(_, act)| act.submits_mut());
        let storable = jobs.filter(|job| !has_unstorable || can_hold(job));
        storable.flat_map(Job::scripts_mut).for_each(Script::be_storable);
        // Each call of such a task costs the time after which its process is presumed dead. A classic
        // queue does not count these losses, so that without a store they would never end.
        let counts = store != StoreKind::None || broker == Some(QueueKind::Quorum);
        if !(matches!(max_losses, 1 | 2) && counts && dice.percent(50)) {
            let jobs = acts.iter_mut().filter_map(|(_, act)| act.submits_mut());
            jobs.flat_map(Job::scripts_mut).for_each(Script::be_harmless);
        }
        let large = store != StoreKind::None && dice.percent(20);
        let events = broker.is_some() && dice.percent(30);
        Self { seed, store, broker, retention, max_losses, large, events, workers, clients, acts, troubles, calm }
    }
}

impl Scenario {
    /// How many clients there are.
    pub(crate) fn n_clients(&self) -> usize {
        self.clients.len().max(1)
    }

    /// Returns whether the broker loses messages that it has confirmed.
    pub(crate) fn loses_messages(&self) -> bool {
        self.troubles.iter().any(|(_, trouble)| trouble.loses_messages())
    }

    /// Returns whether calls return what the store cannot hold.
    pub(crate) fn has_unstorable(&self) -> bool {
        let mut scripts = self.acts.iter().filter_map(|(_, act)| Some(act.submits()?.1)).flat_map(Job::scripts);
        scripts.any(|script| script.how == How::Unstorable)
    }

    /// How many calls of one attempt may be lost.
    pub(crate) const fn most_losses(&self) -> u32 {
        if self.max_losses > 0 { self.max_losses } else { 20 }
    }

    /// Returns whether other programs publish messages a second time.
    pub(crate) fn doubles(&self) -> bool {
        self.troubles.iter().any(|(_, trouble)| matches!(trouble, Trouble::Doubles { .. }))
    }

    /// Returns whether the store loses transactions that it has not promised to keep.
    pub(crate) fn undoes(&self) -> bool {
        self.troubles.iter().any(|(_, trouble)| matches!(trouble, Trouble::Undone { .. }))
    }

    /// Returns whether the computer of the store loses power, and so the transactions that need not survive that.
    pub(crate) fn loses_power(&self) -> bool {
        self.troubles.iter().any(|(_, trouble)| matches!(trouble, Trouble::PowerLoss { .. }))
    }

    /// Returns whether this schedule starts nothing while a job that it has started before is open.
    pub(crate) fn may_not_overlap(&self, number: u64) -> bool {
        let schedules = self.acts.iter().filter_map(|(_, act)| match act {
            Act::Schedule(of, minutely, _) if *of == number => Some(minutely),
            _ => None,
        });
        schedules.into_iter().any(|minutely| minutely.overlap == Overlap::Skip)
    }

    /// Returns whether a client pauses this schedule.
    pub(crate) fn pauses(&self, number: u64) -> bool {
        self.acts.iter().any(|(_, act)| matches!(act, Act::Pause(of, _) if *of == number))
    }

    /// How many schedules there are.
    pub(crate) fn n_schedules(&self) -> usize {
        self.acts.iter().filter(|(_, act)| matches!(act, Act::Schedule(..))).count()
    }

    /// How many milliseconds all calls of jobs take, if each is made as often as possible.
    pub(crate) fn work(&self) -> u64 {
        let jobs = self.acts.iter().filter_map(|(_, act)| Some(act.submits()?.1));
        3 * jobs.flat_map(Job::scripts).map(|script| script.takes + 2_000).sum::<u64>()
    }

    /// How many milliseconds schedules may take after all else has ended.
    pub(crate) fn schedule_work(&self) -> u64 {
        let of_act = |(_, act): &(u64, Act)| match act {
            Act::Schedule(_, _, script) => schedules::LASTS + self.calm / 60_000 * (script.takes + 2_000),
            _ => 0,
        };
        3 * self.acts.iter().map(of_act).sum::<u64>()
    }

    /// Returns whether workers end while other programs hold records of part queues: then it is possible that no
    /// process knows of a set any more.
    pub(crate) fn may_forget_sets(&self) -> bool {
        let any = |is: fn(&Trouble) -> bool| self.troubles.iter().any(|(_, trouble)| is(trouble));
        any(|trouble| matches!(trouble, Trouble::Holds { .. }))
            && (self.has_killing_task()
                || any(|trouble| {
                    matches!(
                        trouble,
                        Trouble::Crash { .. }
                            | Trouble::Drain { .. }
                            | Trouble::Stop { .. }
                            | Trouble::InCommit { .. }
                            | Trouble::Damaged { .. }
                            | Trouble::Migrates { .. }
                            | Trouble::PowerLoss { .. }
                    )
                }))
    }

    /// Whether some function ends its process.
    fn has_killing_task(&self) -> bool {
        let mut scripts = self.acts.iter().filter_map(|(_, act)| Some(act.submits()?.1)).flat_map(Job::scripts);
        scripts.any(|script| script.how == How::Kills)
    }
}

/// When a job with parts is submitted, its number, and how many parts it has.
fn split_of((at, act): &(u64, Act)) -> Option<(u64, u64, u64)> {
    match act.submits()? {
        (number, Job::Many(scripts) | Job::Itself(scripts)) => {
            Some((*at, number, u64::try_from(scripts.len()).unwrap_or(1)))
        }
        _ => None,
    }
}

fn worker(dice: &mut Dice, number: u64, store: StoreKind, calm: u64) -> ProcessSpec {
    let (ahead_ms, ppm) = clock(dice, store, calm);
    let ack_within = if dice.percent(30) { dice.between(2_000, 20_000) } else { 0 };
    let (concurrency, blocking) = (dice.between(1, 8), dice.between(1, 3));
    let lacks = if number > 0 && dice.percent(30) { OPTIONAL_TASKS.to_vec() } else { Vec::new() };
    let lacks = lacks.into_iter().filter(|_| dice.percent(40)).map(str::to_owned).collect();
    ProcessSpec { ahead_ms, ppm, concurrency, blocking, ack_within, lacks, newer: number == 1 && dice.percent(40) }
}

fn clients(dice: &mut Dice, has_newer: bool, store: StoreKind, calm: u64) -> Vec<ClientSpec> {
    let n_clients = if dice.percent(50) { 0 } else { dice.between(1, 3) };
    let client = |_| {
        let (ahead_ms, ppm) = clock(dice, store, calm);
        ClientSpec { ahead_ms, ppm, newer: has_newer && dice.percent(50) }
    };
    (0..n_clients).map(client).collect()
}

/// Draws by how many milliseconds a clock is ahead, and how fast it drifts. The processes of a file share the clock of
/// their computer.
fn clock(dice: &mut Dice, store: StoreKind, calm: u64) -> (i64, i64) {
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
    // While the store is away for an hour, nothing corrects a clock.
    let drift = if calm > HOUR { 10 } else { 200 };
    let ppm = i64::try_from(if server { dice.below(drift) } else { 0 }).unwrap();
    (ahead_ms, sign(ppm, dice))
}
