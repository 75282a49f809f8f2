//! What cannot be run: found before anything runs, written down where there is a store, put aside with the reason.

use std::time::Duration;

use super::{Engine, ProcessError, settle};
use crate::accounting::{Claim, Claimed, NewJob, Settle};
use crate::broker::{DeadReason, Refused, Settlement};
use crate::failure::{Failure, FailureKind};
use crate::job::{Attempt, Job, Phase};
use crate::message::{BodyError, Message};
use crate::registry::Task;
use crate::store::{StoreError, StoreErrorKind};
use crate::task::TaskDef;

/// How long a delivery is kept back when the store does not work, so that it does not come again at once.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Checks a message against what is accepted, and finds its task.
pub(super) fn check(engine: &Engine, message: &Message) -> Result<Task, ProcessError> {
    engine.settings.limits.check(&message.body).map_err(|error| {
        let reason = match error {
            BodyError::TooLarge { .. } | BodyError::TooDeep { .. } => DeadReason::Oversized,
        };
        refused(message, reason, error.to_string())
    })?;
    let task = engine.registry.get(&message.task);
    task.copied().map_err(|unknown| refused(message, DeadReason::UnknownTask, unknown.to_string()))
}

/// The join of a task, for a message that asks for one.
pub(super) fn join_of(task: &Task, message: &Message) -> Result<&'static TaskDef, ProcessError> {
    task.join.ok_or_else(|| {
        let words = format!("the task `{}` of this program has no join, though its job was split for one", task.name());
        refused(message, DeadReason::UnknownTask, words)
    })
}

fn refused(message: &Message, reason: DeadReason, detail: String) -> ProcessError {
    ProcessError::Refused(Box::new(Refused {
        reason,
        detail,
        reply: message.reply.clone(),
        job: Some(message.job),
        task: Some(message.task.clone()),
    }))
}

/// What becomes of a delivery that could not be brought to an end.
pub(super) async fn settlement(engine: &Engine, error: ProcessError) -> Settlement {
    match error {
        ProcessError::Refused(refused) => {
            tracing::warn!(reason = refused.reason.as_str(), detail = refused.detail, "message refused");
            match write_down(engine, &refused).await {
                Ok(()) => Settlement::Dead(refused.reason, refused.detail),
                Err(error) => store_failed(engine, &error).await,
            }
        }
        ProcessError::Store(error) => store_failed(engine, &error).await,
    }
}

async fn store_failed(engine: &Engine, error: &StoreError) -> Settlement {
    match error.kind() {
        StoreErrorKind::Corrupt | StoreErrorKind::TooNew => {
            tracing::error!(%error, "the store can no longer be trusted, stopping");
            engine.fatal.cancel();
        }
        StoreErrorKind::Unavailable
        | StoreErrorKind::ReadOnly
        | StoreErrorKind::Config
        | StoreErrorKind::NotFound
        | StoreErrorKind::NoStore
        | StoreErrorKind::Closed => {
            let source = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(%error, source, "the store does not work, the work is kept back");
            tokio::select! {
                () = engine.clock.pause(STORE_PAUSE) => {}
                () = engine.force.cancelled() => {}
            }
        }
    }
    Settlement::Release
}

/// Fails the job of a refused message, so that whoever looks for it, or waits for it, learns why.
async fn write_down(engine: &Engine, refused: &Refused) -> Result<(), StoreError> {
    let Some(id) = refused.job else { return Ok(()) };
    let task = refused.task.clone().unwrap_or_default();
    let mut job = Job::new(id, task, engine.clock.now());
    job.reply.clone_from(&refused.reply);
    let failure = Failure::new(FailureKind::Input, refused.detail.clone());
    let how = Attempt::Failed { failure, again: None };
    if !engine.store.keeps() {
        let claimed = job.claim(Phase::Start, 1, "", engine.clock.now());
        debug_assert_eq!(claimed, crate::job::Claim::Ours, "a new job can be claimed");
        let again = settle::unkept(engine, &mut job, Phase::Start, how, None).await;
        debug_assert_eq!(again, None, "the last attempt has no next one");
        return Ok(());
    }
    let unknown = NewJob { job, input: "null".into() };
    let claim = Claim { unknown, phase: Phase::Start, attempt: 1, by: engine.by() };
    if let Claimed::Ours(job) = engine.store.apply(claim).await? {
        let (phase, attempt) = (Phase::Start, job.attempt);
        let settle = Settle { job: id, phase, attempt, how, output: None, by: engine.by() };
        if let crate::accounting::Answer::Counted(owed) = engine.store.apply(settle).await? {
            engine.outbox.send(owed).await;
        }
    }
    Ok(())
}
