//! Messages that cannot be run: they are rejected before anything runs, recorded if there is a store, and
//! dead-lettered with the reason.

use std::time::Duration;

use super::lease::{self, DeliveryGuard};
use super::outcome::Verdict;
use super::{Done, Engine, ProcessError, duplicates, late_reply, retry, storeless, unstorable};
use crate::broker::{DeadLetterReason, Disposition, Rejected};
use crate::failure::{Failure, FailureKind};
use crate::hook::StoredHooks;
use crate::id::JobId;
use crate::job::{Job, Phase};
use crate::message::{Message, WorkKind};
use crate::store::StoreErrorKind;
use crate::tx::{JobRejection, NewJob, PartAttemptOutcome, PartKey, RejectJob, SettleParts};

/// The longest pause before a worker requeues a message that it cannot run.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Requeues work that needs a store, such as a part or a join, when this worker has none. Another worker of the queue
/// may have one. Each requeue comes after a longer pause, and the broker dead-letters the message when that has gone
/// on for too long.
///
/// Nothing is recorded and no reply is sent: the job is in a store that this process does not know.
pub(super) async fn needs_store(engine: &Engine, message: &Message, redelivered: u32) -> Done {
    let what = match message.kind {
        WorkKind::Join => format!("a join of job {}", message.job),
        WorkKind::Hooks(_) => format!("the hooks of job {}", message.job),
        WorkKind::Part { .. } => format!("a part of job {}", message.job),
        WorkKind::Step => format!("job {}, a step of a workflow run", message.job),
        WorkKind::Job | WorkKind::Single => format!("job {} of a task with a concurrency limit", message.job),
    };
    let detail = format!("{what} needs a store, and no worker that received it has one (ORK_STORE=none)");
    tracing::warn!(task = message.task, redelivered, detail, "message needs a store, requeuing it");
    let pause = Duration::from_secs(1 << redelivered.min(5)).min(LONGEST_PAUSE);
    tokio::select! {
        biased;
        () = engine.force.cancelled() => Done::Interrupted,
        () = engine.clock.pause(pause) => Done::NeedsStore(detail),
    }
}

/// Decides what becomes of a delivery that could not be processed.
pub(super) async fn verdict(
    engine: &Engine,
    error: ProcessError,
    message: Option<&Message>,
    guard: &mut DeliveryGuard,
) -> Verdict {
    let error = match error {
        ProcessError::Rejected(rejected_message, part) => {
            tracing::warn!(
                reason = rejected_message.reason.as_str(),
                detail = rejected_message.detail,
                "message rejected"
            );
            let written = record_rejection(engine, &rejected_message, part, message);
            // Recording the rejection may wait for as long as another process runs the job.
            let written = match message {
                Some(message) => lease::keep(engine, message, guard, written).await,
                None => written.await,
            };
            match written {
                Ok(()) => {
                    return Verdict::Settle(Disposition::DeadLetter(rejected_message.reason, rejected_message.detail));
                }
                Err(error) => error,
            }
        }
        error => error,
    };
    match error {
        ProcessError::Store(error) => match message.filter(|_| error.kind() == StoreErrorKind::Data) {
            Some(message) => unstorable::verdict(engine, &error, message).await,
            None => retry::store_failed(engine, &error).await,
        },
        ProcessError::Interrupted => Verdict::Settle(Disposition::Requeue),
        ProcessError::Rejected(..) => Verdict::Again,
    }
}

/// Fails the job or the part of a rejected message, so that its submitter, and anything that waits for it, learns the
/// reason.
async fn record_rejection(
    engine: &Engine,
    rejected_message: &Rejected,
    part: Option<PartKey>,
    message: Option<&Message>,
) -> Result<(), ProcessError> {
    let kind = match rejected_message.reason {
        DeadLetterReason::UnknownTask => FailureKind::UnknownTask,
        _ => FailureKind::Input,
    };
    let failure = Failure::new(kind, rejected_message.detail.clone());
    if let Some(part) = part.filter(|_| engine.store.records_jobs()) {
        // A message that merely carries the id of another job must not fail that job's parts.
        let job = engine.store.job(part.job).await?;
        if job.is_none_or(|view| Some(&view.job.task) != rejected_message.task.as_ref()) {
            return Ok(());
        }
        let how = PartAttemptOutcome::Failed { failure, retry_at: None };
        engine.commit(SettleParts::one(part, how, engine.actor())).await?;
        return Ok(());
    }
    let id = match (rejected_message.job, &rejected_message.reply) {
        (Some(id), _) => id,
        // A reply and hooks need the id of a job.
        (None, Some(_)) => engine.entropy.job_id(),
        (None, None) if rejected_message.hooks.is_some() => engine.entropy.job_id(),
        (None, None) => return Ok(()),
    };
    let task = rejected_message.task.clone().unwrap_or_default();
    let mut job = Job::new(id, task, engine.clock.now());
    job.reply.clone_from(&rejected_message.reply);
    // An oversized body is not stored anywhere.
    let input =
        message.filter(|_| rejected_message.reason != DeadLetterReason::Oversized).map(|message| message.body.clone());
    let input = input.unwrap_or_else(|| "null".into());
    if !engine.store.records_jobs() {
        return storeless::rejected::end(engine, rejected_message, message, job, failure, input).await;
    }
    job.hooks = rejected_message.hooks.as_deref().and_then(StoredHooks::new);
    let unknown = NewJob { job, input };
    let requested = message.map(|message| {
        let phase = if message.kind == WorkKind::Join { Phase::Join } else { Phase::Start };
        (phase, message.attempt)
    });
    let mut dead = None;
    loop {
        let reject =
            RejectJob { unknown: unknown.clone(), requested, dead, failure: failure.clone(), actor: engine.actor() };
        match engine.commit(reject).await? {
            JobRejection::Failed => return Ok(()),
            JobRejection::Ignored => {
                return match message {
                    Some(message) => late_reply::send(engine, message, false).await,
                    None => Ok(()),
                };
            }
            // While that process lives, the message is only a duplicate of what it runs. Once it has died, this
            // message may be the one that the job waits for.
            JobRejection::RunningElsewhere(worker) => dead = wait_until_dead(engine, id, worker).await?,
        }
    }
}

/// Returns the process that runs a job if it is dead; otherwise waits until the next check.
async fn wait_until_dead(engine: &Engine, job: JobId, worker: String) -> Result<Option<String>, ProcessError> {
    let Some(until) = duplicates::next_check(engine, job, &worker).await? else { return Ok(Some(worker)) };
    tracing::debug!(%job, worker, "a rejected message waits for the process that runs its job to end");
    tokio::select! {
        biased;
        () = engine.force.cancelled() => Err(ProcessError::Interrupted),
        () = engine.clock.pause_until(until) => Ok(None),
    }
}
