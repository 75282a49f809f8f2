//! The world around the store: workers that die at any point between two operations and come back as zombies, a broker
//! that loses, duplicates and reorders messages, a client that cancels and retries, and a store that loses what it has
//! confirmed before writing it. Every change of the store is a production operation; the rest is environment.

use std::sync::Arc;

use bytes::Bytes;
use ork::JobState;
use ork_core::job::{AttemptOutcome, Phase};
use ork_core::tx::{
    AppendParts, Cancel, Claim, Claimed, OpenParts, Operation, OutboxKind, OutboxRow, PartAttemptOutcome, PartKey,
    PartPage, PartStart, Retry, SealParts, Settle, SettleParts, SettleResult, StartParts, Submit,
};

use super::config::{Config, Left, Mutant};
pub(crate) use super::fixtures::{NOW, by, failure, new_job};
use super::rules::{Flaw, Step, flaw};
use super::store::{Tables, id};

/// The work that a message requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    Whole,
    Part { epoch: u32, index: u64, body: Bytes },
    Join,
}

/// A message; `suspect` if it was delivered before and its worker may have died.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Msg {
    pub(crate) request: Request,
    pub(crate) attempt: u32,
    pub(crate) suspect: bool,
    /// Whether its part had to wait for a permit.
    pub(crate) waited: bool,
}

/// The activity of a worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum Activity {
    #[default]
    Idle,
    /// A claimed job, or its join.
    Job { join: bool, attempt: u32, counted: u32 },
    /// A split that has yielded `first` of its `n` parts.
    Split { attempt: u32, counted: u32, epoch: u32, first: u64, n: u64 },
    /// A message for which there is no slot yet: it is not claimed.
    Held { msg: Msg },
    /// Work that only a mutant claims before it has a slot.
    Early { activity: Box<Self> },
    /// Started parts.
    Parts { epoch: u32, attempt: u32, waited: bool, parts: Vec<(u64, Bytes)> },
    /// Everything is in the store; only the acknowledgement is missing.
    Done,
}

/// A worker: what it is doing, and the deliveries that it has not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Worker {
    pub(crate) activity: Activity,
    pub(crate) unacked: Vec<Msg>,
    /// Whether the store has confirmed to it something that is not written yet.
    pub(crate) soon: bool,
    /// Whether the broker has redelivered its messages to others, so that it is a zombie.
    pub(crate) stale: bool,
    /// Whether it was drained: it starts no calls.
    pub(crate) drained: bool,
    /// Whether it was the last one to claim the job: as long as it lives, a rejection by another worker does not fail
    /// the job.
    pub(crate) owner: bool,
    /// The outbox kind and attempt of the row that it holds instead of its delivery.
    pub(crate) lease: Option<(OutboxKind, u32)>,
    /// Rows that only a mutant keeps outside the transaction: whether it is a join, and the attempt.
    pub(crate) late: Vec<(bool, u32)>,
}

/// The state of the exploration.
#[derive(Debug, Clone, PartialEq, Hash)]
pub(crate) struct World {
    /// The tables that survive a crash.
    pub(crate) disk: Arc<Tables>,
    /// The tables that operations see: ahead of the disk by what was confirmed and not written yet.
    pub(crate) seen: Arc<Tables>,
    pub(crate) bag: Vec<Msg>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) left: Left,
    pub(crate) flaw: Option<Flaw>,
    /// How many calls of the job have died; only counted if messages are held.
    pub(crate) died: u32,
    /// Whether the broker has lost a message that was not sent again.
    pub(crate) lost: bool,
}

impl World {
    /// The job was submitted, or its message came from a program without a store.
    pub(crate) fn new(config: &Config) -> Self {
        let workers = vec![Worker::default(); config.workers];
        let permits = vec![0; if config.permits.is_some() { config.workers } else { 0 }];
        let empty = Arc::new(Tables { next_outbox_id: 1, permits, ..Tables::default() });
        let (bag, left) = (Vec::new(), config.left);
        let disk = Arc::clone(&empty);
        let mut world = Self { disk, seen: empty, bag, workers, left, flaw: None, died: 0, lost: false };
        if config.foreign {
            world.bag.push(Msg { request: Request::Whole, attempt: 1, suspect: false, waited: false });
        } else {
            world.change(config, None, &Submit::new(new_job(), by(None)), Step::Other);
        }
        world
    }

