//! The size of the worlds, and the mutants: faults, of each of which a useful proof must find a consequence. Mutants
//! are not in production code; each falsifies what a production operation has decided.

use ork::{JobState, Policy};
use ork_core::event::{EventKind, PendingEvent};
use ork_core::job::{AttemptOutcome, Effect, Phase};
use ork_core::ledger::Ledger;
use ork_core::tx::{Limit, OutboxId, OutboxKind, OutboxRow, PartAttemptOutcome, PartKey, Transaction, Writes};

use super::rules::Step;
use super::store::{Applied, Tables, id};
use super::world::{NOW, failure};

/// The size of a world, and what happens in it.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    /// How many parts each run of the split yields; after the last number, the first one is used again.
    pub(crate) sizes: &'static [u64],
    /// How many parts a page has.
    pub(crate) page: u64,
    /// How often a part, or a phase of the job, may be tried.
    pub(crate) tries: u32,
    pub(crate) policy: Policy,
    pub(crate) has_join: bool,
    /// The task has no split.
    pub(crate) plain: bool,
    /// The message of the job arrived before the store knew the job.
    pub(crate) foreign: bool,
    /// The relay may be late, so that it reads what was written since, and may die between two rows.
    pub(crate) lazy: bool,
    /// How many calls may run at once; `None` if there is no limit.
    pub(crate) permits: Option<u32>,
    pub(crate) left: Left,
    pub(crate) mutant: Option<Mutant>,
}

/// How often each fault may still happen, so that the exploration ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Left {
    pub(crate) crashes: u8,
    /// How often a message is delivered twice.
    pub(crate) duplicates: u8,
    /// How often the store loses what it has confirmed and not written yet.
    pub(crate) rollbacks: u8,
    pub(crate) cancels: u8,
    pub(crate) retries: u8,
    pub(crate) interrupts: u8,
    pub(crate) failures: u8,
    pub(crate) refusals: u8,
    /// How often work takes so long that it is leased.
    pub(crate) leases: u8,
    /// How often a living worker is presumed dead.
    pub(crate) expiries: u8,
    /// How often the input does not fit a worker of another version.
    pub(crate) parks: u8,
    /// How often a worker holds a message without a slot for it.
    pub(crate) holds: u8,
    /// How often a worker is drained: it finishes its running calls, and starts no others.
    pub(crate) drains: u8,
    /// How often the broker loses a message that it has confirmed.
    pub(crate) losses: u8,
}

/// The fault of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Counts settlements instead of keeping sets.
    Counter,
    /// Enqueues the join and the reply in a separate transaction, after the one that settles.
    CallbackOutside,
    /// Accepts results of older runs of the split as if they were of the current one.
    NoEpoch,
    /// Accepts results of older attempts as if they were of the current one.
    NoFence,
    /// Acknowledges a delivery on arrival.
    AckFirst,
    /// Enqueues the join whenever a part settles and all have ended.
    JoinAgain,
    /// Retries all parts, including those that are `ok`.
    RetryAll,
    /// Joins once all existing parts have ended, sealed or not.
    NoSeal,
    /// Settles only what it knows to be claimed, so that a forgotten claim loses the job.
    ClaimNeeded,
    /// Returns before it is recorded that a part will never run.
    SkippedSoon,
    /// Lets a retry of a split that was cut short leave the older run of the split in force.
    RetryUnfenced,
    /// Acknowledges the message of a split that a newer run has superseded.
    AcksSuperseded,
    /// Dead-letters a rejected message while its job runs, even if no process is left that will end the job.
    RefusedAlone,
    /// Fails a job whose message is rejected while a living process runs it.
    RefusedRunning,
    /// Acknowledges long work without a row that names the process that runs it.
    Unleased,
    /// Leaves the row of leased work behind after its end.
    LeaseKept,
    /// Settles without releasing the permit.
    PermitKept,
    /// Releases permits and wakes no row.
    NoWake,
    /// Ignores the permits of other processes.
    PermitsUncounted,
    /// Lets dead processes keep their permits.
    PermitsOfDead,
    /// Publishes that all parts have ended whenever one has, once the split is sealed.
    EventTooEarly,
    /// Ends a job without publishing an event.
    EndWithoutEvent,
    /// Claims a held message on arrival, and does not claim it again once it has a slot.
    ClaimedEarly,
    /// Calls the work that it holds although it was drained.
    CalledAfterDrain,
    /// Counts a loss for each redelivery, whether or not the work was called.
    LossPerDelivery,
    /// Never checks on a message that the broker has confirmed.
    LostUnnoticed,
    /// Sends parts again that have ended.
    ResentAll,
}

