//! Settling: records how a call ended, sends what follows, and maps the result to the disposition of the delivery.

use bytes::Bytes;

use super::hooks::{SendFailure, with_retries};
use super::invoke::CallOutcome;
use super::split::Split;
use super::{Done, Engine, ProcessError, parked, services};
use crate::broker::{BrokerError, BrokerErrorKind, DeadLetterReason, Disposition};
use crate::clock::Timestamp;
use crate::context::Made;
use crate::failure::{Failure, FailureKind};
use crate::id::Fingerprint;
use crate::job::{AttemptEnd, AttemptOutcome, Effect, Job, Phase, State};
use crate::message::{Outgoing, Reply};
use crate::mutant::{self, Mutant};
use crate::retry::RetryPolicy;
use crate::task::{CallError, TaskDef};
use crate::tx::{Limit, PartAttemptOutcome, PartKey, SealParts, Settle, SettleParts};

/// What follows the settlement of a job.
pub(super) enum Next {
    /// The delivery is done.
    Done(Done),
    /// The job is storeless: this process makes the next attempt, at this time.
    AgainHere(Timestamp),
}

/// Returns the disposition of a delivery that was processed.
pub(super) fn settlement(done: Done) -> Disposition {
    match done {
        Done::Settled => Disposition::Ack,
        Done::WrongInput(detail) => Disposition::DeadLetter(DeadLetterReason::WrongInput, detail),
        Done::Exhausted(detail) => Disposition::DeadLetter(DeadLetterReason::Exhausted, detail),
        Done::Interrupted if mutant::is_on(Mutant::AcksInterrupted) => Disposition::Ack,
        Done::Interrupted => Disposition::Requeue,
        Done::NeedsStore(detail) => Disposition::RequeueElsewhere(DeadLetterReason::NeedsStore, detail),
        Done::OtherSchema(detail) => Disposition::RequeueElsewhere(DeadLetterReason::OtherSchema, detail),
    }
}

/// Settles a job, or its join.
pub(super) async fn job(
    engine: &Engine,
    job: &mut Job,
    (def, limit): (&TaskDef, Option<&Limit>),
    phase: Phase,
    (called, made): (CallOutcome, Option<Made>),
) -> Result<Next, ProcessError> {
    if let (CallOutcome::Returned(output), Some(made)) = (&called, made) {
        let sealed = seal(engine, job, limit, (output.clone(), made)).await;
        return sealed.map(Next::Done).map_err(ProcessError::Unsettled);
    }
    let (how, output, done) = job_attempt(engine, job, def, phase, called);
    if !engine.store.is_durable() {
        let again = settle_storeless(engine, job, phase, how, output).await;
        // No other process knows the outcome: if it was not sent, the message is delivered again.
        let again = again.map_err(|_interrupted| ProcessError::Unsettled(Disposition::Requeue))?;
        return Ok(again.map_or(Next::Done(done), Next::AgainHere));
    }
    let limit = limit.cloned();
    let settle =
        Settle { job: job.id, phase, attempt: job.attempt, outcome: how, output, limit, actor: engine.actor() };
    engine.settle(vec![settle]).await.map_err(ProcessError::Unsettled)?;
    Ok(Next::Done(done))
}

/// Seals a dynamic split: the job waits for its parts.
///
/// # Errors
/// The disposition of the delivery if the store cannot be used, or the worker has to stop.
pub(super) async fn seal(
    engine: &Engine,
    job: &Job,
    limit: Option<&Limit>,
    (output, Made { epoch, n }): (Bytes, Made),
) -> Result<Done, Disposition> {
    let limit = limit.cloned();
    let seal = SealParts { job: job.id, epoch, n, output: Some(output), limit, actor: engine.actor() };
    // The worker that has split the job again may die, so this delivery is not done.
    let sealed = engine.settle(vec![seal]).await?;
    Ok(if sealed { Done::Settled } else { Done::Interrupted })
}