    /// Carries out an operation for a worker or a client, as one transaction.
    pub(crate) fn change<O: Operation>(
        &mut self,
        config: &Config,
        worker: Option<usize>,
        operation: &O,
        step: Step,
    ) -> O::Output {
        // A process that writes waits for the transaction of another process to end, including what that process has
        // confirmed early.
        if self.workers.iter().enumerate().any(|(at, other)| other.soon && Some(at) != worker) {
            self.write();
        }
        let before = Arc::clone(&self.seen);
        let counts = |at| config.counts_permits(at, worker);
        let mut applied = before.apply(operation, counts, |tx, writes| config.falsify(&before, tx, writes, step));
        applied.tables.counter = config.count(&before, &applied.tables, step);
        let ended = |tables: &Tables| tables.state().is_some_and(JobState::is_final);
        applied.tables.ends += u8::from(!ended(&before) && ended(&applied.tables));
        let replies = applied.writes.outbox.iter().filter(|row| row.kind == OutboxKind::Reply).count();
        applied.tables.replies += u8::try_from(replies).unwrap();
        // Events are checked below. Their arrival is not modeled, because it is no different from that of a reply.
        applied.tables.outbox.retain(|row| !matches!(row.kind, OutboxKind::Event(_)));
        if let (Some(Mutant::CallbackOutside), Some(worker)) = (config.mutant, worker) {
            let follows = |row: &mut OutboxRow| matches!(row.kind, OutboxKind::Join | OutboxKind::Reply);
            for row in applied.tables.outbox.extract_if(.., follows) {
                applied.tables.replies -= u8::from(row.kind == OutboxKind::Reply);
                self.workers[worker].late.push((row.kind == OutboxKind::Join, row.attempt));
            }
        }
        if self.flaw.is_none() {
            self.flaw = flaw(&before, &applied.tables, &applied.writes, step)
                .filter(|flaw| config.mutant.is_none() || *flaw != Flaw::Fenced);
        }
        let early = config.is_early(&applied);
        self.seen = Arc::new(applied.tables);
        match worker {
            Some(worker) if early => self.workers[worker].soon = self.seen != self.disk,
            Some(_) | None => self.write(),
        }
        // Any message may be late, so publishing at once leaves out only what a late relay reads.
        self.relay(config);
        applied.output
    }

    /// Publishes the rows that no process holds and that wait for nothing.
    pub(crate) fn relay(&mut self, config: &Config) {
        loop {
            let next = self.free_rows().next().filter(|_| !config.lazy);
            let Some(row) = next else { return };
            self.publish(row, false);
        }
    }

    /// The rows that a relay may take.
    pub(crate) fn free_rows(&self) -> impl Iterator<Item = usize> {
        let free = |(_, row): &(usize, &OutboxRow)| row.holder.is_none() && row.waits_for.is_none();
        self.seen.outbox.iter().enumerate().filter(free).map(|(at, _)| at)
    }

    pub(crate) fn write(&mut self) {
        self.disk = Arc::clone(&self.seen);
        self.workers.iter_mut().for_each(|worker| worker.soon = false);
    }

    pub(crate) fn forget(&mut self) {
        self.seen = Arc::clone(&self.disk);
        self.workers.iter_mut().for_each(|worker| worker.soon = false);
    }

    /// The relay publishes a row, and dies before it can remove the row if `keep`.
    pub(crate) fn publish(&mut self, row: usize, keep: bool) {
        self.write();
        let mut tables = Tables::clone(&self.seen);
        let outbox_row = tables.outbox[row].clone();
        let inputs = tables.inputs(&outbox_row);
        let waited = matches!(outbox_row.kind, OutboxKind::Parts { waited: true, .. });
        let msg = |request| Msg { request, attempt: outbox_row.attempt, suspect: outbox_row.losses > 0, waited };
        match outbox_row.kind {
            OutboxKind::Start => self.bag.push(msg(Request::Whole)),
            OutboxKind::Join => self.bag.push(msg(Request::Join)),
            OutboxKind::Parts { epoch, .. } => {
                self.bag.extend(inputs.into_iter().map(|(index, body)| msg(Request::Part { epoch, index, body })));
            }
            OutboxKind::Reply | OutboxKind::Hooks { .. } | OutboxKind::Event(_) => {}
        }
        if !keep {
            tables.outbox.remove(row);
            self.seen = Arc::new(tables);
            self.write();
        }
    }

    /// A worker receives a message and has a slot for it. If `run`, it takes the neighbors of the message along.
    pub(crate) fn take(&mut self, config: &Config, worker: usize, msg: usize, run: bool) {
        let msg = self.bag.remove(msg);
        if config.mutant != Some(Mutant::AckFirst) {
            self.workers[worker].unacked.push(msg.clone());
        }
        let activity = self.start_work(config, worker, &msg, run);
        if activity == Activity::Idle {
            self.workers[worker].unacked.clear();
        }
        self.workers[worker].activity = activity;
        self.calls(worker);
    }