impl Mutant {
    pub(crate) const ALL: [Self; 27] = [
        Self::Counter,
        Self::CallbackOutside,
        Self::NoEpoch,
        Self::NoFence,
        Self::AckFirst,
        Self::JoinAgain,
        Self::RetryAll,
        Self::NoSeal,
        Self::ClaimNeeded,
        Self::SkippedSoon,
        Self::RetryUnfenced,
        Self::AcksSuperseded,
        Self::RefusedAlone,
        Self::RefusedRunning,
        Self::Unleased,
        Self::LeaseKept,
        Self::PermitKept,
        Self::NoWake,
        Self::PermitsUncounted,
        Self::PermitsOfDead,
        Self::EventTooEarly,
        Self::EndWithoutEvent,
        Self::ClaimedEarly,
        Self::CalledAfterDrain,
        Self::LossPerDelivery,
        Self::LostUnnoticed,
        Self::ResentAll,
    ];
}

/// A row of the outbox.
pub(crate) fn row(number: OutboxId, row_kind: OutboxKind, attempt: u32) -> OutboxRow {
    let task = "task".to_owned();
    OutboxRow {
        id: number,
        job: id(),
        task,
        kind: row_kind,
        attempt,
        priority: 0,
        due: None,
        holder: None,
        losses: 0,
        waits_for: None,
    }
}

impl Config {
    /// Returns the key of the part that a result belongs to; some mutants change its epoch or attempt.
    pub(crate) fn key(&self, seen: &Tables, mut key: PartKey) -> PartKey {
        let Some(job) = &seen.job else { return key };
        if self.mutant == Some(Mutant::NoEpoch) {
            key.epoch = job.head.epoch;
        }
        if self.mutant == Some(Mutant::NoFence) {
            key.attempt = job.part(key.index).attempt;
        }
        key
    }

    /// Returns whether the result of an operation is reported before its writes are on disk.
    pub(crate) fn is_early<A>(&self, applied: &Applied<A>) -> bool {
        let quiet = applied.quiet || (self.mutant == Some(Mutant::SkippedSoon) && applied.writes.outbox.is_empty());
        applied.soon && quiet
    }

    /// How an attempt at a job ended.
    pub(crate) fn job_end(&self, fails: bool, counted: u32) -> AttemptOutcome {
        if !fails {
            return AttemptOutcome::Succeeded;
        }
        AttemptOutcome::Failed { failure: failure(), retry_at: (counted < self.tries).then_some(NOW) }
    }

    /// How an attempt at a part failed.
    pub(crate) fn part_failed(&self, attempt: u32) -> PartAttemptOutcome {
        PartAttemptOutcome::Failed { failure: failure(), retry_at: (attempt < self.tries).then_some(NOW) }
    }

    /// Returns whether a settlement is not even tried.
    pub(crate) fn drops_settlement(&self, seen: &Tables) -> bool {
        self.mutant == Some(Mutant::ClaimNeeded) && seen.state() != Some(JobState::Running)
    }

    /// The limit of the task, if it has one.
    pub(crate) fn limit(&self) -> Option<Limit> {
        self.permits.map(|permits| Limit { name: "task".into(), permits })
    }

    /// Returns whether a worker counts the permits of the worker at a place.
    pub(crate) fn counts_permits(&self, at: usize, worker: Option<usize>) -> bool {
        self.mutant != Some(Mutant::PermitsUncounted) || worker == Some(at)
    }

    /// Returns whether a worker that rejects a message presumes the process dead that claimed the job last.
    pub(crate) fn presumes_dead(&self, lives: bool) -> bool {
        match self.mutant {
            Some(Mutant::RefusedAlone) => false,
            Some(Mutant::RefusedRunning) => true,
            _ => !lives,
        }
    }

