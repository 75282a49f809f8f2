//! The properties of every single step: each rule compares what was stored before with what is stored after.

use ork::{FailureKind, JobState};
use ork_core::event::{EventKind, PendingEvent};
use ork_core::job::Phase;
use ork_core::ledger::PartResult;
use ork_core::tree::CancelMode;
use ork_core::tx::{OutboxKind, Writes};

use super::store::{JobRow, Tables};

/// A rule that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Flaw {
    /// The join, an end of the job, an attempt or a reply was enqueued twice.
    Twice,
    /// The join was enqueued, or the job ended, before every part had ended.
    Early,
    /// Something changed after the end.
    Moved,
    /// An older attempt, or an older run of the split, changed something.
    Fenced,
    /// The counts are not those of the sets, or a part is in two of them.
    Miscounted,
    /// A retry lost the output of a part, ran one again that was `ok`, or left one out.
    Resumed,
    /// The output of a part comes from the input of another run of the split.
    Foreign,
    /// A rejection ended a job that a living process ran.
    Killed,
    /// A permit was released, and no row that waits for one was woken.
    Unwoken,
    /// More attempts were made than the retries allow.
    Overtried,
    /// A function was called after its job had ended, or by a worker that was drained.
    CallOutcome,
    /// More losses are counted than calls have died.
    Lossy,
}

/// The process or client that takes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A worker, with the attempt of the job that it has claimed, and the run of the split it is at.
    Job { attempt: u32, epoch: Option<u32>, opens: bool },
    /// A worker claims the job; `suspect` if its message was redelivered.
    Claims { suspect: bool },
    /// A worker starts parts.
    Starts { epoch: u32, attempt: u32 },
    /// A worker settles parts, `n` of them finally.
    Settles { epoch: u32, attempt: u32, n: u64 },
    /// A client retries.
    Retry,
    /// Messages that the broker has lost are sent again.
    Resends,
    /// A client submits or cancels, or a worker rejects.
    Other,
}

/// The maximum number of tries of a part, and of a phase of the job.
pub(crate) const TRIES: u32 = 2;

/// Returns the first rule that a step has broken.
pub(crate) fn flaw(before: &Tables, after: &Tables, writes: &Writes, step: Step) -> Option<Flaw> {
    let new = after.job.as_ref()?;
    let old = before.job.as_ref();
    let rules = [
        (Flaw::Miscounted, miscounted(new)),
        (Flaw::Early, early(new)),
        (Flaw::Moved, old.is_some_and(|old| moved(old, new, writes, step))),
        (Flaw::Twice, twice(old, new, writes, step == Step::Resends)),
        (Flaw::Resumed, step == Step::Retry && old.is_some_and(|old| resumed(old, before, new, after, writes))),
        (Flaw::Foreign, foreign(before, after)),
        (Flaw::Overtried, overtried(new)),
        (Flaw::Unwoken, unwoken(before, after)),
        (Flaw::Fenced, old.is_some_and(|old| fenced(old, new, same(before, after), step))),
    ];
    rules.into_iter().find(|(_, broken)| *broken).map(|(flaw, _)| flaw)
}

fn miscounted(row: &JobRow) -> bool {
    let (parts, counts) = (row.parts(), row.counts());
    let settled = |how| parts.iter().filter(|part| part.how == Some(how)).count();
    let of_sets = [PartResult::Succeeded, PartResult::Failed, PartResult::Skipped, PartResult::Cancelled].map(settled);
    let counted =
        [counts.succeeded, counts.failed, counts.skipped, counts.cancelled].map(|n| usize::try_from(n).unwrap());
    let running = parts.iter().filter(|part| part.running).count();
    let both = parts.iter().any(|part| part.running && part.how.is_some());
    let sealed = row.head.sealed.is_some_and(|n| n != row.head.appended);
    of_sets != counted || usize::try_from(counts.running).unwrap() != running || both || sealed
}

/// Returns whether the job is sealed and all its parts have ended.
fn is_complete(row: &JobRow) -> bool {
    row.head.sealed.is_some() && row.parts().iter().all(|part| part.how.is_some())
}

