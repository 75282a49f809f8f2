//! Writing down how a call ended, sending what is owed, and the one match that says what becomes of the delivery.

use bytes::Bytes;

use super::hooks::{SendFailure, patiently};
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
    /// The delivery is done with.
    Done(Done),
    /// No store keeps the next attempt: it is made here, at this time.
    AgainHere(Timestamp),
}

/// What becomes of a delivery that was brought to an end.
pub(super) fn settlement(done: Done) -> Disposition {
    match done {
        Done::Settled => Disposition::Ack,
        Done::WrongInput(words) => Disposition::DeadLetter(DeadLetterReason::WrongInput, words),
        Done::Exhausted(words) => Disposition::DeadLetter(DeadLetterReason::Exhausted, words),
        Done::Interrupted if mutant::is_on(Mutant::AcksInterrupted) => Disposition::Ack,
        Done::Interrupted => Disposition::Requeue,
        Done::NeedsStore(words) => Disposition::RequeueElsewhere(DeadLetterReason::NeedsStore, words),
        Done::OtherSchema(words) => Disposition::RequeueElsewhere(DeadLetterReason::OtherSchema, words),
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
        let again = unkept(engine, job, phase, how, output).await;
        // Nobody else knows the outcome: if it was not sent, the message comes again.
        let again = again.map_err(|_interrupted| ProcessError::Unsettled(Disposition::Requeue))?;
        return Ok(again.map_or(Next::Done(done), Next::AgainHere));
    }
    let limit = limit.cloned();
    let settle =
        Settle { job: job.id, phase, attempt: job.attempt, outcome: how, output, limit, actor: engine.actor() };
    engine.settle(vec![settle]).await.map_err(ProcessError::Unsettled)?;
    Ok(Next::Done(done))
}

/// Lets a job that has split itself wait for its parts.
///
/// # Errors
/// What becomes of its delivery if the store never will.
pub(super) async fn seal(
    engine: &Engine,
    job: &Job,
    limit: Option<&Limit>,
    (output, Made { epoch, n }): (Bytes, Made),
) -> Result<Done, Disposition> {
    let limit = limit.cloned();
    let seal = SealParts { job: job.id, epoch, n, output: Some(output), limit, actor: engine.actor() };
    // Whoever has split it anew may die, so that the delivery is not done with.
    let sealed = engine.settle(vec![seal]).await?;
    Ok(if sealed { Done::Settled } else { Done::Interrupted })
}

/// Settles a job whose split did not come to its end.
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

/// How an attempt at a job ended, what it returned, and what came of its delivery.
pub(super) fn job_attempt(
    engine: &Engine,
    job: &Job,
    def: &TaskDef,
    phase: Phase,
    called: CallOutcome,
) -> (AttemptOutcome, Option<Bytes>, Done) {
    match called {
        // If its job has ended, its delivery comes back once more and is found to be done with.
        CallOutcome::Interrupted => (AttemptOutcome::Interrupted, None, Done::Interrupted),
        CallOutcome::Returned(output) => (AttemptOutcome::Succeeded, Some(output), Done::Settled),
        CallOutcome::Failed(error) => {
            // Without a store this was looked at before.
            let schemas = job.schemas.input.filter(|_| phase == Phase::Start && engine.store.is_durable());
            if let Some(failure) = parked::why(def, schemas, &error) {
                let again = parked::again(engine, job.attempt);
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

/// How an attempt at a part ended, and what came of its delivery.
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
                let again = Some(parked::again(engine, attempt));
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
    let words = failure.message.clone();
    let how = AttemptOutcome::Failed { failure, retry_at: None };
    let (attempt, limit, actor) = (job.attempt, limit.cloned(), engine.actor());
    let settle = Settle { job: job.id, phase, attempt, outcome: how, output: None, limit, actor };
    engine.settle(vec![settle]).await.map_err(ProcessError::Unsettled)?;
    Ok(Done::Exhausted(words))
}

/// Fails a part that was lost with its workers too often.
pub(super) async fn lost_part(
    engine: &Engine,
    (part, limit): (PartKey, Option<&Limit>),
    times: u32,
) -> Result<Done, ProcessError> {
    let failure = lost(times);
    let words = failure.message.clone();
    let how = PartAttemptOutcome::Failed { failure, retry_at: None };
    let settle = SettleParts { limit: limit.cloned(), ..SettleParts::one(part, how, engine.actor()) };
    engine.settle(vec![settle]).await.map_err(ProcessError::Unsettled)?;
    Ok(Done::Exhausted(words))
}

pub(super) fn lost(times: u32) -> Failure {
    Failure::new(FailureKind::Lost, format!("its worker died or lost its connection {times} times while it ran"))
}

/// The failure of a call, and when it is tried again.
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

/// Settles a job that no store keeps; answers the time of the next attempt, if there is one.
pub(super) async fn unkept(
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
    carry_out(engine, job, effects, output.as_ref()).await
}

/// Carries out what a change of a job owes that no store keeps; answers the time of the next attempt, if there is one.
pub(super) async fn carry_out(
    engine: &Engine,
    job: &Job,
    effects: Vec<Effect>,
    output: Option<&Bytes>,
) -> Result<Option<Timestamp>, SendFailure> {
    for effect in effects {
        match effect {
            Effect::Dispatch { due, .. } => return Ok(Some(due.unwrap_or_default())),
            // Nobody keeps what is above it; hooks are those of its message, and are sent after this.
            Effect::Ended | Effect::Reopened { .. } | Effect::Hooks(_) => {}
            Effect::Emit(kind) => engine.tell_of(job, kind).await,
            Effect::Reply => {
                let Some(reply) = Reply::of(job, output) else {
                    continue;
                };
                if let Err(error) = tell(engine, reply).await? {
                    tracing::warn!(job = %job.id, %error, "an outcome could not be sent");
                }
            }
        }
    }
    Ok(None)
}

/// Sends an outcome that no store keeps: its sender hears of it in no other way. An output that no message can carry is
/// lost, so its job has failed.
async fn tell(engine: &Engine, mut reply: Reply) -> Result<Result<(), BrokerError>, SendFailure> {
    let bytes = reply.output_bytes();
    match publish_reply(engine, &reply).await? {
        Err(error) if error.kind() == BrokerErrorKind::TooLarge && reply.leave_out() => {
            if let Some(bytes) = bytes {
                let words =
                    format!("without a store an output travels in a message, and {bytes} bytes do not fit: {error}");
                let error = Some(Failure::new(FailureKind::Output, words).into());
                (reply.state, reply.output, reply.error) = (State::Failed, None, error);
            }
            publish_reply(engine, &reply).await
        }
        told => Ok(told),
    }
}

async fn publish_reply(engine: &Engine, reply: &Reply) -> Result<Result<(), BrokerError>, SendFailure> {
    let publish = || services::publish(engine, Outgoing::Reply(reply.clone()));
    if mutant::is_on(Mutant::TellsOutcomeOnce) {
        return Ok(publish().await);
    }
    patiently(engine, publish).await
}