    /// How many settlements the counting mutant has counted after a step.
    pub(crate) fn count(&self, before: &Tables, after: &Tables, step: Step) -> u64 {
        let (Some(Mutant::Counter), Some(old), Some(new)) = (self.mutant, &before.job, &after.job) else { return 0 };
        match step {
            _ if old.head.epoch != new.head.epoch => new.counts().settled(),
            Step::Settles { n, .. } => before.counter + n,
            Step::Job { .. }
            | Step::Starts { .. }
            | Step::Claims { .. }
            | Step::Retry
            | Step::Resends
            | Step::Other => before.counter,
        }
    }

    /// Lets the mutant change what an operation has decided.
    pub(crate) fn falsify(&self, before: &Tables, tx: &mut Transaction, writes: &mut Writes, step: Step) {
        let (Some(mutant), Some(old)) = (self.mutant, &before.job) else { return };
        let next = tx.next_outbox_id();
        let Some(entry) = tx.get_mut(id()) else { return };
        let head = *entry.ledger.head();
        let all_settled = entry.ledger.counts().settled() == head.appended;
        let done = match (mutant, step) {
            (Mutant::Counter, Step::Settles { n, .. }) => head.sealed == Some(before.counter + n),
            (Mutant::NoSeal, Step::Settles { .. }) => {
                if all_settled {
                    entry.job.wait_for_parts();
                }
                all_settled
            }
            (Mutant::JoinAgain, Step::Settles { .. }) => {
                if old.job.phase == Phase::Join && !old.job.state.is_final() {
                    writes.outbox.push(row(next, OutboxKind::Join, old.job.attempt));
                    tx.number_from(next + 1);
                }
                return;
            }
            (Mutant::RetryAll, Step::Retry) => {
                writes.outbox.retain(|row| !matches!(row.kind, OutboxKind::Parts { .. }));
                let row_kind = OutboxKind::Parts { epoch: head.epoch, first: 0, len: head.appended, waited: false };
                writes.outbox.push(row(next, row_kind, 1));
                tx.number_from(next + 1);
                return;
            }
            (Mutant::LossPerDelivery, Step::Claims { suspect: true }) => {
                entry.job.losses = old.job.losses + 1;
                entry.dirty = true;
                return;
            }
            (Mutant::ResentAll, Step::Resends) => {
                for row in &mut writes.outbox {
                    if let OutboxKind::Parts { first, len, .. } = &mut row.kind {
                        (*first, *len) = (0, head.appended);
                    }
                }
                return;
            }
            (Mutant::NoWake, _) => return writes.woken.clear(),
            (Mutant::EventTooEarly, Step::Settles { .. }) => {
                if head.sealed.is_some() && !all_settled {
                    writes.outbox.push(row(next, OutboxKind::Event(PendingEvent::Job(EventKind::PartsCompleted)), 1));
                    tx.number_from(next + 1);
                }
                return;
            }
            (Mutant::EndWithoutEvent, _) => {
                return writes.outbox.retain(|row| !matches!(row.kind, OutboxKind::Event(_)));
            }
            (Mutant::RetryUnfenced, Step::Retry) if old.head.cut => {
                entry.ledger = Ledger::new(old.head, old.shards.iter().map(|(number, (counts, _))| (*number, *counts)));
                return;
            }
            _ => return,
        };
        if done {
            let counts = entry.ledger.counts();
            let effects = entry.job.on_parts_completed(&head, counts, entry.job.created);
            entry.dirty = true;
            let row_of = |effect| match effect {
                Effect::Ended | Effect::Reopened { .. } => unreachable!("the only job has none above it"),
                Effect::Dispatch { attempt, .. } => (OutboxKind::Join, attempt),
                Effect::Reply => (OutboxKind::Reply, 1),
                Effect::Hooks(mask) => (OutboxKind::Hooks { mask }, 1),
                Effect::Emit(kind) => (OutboxKind::Event(PendingEvent::Job(kind)), 1),
            };
            let rows = effects.into_iter().map(row_of).zip(next..);
            writes.outbox.extend(rows.map(|((row_kind, attempt), number)| row(number, row_kind, attempt)));
            tx.number_from(next + 2);
        }
    }
}