    /// A worker claims the work of a message, if that must still be done. If `run`, its neighbors are claimed with it.
    pub(crate) fn start_work(&mut self, config: &Config, worker: usize, msg: &Msg, run: bool) -> Activity {
        match &msg.request {
            Request::Whole => self.claim(config, worker, msg, Phase::Start),
            Request::Join => self.claim(config, worker, msg, Phase::Join),
            Request::Part { epoch, index, body } if !run => {
                self.start(config, worker, (*epoch, *index, msg.attempt, body), msg)
            }
            Request::Part { epoch, .. } => {
                let neighbour = |other: &mut Msg| {
                    let same = matches!(other.request, Request::Part { epoch: theirs, .. } if theirs == *epoch);
                    same && !other.suspect && other.attempt == msg.attempt && other.waited == msg.waited
                };
                let neighbours: Vec<_> = self.bag.extract_if(.., neighbour).collect();
                if config.mutant != Some(Mutant::AckFirst) {
                    self.workers[worker].unacked.extend(neighbours.iter().cloned());
                }
                let all = std::iter::once(msg).chain(&neighbours);
                let parts: Vec<_> = all.filter_map(part_of).collect();
                self.start_run(config, worker, (*epoch, msg.attempt, msg.waited), &parts)
            }
        }
    }

    fn claim(&mut self, config: &Config, worker: usize, msg: &Msg, phase: Phase) -> Activity {
        let claim = Claim {
            durable: msg.suspect,
            limit: Self::limit(config, config.plain && phase == Phase::Start),
            losses: u32::from(msg.suspect),
            ..Claim::new(new_job(), phase, msg.attempt, by(Some(worker)))
        };
        match self.change(config, Some(worker), &claim, Step::Claims { suspect: msg.suspect }) {
            Claimed::Granted { job, .. } => {
                if self.left.refusals > 0 {
                    self.workers.iter_mut().enumerate().for_each(|(at, other)| other.owner = at == worker);
                }
                Activity::Job { join: phase == Phase::Join, attempt: job.attempt, counted: job.phase_attempt() }
            }
            Claimed::Waiting | Claimed::RunningElsewhere(_) | Claimed::Stale | Claimed::NotFound => Activity::Idle,
        }
    }

    fn start(&mut self, config: &Config, worker: usize, part: (u32, u64, u32, &Bytes), msg: &Msg) -> Activity {
        let Msg { suspect, waited, .. } = *msg;
        let (epoch, index, attempt, body) = part;
        let part = config.key(&self.seen, PartKey { job: id(), epoch, index, attempt });
        let step = Step::Starts { epoch, attempt };
        let (limit, losses) = (Self::limit(config, true), u32::from(suspect));
        let start = StartParts { limit, losses, waited, ..StartParts::one(part, suspect, by(Some(worker))) };
        match self.change(config, Some(worker), &start, step).parts[0] {
            PartStart::Run { .. } => Activity::Parts { epoch, attempt, waited, parts: vec![(index, body.clone())] },
            PartStart::Waiting | PartStart::Stale | PartStart::NotFound { .. } => Activity::Idle,
        }
    }

    /// Starts several parts together. The deliveries of those that do not run are acknowledged.
    fn start_run(&mut self, config: &Config, worker: usize, run: (u32, u32, bool), parts: &[(u64, Bytes)]) -> Activity {
        let (epoch, attempt, waited) = run;
        let indices: Vec<_> = parts.iter().map(|(index, _)| *index).collect();
        let first = config.key(&self.seen, PartKey { job: id(), epoch, index: indices[0], attempt });
        let (limit, actor) = (Self::limit(config, true), by(Some(worker)));
        let start = StartParts { first, indices, durable: false, limit, losses: 0, waited, actor };
        let started = self.change(config, Some(worker), &start, Step::Starts { epoch, attempt });
        let each = parts.iter().zip(&started.parts);
        let ours: Vec<_> = each
            .filter(|(_, start)| matches!(start, PartStart::Run { .. }))
            .map(|((index, body), _)| (*index, body.clone()))
            .collect();
        let runs = |index| ours.iter().any(|(ours, _)| *ours == index);
        self.workers[worker].unacked.retain(|msg| part_of(msg).is_none_or(|(index, _)| runs(index)));
        if ours.is_empty() { Activity::Idle } else { Activity::Parts { epoch, attempt, waited, parts: ours } }
    }

