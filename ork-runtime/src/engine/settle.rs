//! Settles work in the store: records how it ended, in one transaction for all items of a group, and then settles their
//! deliveries. What follows from the end of a job is part of that transaction.

use bytes::Bytes;

use super::call_log::Call;
use super::outcome::{Attempt, CallOutcome, WorkOutcome};
use super::work::{ClaimedWork, Common, Ended, Item, Unsettled};
use super::{Done, Engine, parked};
use crate::broker::Disposition;
use crate::clock::Timestamp;
use crate::context::MadeParts;
use crate::failure::{Failure, FailureKind};
use crate::id::Fingerprint;
use crate::job::{AttemptOutcome, Job, Phase};
use crate::message::{Message, WorkKind};
use crate::mutant::{self, Mutant};
use crate::retry::RetryPolicy;
use crate::task::{CallError, TaskDef};
use crate::tx::{PartAttemptOutcome, Permit, SealParts, Settle, SettleParts};

/// Records how the work of these items has ended, and settles their deliveries. Returns the items whose work could not
/// be done.
pub(super) async fn settle(engine: &Engine, common: &Common, ended: Vec<Ended>) -> Vec<Unsettled> {
    let (mut jobs, mut parts, mut first, mut unsettled) = (Vec::new(), Vec::new(), None, Vec::new());
    let mut items = Vec::with_capacity(ended.len());
    for Ended { item, claimed, outcome } in ended {
        let attempt = match outcome {
            Err(error) => {
                unsettled.push(Unsettled::Failed(item, error));
                continue;
            }
            Ok(WorkOutcome::Recorded(done)) => {
                item.settle(engine, done).await;
                continue;
            }
            Ok(WorkOutcome::Attempted(attempt)) => attempt,
        };
        match (attempt, claimed) {
            // Few calls split their job, so each of them is sealed in its own transaction.
            (Attempt::Called(CallOutcome::Returned(output), Some(made)), ClaimedWork::Job { job, permit }) => {
                let disposition = Box::pin(seal(engine, &job, permit, output, made)).await;
                item.guard.settle(engine, disposition).await;
            }
            (attempt, ClaimedWork::Job { job, permit }) => {
                let (settle, done) = settle_job(engine, common, &job, permit, attempt);
                jobs.push(settle);
                items.push((item, done));
            }
            (attempt, ClaimedWork::Part { key, permit, .. }) => {
                let (outcome, done) = end_part(engine, common, &item, attempt);
                // All parts of a group were started by one operation, so they have the same epoch, attempt and permit.
                first.get_or_insert((key, permit));
                parts.push((key.index, outcome));
                items.push((item, done));
            }
            (_, ClaimedWork::CountedPart) => item.settle(engine, Done::Settled).await,
        }
    }
    let failed = match first {
        Some((first, permit)) => {
            let (ended, actor) = (parts.into(), engine.actor());
            engine.settle(vec![SettleParts { first, ended, permit, actor }]).await.err()
        }
        None if jobs.is_empty() => None,
        None => engine.settle(jobs).await.err(),
    };
    for (item, done) in items {
        item.guard.settle(engine, failed.clone().unwrap_or_else(|| done.disposition())).await;
    }
    unsettled
}

/// Returns the operation that records the end of an attempt at a job, and the result for its delivery.
fn settle_job(engine: &Engine, common: &Common, job: &Job, permit: Option<Permit>, attempt: Attempt) -> (Settle, Done) {
    let phase = common.action.phase();
    let (outcome, output, done) = match attempt {
        Attempt::Called(called, _) => {
            let schema = job.schemas.input.filter(|_| phase == Phase::Start);
            job_attempt(engine, job, common.def(), phase, schema, called)
        }
        Attempt::Lost(times) => {
            let failure = lost(times);
            let done = Done::Exhausted(failure.message.clone());
            (AttemptOutcome::Failed { failure, retry_at: None }, None, done)
        }
    };
    let (attempt, actor) = (job.attempt, engine.actor());
    (Settle { job: job.id, phase, attempt, outcome, output, permit, actor }, done)
}

/// Returns how an attempt at a part ended, and the result for its delivery.
fn end_part(engine: &Engine, common: &Common, item: &Item, attempt: Attempt) -> (PartAttemptOutcome, Done) {
    match attempt {
        Attempt::Called(called, _) => part_attempt(engine, common.def(), &item.message, item.message.schema, called),
        Attempt::Lost(times) => {
            let failure = lost(times);
            let done = Done::Exhausted(failure.message.clone());
            (PartAttemptOutcome::Failed { failure, retry_at: None }, done)
        }
    }
}