fn early(row: &JobRow) -> bool {
    let split = row.head.epoch > 0;
    let judged = row.job.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Parts);
    let follows = row.job.phase == Phase::Join || judged || row.job.state == JobState::Succeeded;
    split && follows && row.job.state != JobState::Waiting && !is_complete(row)
}

fn moved(old: &JobRow, new: &JobRow, writes: &Writes, step: Step) -> bool {
    let ended = old.job.state.is_final() && step != Step::Retry;
    let after_end = ended && (old.job != new.job || writes.outbox.iter().any(|row| !is_part(row.kind)));
    let same_run = old.head.epoch == new.head.epoch;
    let unsettled = |(old, new): (super::store::Part, super::store::Part)| old.how.is_some() && old.how != new.how;
    after_end || (same_run && old.parts().into_iter().zip(new.parts()).any(unsettled))
}

const fn is_part(kind: OutboxKind) -> bool {
    matches!(kind, OutboxKind::Parts { .. })
}

/// Every row is justified by the step itself: attempts and epochs only grow, so no row can be enqueued twice.
fn twice(old: Option<&JobRow>, new: &JobRow, writes: &Writes, resent: bool) -> bool {
    let before = old.map_or(0, |old| old.job.attempt);
    let is_new = |part: OutboxKind, attempt: u32| {
        let OutboxKind::Parts { epoch, first, len, .. } = part else { return false };
        let Some(old) = old else { return true };
        (first..first + len).all(|index| {
            let again = index < old.head.appended && old.part(index).attempt + 1 == attempt;
            epoch == new.head.epoch && (epoch > old.head.epoch || index >= old.head.appended || again)
        })
    };
    // A lease, or a row that waits for a permit, is a second row for current work.
    let is_copy = |row: &ork_core::tx::OutboxRow| row.holder.is_some() || row.waits_for.is_some();
    let justified = |row: &ork_core::tx::OutboxRow| match row.kind {
        OutboxKind::Parts { epoch, first, len, .. } if is_copy(row) || resent => (first..first + len).all(|index| {
            let part = new.part(index);
            epoch == new.head.epoch && part.attempt == row.attempt && part.how.is_none()
        }),
        OutboxKind::Start | OutboxKind::Join if is_copy(row) => {
            row.attempt == new.job.attempt && !new.job.state.is_final()
        }
        OutboxKind::Start | OutboxKind::Join => {
            let phase = if row.kind == OutboxKind::Join { Phase::Join } else { Phase::Start };
            row.attempt > before && row.attempt == new.job.attempt && new.job.phase == phase
        }
        OutboxKind::Reply | OutboxKind::Hooks { .. } => {
            new.job.state.is_final() && old.is_none_or(|old| !old.job.state.is_final())
        }
        OutboxKind::Parts { .. } => is_new(row.kind, row.attempt),
        OutboxKind::Event(_) => true,
    };
    let is_event = |kind| matches!(kind, OutboxKind::Event(_));
    let is_work = |row: &&ork_core::tx::OutboxRow| !is_part(row.kind) && !is_event(row.kind) && !is_copy(row);
    let single = writes.outbox.iter().filter(is_work).count() <= 1;
    !(single
        && has_expected_events(old, new, writes)
        && writes.outbox.iter().all(justified)
        && new.job.attempt >= before)
}