/// Settles a job after its split has run.
pub(super) async fn split(
    engine: &Engine,
    mut claimed: Box<Job>,
    of: (&TaskDef, Option<&Limit>),
    ended: Split,
) -> Result<Done, ProcessError> {
    let called = match ended {
        Split::Sealed | Split::Ended(CallOutcome::Returned(())) => return Ok(Done::Settled),
        Split::Overtaken => return Ok(Done::Interrupted),
        Split::Ended(CallOutcome::Failed(error)) => CallOutcome::Failed(error),
        Split::Ended(CallOutcome::Interrupted) => CallOutcome::Interrupted,
    };
    match job(engine, &mut claimed, of, Phase::Start, (called, None)).await? {
        Next::Done(done) => Ok(done),
        Next::AgainHere(_) => Ok(Done::Settled),
    }
}

/// Settles a part.
pub(super) async fn part(
    engine: &Engine,
    (def, limit): (&TaskDef, Option<&Limit>),
    (part, schemas): (PartKey, Option<Fingerprint>),
    called: CallOutcome,
) -> Result<Done, ProcessError> {
    let (how, done) = part_attempt(engine, def, (part.attempt, schemas), called);
    let settle = SettleParts { limit: limit.cloned(), ..SettleParts::one(part, how, engine.actor()) };
    engine.settle(vec![settle]).await.map_err(ProcessError::Unsettled)?;
    Ok(done)
}

/// Returns how an attempt at a job ended, its output, and the result for its delivery.
pub(super) fn job_attempt(
    engine: &Engine,
    job: &Job,
    def: &TaskDef,
    phase: Phase,
    called: CallOutcome,
) -> (AttemptOutcome, Option<Bytes>, Done) {
    match called {
        // If the job has ended, the redelivery finds that out.
        CallOutcome::Interrupted => (AttemptOutcome::Interrupted, None, Done::Interrupted),
        CallOutcome::Returned(output) => (AttemptOutcome::Succeeded, Some(output), Done::Settled),
        CallOutcome::Failed(error) => {
            // Without a store this was checked before the call.
            let schemas = job.schemas.input.filter(|_| phase == Phase::Start && engine.store.is_durable());
            if let Some(failure) = parked::why(def, schemas, &error) {
                let again = parked::retry_at(engine, job.attempt);
                return (AttemptOutcome::Parked { failure, retry_at: again }, None, Done::Settled);
            }
            let (failure, again) = failed(engine, def, job.phase_attempt(), error);
            let done = match (failure.kind, phase) {
                (FailureKind::Input, Phase::Start) => Done::WrongInput(failure.message.clone()),
                _ => Done::Settled,
            };
            (AttemptOutcome::Failed { failure, retry_at: again }, None, done)
        }
    }
}

/// Returns how an attempt at a part ended, and the result for its delivery.
pub(super) fn part_attempt(
    engine: &Engine,
    def: &TaskDef,
    (attempt, schemas): (u32, Option<Fingerprint>),
    called: CallOutcome,
) -> (PartAttemptOutcome, Done) {
    match called {
        CallOutcome::Interrupted => (PartAttemptOutcome::Interrupted, Done::Interrupted),
        CallOutcome::Returned(output) => (PartAttemptOutcome::Succeeded(output), Done::Settled),
        CallOutcome::Failed(error) => {
            if let Some(failure) = parked::why(def, schemas, &error) {
                let again = Some(parked::retry_at(engine, attempt));
                return (PartAttemptOutcome::Failed { failure, retry_at: again }, Done::Settled);
            }
            let (failure, again) = failed(engine, def, attempt, error);
            (PartAttemptOutcome::Failed { failure, retry_at: again }, Done::Settled)
        }
    }
}

