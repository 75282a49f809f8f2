//! The ends of attempts at a storeless job. The last one is followed by a message with the outcome, from which alone
//! the sender of the job learns it.

use bytes::Bytes;

use super::super::Engine;
use super::super::retry::{self, Interrupted};
use crate::broker::{BrokerError, BrokerErrorKind};
use crate::clock::Timestamp;
use crate::failure::{Failure, FailureKind};
use crate::job::{AttemptEnd, AttemptOutcome, Effect, Job, JobClaim, Phase, State};
use crate::message::{Outgoing, Reply};
use crate::mutant::{self, Mutant};

/// Ends an attempt at a storeless job. Returns the time of the next attempt, if there is one.
pub(super) async fn end_attempt(
    engine: &Engine,
    job: &mut Job,
    phase: Phase,
    outcome: AttemptOutcome,
    output: Option<Bytes>,
) -> Result<Option<Timestamp>, Interrupted> {
    let attempt = job.attempt;
    let AttemptEnd::Applied(effects) = job.end_attempt(phase, attempt, outcome, engine.clock.now()) else {
        return Ok(None);
    };
    apply_effects(engine, job, effects, output.as_ref()).await
}

/// Starts the next attempt at a storeless job.
pub(super) fn next_attempt(engine: &Engine, job: &mut Job, phase: Phase) {
    let claimed = job.claim(phase, job.attempt, &engine.worker.to_string(), engine.clock.now());
    debug_assert_eq!(claimed, JobClaim::Granted, "it waited for this attempt");
}

/// Carries out the effects of a change of a storeless job. Returns the time of the next attempt, if there is one.
pub(super) async fn apply_effects(
    engine: &Engine,
    job: &Job,
    effects: Vec<Effect>,
    output: Option<&Bytes>,
) -> Result<Option<Timestamp>, Interrupted> {
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
async fn send_reply(engine: &Engine, mut reply: Reply) -> Result<Result<(), BrokerError>, Interrupted> {
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

async fn publish_reply(engine: &Engine, reply: &Reply) -> Result<Result<(), BrokerError>, Interrupted> {
    let reply = Outgoing::Reply(reply.clone());
    if mutant::is_on(Mutant::SendsOutcomeOnce) {
        return Ok(retry::publish_once(engine, reply).await);
    }
    retry::publish(engine, &reply).await
}