/// The events are exactly those of the changes that the step has made to the job: its parts have ended, it has ended,
/// an attempt failed. The creation of the job is published with its first message.
fn has_expected_events(old: Option<&JobRow>, new: &JobRow, writes: &Writes) -> bool {
    let state = |job: Option<&JobRow>| job.map(|row| row.job.state);
    let (was, is) = (state(old), new.job.state);
    let fails = |row: &JobRow| matches!(row.job.state, JobState::Retrying).then_some(row.job.attempt);
    let sealed = |row: &JobRow| row.head.sealed.is_some();
    let completed = old.is_some_and(|old| old.job.phase == Phase::Start && !old.job.state.is_final())
        && match is {
            JobState::Ready => new.job.phase == Phase::Join,
            JobState::Succeeded => was == Some(JobState::Waiting) || (sealed(new) && !old.is_some_and(sealed)),
            // A split that fails takes its parts with it.
            JobState::Failed => new.job.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Parts),
            // An immediate cancel has no parts to wait for; a graceful one waits for those that run.
            JobState::Cancelled => new.job.tree.cancel_mode == Some(CancelMode::Graceful),
            JobState::Running | JobState::Retrying | JobState::Waiting => false,
        };
    // A retry that finds every part settled publishes their completion again.
    let again = was.is_some_and(JobState::is_final);
    let expected = [
        (fails(new).is_some() && old.and_then(fails) != fails(new)).then_some(EventKind::Retrying),
        completed.then_some(EventKind::PartsCompleted),
        (is.is_final() && was.is_none_or(|was| !was.is_final())).then_some(match is {
            JobState::Succeeded => EventKind::Succeeded,
            JobState::Cancelled => EventKind::Cancelled,
            _ => EventKind::Failed,
        }),
    ];
    let events = writes
        .outbox
        .iter()
        .filter_map(|row| if let OutboxKind::Event(PendingEvent::Job(kind)) = row.kind { Some(kind) } else { None });
    let events = events.filter(|kind| !(again && *kind == EventKind::PartsCompleted));
    events.eq(expected.into_iter().flatten())
}

/// A retry of a job whose split had ended runs exactly the parts that are not `ok`, and keeps those that are.
fn resumed(old: &JobRow, before: &Tables, new: &JobRow, after: &Tables, writes: &Writes) -> bool {
    if !matches!(old.job.state, JobState::Failed | JobState::Cancelled) || old.head.sealed.is_none() || old.head.cut {
        return false;
    }
    let rows = || {
        writes.outbox.iter().filter_map(|row| {
            if let OutboxKind::Parts { first, len, .. } = row.kind { Some(first..first + len) } else { None }
        })
    };
    old.parts().into_iter().zip(0..).any(|(part, index)| {
        let times = rows().filter(|range| range.contains(&index)).count();
        let ok = part.how == Some(PartResult::Succeeded);
        let kept =
            new.part(index).how == Some(PartResult::Succeeded) && before.parts.get(&index) == after.parts.get(&index);
        times != usize::from(!ok) || ok != kept
    })
}

/// Each run of the split gives its parts its own number as input, and a part returns its input.
fn foreign(before: &Tables, after: &Tables) -> bool {
    after.parts.iter().any(|(index, part)| {
        let old = before.parts.get(index);
        part.output.is_some() && old.is_none_or(|old| old.output != part.output && old.input != part.output)
    })
}

fn overtried(row: &JobRow) -> bool {
    row.parts().iter().any(|part| part.attempt > TRIES) || row.job.phase_attempt() > TRIES
}

/// Returns whether nothing has changed except permits and the rows that wait for them: stale settlements release their
/// permits, too.
fn same(before: &Tables, after: &Tables) -> bool {
    let but_for_permits = |tables: &Tables| {
        let mut tables = Tables { permits: Vec::new(), ..tables.clone() };
        tables.outbox.iter_mut().for_each(|row| row.waits_for = None);
        tables
    };
    before == after || (!before.permits.is_empty() && but_for_permits(before) == but_for_permits(after))
}

fn unwoken(before: &Tables, after: &Tables) -> bool {
    let held = |tables: &Tables| tables.permits.iter().sum::<u32>();
    held(after) < held(before) && before.waiting() > 0 && after.waiting() >= before.waiting()
}

fn fenced(old: &JobRow, new: &JobRow, same: bool, step: Step) -> bool {
    match step {
        Step::Job { attempt, epoch, opens } => {
            let stale = attempt != old.job.attempt || (!opens && epoch.is_some_and(|epoch| epoch != old.head.epoch));
            stale && !same
        }
        Step::Starts { epoch, attempt } | Step::Settles { epoch, attempt, .. } => {
            let current = |index: u64| epoch == old.head.epoch && old.part(index).attempt == attempt;
            (0..old.head.appended.min(new.head.appended))
                .any(|index| !current(index) && old.part(index) != new.part(index))
                && old.head.halted == new.head.halted
        }
        Step::Claims { .. } | Step::Retry | Step::Resends | Step::Other => false,
    }
}