/// Fails a job in the store that was lost with its workers too often.
pub(super) async fn lost_job(
    engine: &Engine,
    (job, limit): (Box<Job>, Option<&Limit>),
    phase: Phase,
) -> Result<Done, ProcessError> {
    let failure = lost(job.losses);
    let detail = failure.message.clone();
    let how = AttemptOutcome::Failed { failure, retry_at: None };
    let (attempt, limit, actor) = (job.attempt, limit.cloned(), engine.actor());
    let settle = Settle { job: job.id, phase, attempt, outcome: how, output: None, limit, actor };
    engine.settle(vec![settle]).await.map_err(ProcessError::Unsettled)?;
    Ok(Done::Exhausted(detail))
}

/// Fails a part that was lost with its workers too often.
pub(super) async fn lost_part(
    engine: &Engine,
    (part, limit): (PartKey, Option<&Limit>),
    times: u32,
) -> Result<Done, ProcessError> {
    let failure = lost(times);
    let detail = failure.message.clone();
    let how = PartAttemptOutcome::Failed { failure, retry_at: None };
    let settle = SettleParts { limit: limit.cloned(), ..SettleParts::one(part, how, engine.actor()) };
    engine.settle(vec![settle]).await.map_err(ProcessError::Unsettled)?;
    Ok(Done::Exhausted(detail))
}

pub(super) fn lost(times: u32) -> Failure {
    Failure::new(FailureKind::Lost, format!("its worker died or lost its connection {times} times while it ran"))
}

/// Returns the failure of a call, and when it is retried, if it is.
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

/// Settles a storeless job. Returns the time of the next attempt, if there is one.
pub(super) async fn settle_storeless(
    engine: &Engine,
    job: &mut Job,
    phase: Phase,
    how: AttemptOutcome,
    output: Option<Bytes>,
) -> Result<Option<Timestamp>, SendFailure> {
    let attempt = job.attempt;
    let AttemptEnd::Applied(effects) = job.end_attempt(phase, attempt, how, engine.clock.now()) else {
        return Ok(None);
    };
    apply_effects(engine, job, effects, output.as_ref()).await
}

/// Carries out the effects of a change of a storeless job. Returns the time of the next attempt, if there is one.
pub(super) async fn apply_effects(
    engine: &Engine,
    job: &Job,
    effects: Vec<Effect>,
    output: Option<&Bytes>,
) -> Result<Option<Timestamp>, SendFailure> {
    for effect in effects {
        match effect {
            Effect::Dispatch { due, .. } => return Ok(Some(due.unwrap_or_default())),
            // A storeless job has no stored parent to notify. Its hooks are those of its message, and are sent after
            // this.
            Effect::Ended | Effect::Reopened { .. } | Effect::Hooks(_) => {}
            Effect::Emit(kind) => engine.emit_job_event(job, kind).await,
            Effect::Reply => {
                let Some(reply) = Reply::of(job, output) else {
                    continue;
                };
                if let Err(error) = send_reply(engine, reply).await? {
                    tracing::warn!(job = %job.id, %error, "cannot send an outcome");
                }
            }
        }
    }
    Ok(None)
}

/// Sends the reply of a storeless job, from which alone its sender learns the outcome. An output that no message can
/// carry is lost, so the job has failed.
async fn send_reply(engine: &Engine, mut reply: Reply) -> Result<Result<(), BrokerError>, SendFailure> {
    let bytes = reply.output_bytes();
    match publish_reply(engine, &reply).await? {
        Err(error) if error.kind() == BrokerErrorKind::TooLarge && reply.leave_out() => {
            if let Some(bytes) = bytes {
                let detail =
                    format!("without a store an output is sent in a message, and {bytes} bytes do not fit: {error}");
                let error = Some(Failure::new(FailureKind::Output, detail).into());
                (reply.state, reply.output, reply.error) = (State::Failed, None, error);
            }
            publish_reply(engine, &reply).await
        }
        sent => Ok(sent),
    }
}

async fn publish_reply(engine: &Engine, reply: &Reply) -> Result<Result<(), BrokerError>, SendFailure> {
    let publish = || services::publish(engine, Outgoing::Reply(reply.clone()));
    if mutant::is_on(Mutant::TellsOutcomeOnce) {
        return Ok(publish().await);
    }
    with_retries(engine, publish).await
}