/// Seals a dynamic split: the job waits for its parts. Returns the disposition of the delivery.
async fn seal(engine: &Engine, job: &Job, permit: Option<Permit>, output: Bytes, made: MadeParts) -> Disposition {
    let MadeParts { epoch, n } = made;
    let seal = SealParts { job: job.id, epoch, n, output: Some(output), permit, actor: engine.actor() };
    match engine.settle(vec![seal]).await {
        Ok(true) => Done::Settled.disposition(),
        // Another worker has split the job again. It may die, so this delivery is not done.
        Ok(false) => Done::Interrupted.disposition(),
        Err(disposition) => disposition,
    }
}

/// Returns how a call for a job ended, its output, and the result for its delivery. `schema` is the fingerprint of the
/// schema that its input was made for. If it is `None`, a wrong input is not parked: its sender named no schema, the
/// call is a join, or the input was checked before the call.
pub(super) fn job_attempt(
    engine: &Engine,
    job: &Job,
    def: &TaskDef,
    phase: Phase,
    schema: Option<Fingerprint>,
    called: CallOutcome,
) -> (AttemptOutcome, Option<Bytes>, Done) {
    let call = Call { job: job.id, part: None, task: def.name, attempt: job.phase_attempt() };
    match called {
        // The job may have ended. The redelivery finds that out.
        CallOutcome::Interrupted => (AttemptOutcome::Interrupted, None, Done::Interrupted),
        CallOutcome::Returned(output) => {
            call.succeeded();
            (AttemptOutcome::Succeeded, Some(output), Done::Settled)
        }
        CallOutcome::Failed(error) => {
            if let Some(failure) = parked::why(def, schema, &error) {
                engine.broker.yield_delayed();
                let again = parked::retry_at(engine, job.attempt);
                return (AttemptOutcome::Parked { failure, retry_at: again }, None, Done::Settled);
            }
            let (failure, again) = failed(engine, def, job.phase_attempt(), error);
            call.failed(engine, &failure, again);
            let done = match (failure.kind, phase) {
                (FailureKind::Input, Phase::Start) => Done::WrongInput(failure.message.clone()),
                _ => Done::Settled,
            };
            (AttemptOutcome::Failed { failure, retry_at: again }, None, done)
        }
    }
}

/// Returns how a call for a part ended, and the result for its delivery. `schema` is the fingerprint of the schema that
/// its input was made for. If it is `None`, a wrong input is not parked.
pub(super) fn part_attempt(
    engine: &Engine,
    def: &TaskDef,
    message: &Message,
    schema: Option<Fingerprint>,
    called: CallOutcome,
) -> (PartAttemptOutcome, Done) {
    let attempt = message.attempt;
    let part = match message.kind {
        WorkKind::Part { index, .. } => Some(index),
        _ => None,
    };
    let call = Call { job: message.job, part, task: def.name, attempt };
    match called {
        CallOutcome::Interrupted => (PartAttemptOutcome::Interrupted, Done::Interrupted),
        CallOutcome::Returned(output) => {
            call.succeeded();
            (PartAttemptOutcome::Succeeded(output), Done::Settled)
        }
        CallOutcome::Failed(error) => {
            if let Some(failure) = parked::why(def, schema, &error) {
                engine.broker.yield_delayed();
                let again = Some(parked::retry_at(engine, attempt));
                return (PartAttemptOutcome::Failed { failure, retry_at: again }, Done::Settled);
            }
            let (failure, again) = failed(engine, def, attempt, error);
            call.failed(engine, &failure, again);
            (PartAttemptOutcome::Failed { failure, retry_at: again }, Done::Settled)
        }
    }
}

/// Returns the failure of work that was lost with its workers this often.
pub(super) fn lost(times: u32) -> Failure {
    Failure::new(FailureKind::Lost, format!("its worker died or lost its connection {times} times while it ran"))
}

/// Returns the failure of a call, and when the next attempt is due, if there is one.
fn failed(engine: &Engine, def: &TaskDef, attempt: u32, error: CallError) -> (Failure, Option<Timestamp>) {
    let retry_after = error.retry_after();
    let failure = error.into_failure();
    let mut policy = RetryPolicy::new(def.options.retries);
    if let Some(base) = def.options.backoff {
        policy = policy.backoff(base);
    }
    let pause = policy.pause_after(attempt, engine.entropy.fraction()).filter(|_| failure.retryable);
    let again = pause.map(|pause| engine.clock.now() + retry_after.unwrap_or(pause));
    let again = again.map(|due| if mutant::is_on(Mutant::RetriesAtOnce) { engine.clock.now() } else { due });
    (failure, again)
}
