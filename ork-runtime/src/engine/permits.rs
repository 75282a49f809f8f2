//! Concurrency limits: which one a message is under, beginning calls with permits, and settling them, which gives the
//! permits back. Called by `engine::claim`, `engine::run` and `engine::settle`.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::step::Step;
use super::{Engine, canonical_json, reject};
use crate::broker::Disposition;
use crate::failure::{Failure, FailureKind};
use crate::message::{Message, WorkKind};
use crate::registry::Task;
use crate::store::{StoreError, StoreErrorKind};
use crate::tx::{Admit, Admitted, Begin, Limit, Release, SettleResult, Settles};

/// A key's value takes no more bytes in the name of a limit; a digest stands for the rest of a longer one.
const LONGEST: usize = 500;

/// How many letters of a store's error a failure repeats.
const LONGEST_WORDS: usize = 500;

/// The limit under which the call is that a message asks for: that of the step, if it has one, or else that of the task.
/// What makes parts and a join are under none.
pub(super) fn limit(task: &Task, step: Option<&Step>, message: &Message) -> Option<Limit> {
    if step.is_some_and(|step| step.fans_out() && message.kind == WorkKind::Step) {
        return None;
    }
    if let Some(limit) = step.and_then(|step| step.limit.as_ref()) {
        return Some(limit.clone());
    }
    let concurrency = task.work.options.concurrency?;
    let calls = match message.kind {
        WorkKind::Join | WorkKind::Hooks(_) => false,
        WorkKind::Job | WorkKind::Step => task.split.is_none(),
        WorkKind::Single | WorkKind::Part { .. } => true,
    };
    if !calls {
        return None;
    }
    let mut name = task.name().to_owned();
    if let Some(key) = concurrency.key {
        // What is no object is refused by the call itself.
        let body: HashMap<String, &RawValue> = serde_json::from_slice(&message.body).unwrap_or_default();
        let value = canonical_json::canonical(body.get(key).map_or("null", |value| value.get()));
        let _infallible = write!(name, "[{key} = {}]", canonical_json::shortened(&value, LONGEST));
    }
    Some(Limit { name: name.into(), permits: concurrency.calls })
}

/// Begins calls that are under one limit, or under none; workers have died with their deliveries `lost` times.
pub(super) async fn begin<O: Begin>(
    engine: &Engine,
    (limit, lost): (Option<&Limit>, u32),
    operations: Vec<O>,
) -> Result<Vec<Admitted<O::Output>>, StoreError> {
    let Some(limit) = limit else {
        let answers = engine.store.apply_all(operations).await?;
        return Ok(answers.into_iter().map(Admitted::all).collect());
    };
    let admit = |operation| Admit { limit: limit.clone(), lost, operation };
    engine.store.apply_all(operations.into_iter().map(admit).collect()).await
}

/// Settles calls and sends what that owes. Asks the store until it has it, so that nothing runs twice because the store
/// rests. What the store cannot hold fails its call in words. Answers whether each of them counted.
///
/// # Errors
/// What becomes of the deliveries if the store never will.
pub(super) async fn settle<O: Settles>(
    engine: &Engine,
    limit: Option<&Limit>,
    operations: Vec<O>,
) -> Result<bool, Disposition> {
    if let Ok(answers) = persist(engine, limit, &operations).await? {
        return Ok(counted(engine, answers).await);
    }
    // One of them holds what the store does not take: it fails alone.
    let mut all = true;
    for operation in operations.iter().flat_map(Settles::each) {
        let answers = match persist(engine, limit, std::slice::from_ref(&operation)).await? {
            Ok(answers) => answers,
            Err(error) => failing(engine, limit, &operation, error).await?,
        };
        all &= counted(engine, answers).await;
    }
    Ok(all)
}

/// Settles a call as failed, since the store cannot hold how it ended.
async fn failing<O: Settles>(
    engine: &Engine,
    limit: Option<&Limit>,
    operation: &O,
    error: StoreError,
) -> Result<Vec<SettleResult>, Disposition> {
    tracing::warn!(job = %operation.job(), %error, "the store cannot hold how this ended: it fails");
    let words: String = error.to_string().chars().flat_map(char::escape_default).take(LONGEST_WORDS).collect();
    // What is in the way may be in the words of the store, too.
    for words in [words.as_str(), "the log of the worker says why"] {
        let failure = Failure::new(FailureKind::Output, format!("how it ended cannot be stored: {words}"));
        let Some(failing) = operation.failing(failure) else { break };
        if let Ok(answers) = persist(engine, limit, &[failing]).await? {
            return Ok(answers);
        }
    }
    Err(reject::store_failed(engine, &error).await.unwrap_or(Disposition::Requeue))
}

/// Sends what answers owe. Answers whether each of them counted.
async fn counted(engine: &Engine, answers: Vec<SettleResult>) -> bool {
    let mut counted = true;
    for answer in answers {
        match answer {
            SettleResult::Applied(to_send) => engine.outbox.send(to_send).await,
            SettleResult::Stale => {
                tracing::debug!("a settlement came too late and changed nothing");
                counted = false;
            }
        }
    }
    counted
}

/// The answers of the store, or that it cannot hold what one of these says.
async fn persist<O: Settles>(
    engine: &Engine,
    limit: Option<&Limit>,
    operations: &[O],
) -> Result<Result<Vec<SettleResult>, StoreError>, Disposition> {
    loop {
        let answers = match limit {
            None => engine.store.apply_all(operations.to_vec()).await,
            Some(limit) => {
                let release = |operation: &O| Release { limit: limit.clone(), operation: operation.clone() };
                engine.store.apply_all(operations.iter().map(release).collect()).await
            }
        };
        match answers {
            Ok(answers) => return Ok(Ok(answers)),
            Err(error) if error.kind() == StoreErrorKind::Data => return Ok(Err(error)),
            Err(error) => {
                if let Some(settlement) = reject::store_failed(engine, &error).await {
                    return Err(settlement);
                }
            }
        }
    }
}