    /// A worker takes its next step; `fails` if its function does.
    pub(crate) fn advance(&mut self, config: &Config, worker: usize, fails: bool) {
        match self.workers[worker].activity.clone() {
            Activity::Idle => {}
            Activity::Done => {
                self.end_lease(config, worker);
                self.workers[worker] = self.workers[worker].freed();
                return;
            }
            Activity::Held { .. } | Activity::Early { .. } => {
                self.starts(config, worker);
                return;
            }
            Activity::Job { join: false, attempt, counted } if !config.plain && !fails => {
                self.open(config, worker, attempt, counted);
                return;
            }
            Activity::Split { attempt, epoch, first, n, counted } if !fails => {
                self.split(config, worker, Activity::Split { attempt, counted, epoch, first, n });
                return;
            }
            Activity::Job { attempt, counted, join } => {
                let phase = if join { Phase::Join } else { Phase::Start };
                self.settle(config, worker, (phase, attempt, None), config.job_end(fails, counted));
            }
            Activity::Split { attempt, counted, epoch, .. } => {
                self.settle(config, worker, (Phase::Start, attempt, Some(epoch)), config.job_end(fails, counted));
            }
            Activity::Parts { epoch, attempt, parts, .. } => {
                let how = |at: usize, body: Bytes| {
                    if fails && at == 0 { config.part_failed(attempt) } else { PartAttemptOutcome::Succeeded(body) }
                };
                let ended = parts.into_iter().enumerate().map(|(at, (index, body))| (index, how(at, body)));
                self.settle_parts(config, (worker, true), (epoch, attempt), ended.collect());
            }
        }
        self.workers[worker].activity = Activity::Done;
    }

    fn open(&mut self, config: &Config, worker: usize, attempt: u32, counted: u32) {
        let open = OpenParts { job: id(), attempt, policy: config.policy, has_join: config.has_join, schema: None };
        let step = Step::Job { attempt, epoch: None, opens: true };
        self.workers[worker].activity = match self.change(config, Some(worker), &open, step) {
            Some(epoch) => {
                let n = config.sizes[usize::try_from(epoch - 1).unwrap() % config.sizes.len()];
                Activity::Split { attempt, counted, epoch, first: 0, n }
            }
            None => Activity::Done,
        };
    }

    fn split(&mut self, config: &Config, worker: usize, split: Activity) {
        let Activity::Split { attempt, counted, epoch, first, n } = split else { return };
        let step = Step::Job { attempt, epoch: Some(epoch), opens: false };
        let seal = |world: &mut Self, n| {
            let seal = SealParts { job: id(), epoch, n, output: None, permit: None, actor: by(Some(worker)) };
            if world.change(config, Some(worker), &seal, step) == SettleResult::Stale
                && config.mutant != Some(Mutant::AcksSuperseded)
            {
                // Another run has taken over, and may die, so the delivery is requeued. This run was superseded because
                // its worker was presumed dead, so it counts as a loss.
                world.dies(worker);
                world.free(config, worker, false);
                let unacked = std::mem::take(&mut world.workers[worker].unacked);
                world.bag.extend(unacked);
                return Activity::Idle;
            }
            Activity::Done
        };
        self.workers[worker].activity = if first == n {
            seal(self, n)
        } else {
            let len = config.page.min(n - first);
            let inputs = vec![Bytes::from(vec![u8::try_from(epoch).unwrap()]); usize::try_from(len).unwrap()];
            let page = PartPage { job: id(), epoch, first, inputs };
            match self.change(config, Some(worker), &AppendParts { page, actor: by(Some(worker)) }, step) {
                ork_core::ledger::AppendResult::Added | ork_core::ledger::AppendResult::Already => {
                    Activity::Split { attempt, counted, epoch, first: first + len, n }
                }
                ork_core::ledger::AppendResult::Stale
                | ork_core::ledger::AppendResult::Halted
                | ork_core::ledger::AppendResult::TooMany => seal(self, first),
            }
        };
    }

    fn settle(&mut self, config: &Config, worker: usize, which: (Phase, u32, Option<u32>), how: AttemptOutcome) {
        let (phase, attempt, epoch) = which;
        let output = (how == AttemptOutcome::Succeeded).then(|| Bytes::from_static(b"0"));
        let permit = Self::released(config, config.plain && phase == Phase::Start);
        let settle = Settle { job: id(), phase, attempt, outcome: how, output, permit, actor: by(Some(worker)) };
        if config.drops_settlement(&self.seen) {
            return;
        }
        // Its run of the split may have been cut short by a newer one of the same attempt: either may end it.
        let step = Step::Job { attempt, epoch, opens: true };
        self.change(config, Some(worker), &settle, step);
    }

    pub(crate) fn settle_parts(
        &mut self,
        config: &Config,
        (worker, limited): (usize, bool),
        (epoch, attempt): (u32, u32),
        ended: Vec<(u64, PartAttemptOutcome)>,
    ) {
        let first = config.key(&self.seen, PartKey { job: id(), epoch, index: ended[0].0, attempt });
        let is_final = |(_, how): &&(u64, PartAttemptOutcome)| {
            matches!(how, PartAttemptOutcome::Succeeded(_) | PartAttemptOutcome::Failed { retry_at: None, .. })
        };
        let n = u64::try_from(ended.iter().filter(is_final).count()).unwrap();
        let permit = Self::released(config, limited);
        let settle = SettleParts { first, ended: ended.into(), permit, actor: by(Some(worker)) };
        self.change(config, Some(worker), &settle, Step::Settles { epoch, attempt, n });
    }

    /// The input was made for another version than that of the worker, which parks it for a later attempt.
    pub(crate) fn park(&mut self, config: &Config, worker: usize) {
        let Activity::Job { attempt, .. } = self.workers[worker].activity else { return };
        let how = AttemptOutcome::Parked { failure: failure(), retry_at: NOW };
        self.settle(config, worker, (Phase::Start, attempt, None), how);
        self.workers[worker].activity = Activity::Done;
    }

    /// The worker has to stop: it requeues its work, which costs no attempt.
    pub(crate) fn interrupt(&mut self, config: &Config, worker: usize) {
        match self.workers[worker].activity.clone() {
            Activity::Job { join, attempt, .. } => {
                let phase = if join { Phase::Join } else { Phase::Start };
                self.settle(config, worker, (phase, attempt, None), AttemptOutcome::Interrupted);
            }
            Activity::Split { attempt, epoch, .. } => {
                self.settle(config, worker, (Phase::Start, attempt, Some(epoch)), AttemptOutcome::Interrupted);
            }
            Activity::Parts { epoch, attempt, parts, .. } => {
                let ended = parts.into_iter().map(|(index, _)| (index, PartAttemptOutcome::Interrupted));
                self.settle_parts(config, (worker, true), (epoch, attempt), ended.collect());
            }
            Activity::Idle | Activity::Done | Activity::Held { .. } | Activity::Early { .. } => {}
        }
        self.free(config, worker, false);
        // Requeued work starts again: the broker does not count it as a redelivery.
        let freed = self.workers[worker].freed();
        let before = std::mem::replace(&mut self.workers[worker], freed);
        self.bag.extend(before.unacked);
    }

    /// Workers are interchangeable, messages arrive in any order, and an acknowledgement that nothing can precede is
    /// not a step: one world stands for all that differ only in that.
    pub(crate) fn simplify(&mut self) {
        let fragile = self.left.crashes > 0;
        if self.left.refusals == 0 {
            self.workers.iter_mut().for_each(|worker| worker.owner = false);
        }
        for worker in &mut self.workers {
            let safe = !fragile && (worker.stale || self.left.duplicates == 0);
            if worker.activity == Activity::Done && safe && worker.late.is_empty() && worker.lease.is_none() {
                *worker = worker.freed();
            }
        }
        self.bag.sort_unstable();
        if self.seen.permits.is_empty() {
            self.workers.sort_unstable();
        } else {
            self.sort_with_permits();
        }
    }

    /// Writes that were confirmed early fail, e.g. because the disk is full. The workers do not know of it.
    pub(crate) fn roll_back(&mut self, config: &Config) {
        self.forget();
        self.sweep(config, |_| {});
    }

    pub(crate) fn cancel(&mut self, config: &Config) {
        self.change(config, None, &Cancel::new(id(), by(None)), Step::Other);
    }

    pub(crate) fn retry(&mut self, config: &Config) {
        self.change(config, None, &Retry::new(id(), by(None)), Step::Retry);
    }

    /// Rows that a mutant kept in memory reach the store.
    pub(crate) fn late(&mut self, config: &Config, worker: usize) {
        self.write();
        let mut tables = Tables::clone(&self.seen);
        for (join, attempt) in std::mem::take(&mut self.workers[worker].late) {
            let kind = if join { OutboxKind::Join } else { OutboxKind::Reply };
            tables.outbox.push(super::config::row(tables.next_outbox_id, kind, attempt));
            tables.next_outbox_id += 1;
            tables.replies += u8::from(!join);
        }
        self.seen = Arc::new(tables);
        self.write();
        self.relay(config);
    }
}

fn part_of(msg: &Msg) -> Option<(u64, Bytes)> {
    let Request::Part { index, body, .. } = &msg.request else { return None };
    Some((*index, body.clone()))
}
