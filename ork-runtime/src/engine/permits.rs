//! Concurrency limits: which one a message is under, beginning calls with permits, and settling them, which gives the
//! permits back. Called by `engine::claim`, `engine::run` and `engine::settle`.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::step::Step;
use super::{Engine, refuse, values};
use crate::accounting::{Admit, Admitted, Answer, Begin, Limit, Operation, Release, Settles};
use crate::broker::Settlement;
use crate::message::{Ask, Message};
use crate::registry::Task;
use crate::store::StoreError;

/// A key's value takes no more bytes in the name of a limit; a digest stands for the rest of a longer one.
const LONGEST: usize = 500;

/// The limit under which the call is that a message asks for: that of the step, if it has one, or else that of the task.
/// What makes parts and a join are under none.
pub(super) fn limit(task: &Task, step: Option<&Step>, message: &Message) -> Option<Limit> {
    if step.is_some_and(|step| step.fans_out() && message.ask == Ask::Step) {
        return None;
    }
    if let Some(limit) = step.and_then(|step| step.limit.as_ref()) {
        return Some(limit.clone());
    }
    let concurrency = task.work.options.concurrency?;
    let calls = match message.ask {
        Ask::Join | Ask::Hooks(_) => false,
        Ask::Whole | Ask::Step => task.split.is_none(),
        Ask::Item | Ask::Part { .. } => true,
    };
    if !calls {
        return None;
    }
    let mut name = task.name().to_owned();
    if let Some(key) = concurrency.key {
        // What is no object is refused by the call itself.
        let body: HashMap<String, &RawValue> = serde_json::from_slice(&message.body).unwrap_or_default();
        let value = values::canonical(body.get(key).map_or("null", |value| value.get()));
        let _infallible = write!(name, "[{key} = {}]", values::shortened(&value, LONGEST));
    }
    Some(Limit { name: name.into(), permits: concurrency.calls })
}

/// Begins calls that are under one limit, or under none; workers have died with their deliveries `lost` times.
pub(super) async fn begin<O: Begin>(
    engine: &Engine,
    (limit, lost): (Option<&Limit>, u32),
    operations: Vec<O>,
) -> Result<Vec<Admitted<O::Answer>>, StoreError> {
    let Some(limit) = limit else {
        let answers = engine.store.apply_all(operations).await?;
        return Ok(answers.into_iter().map(Admitted::all).collect());
    };
    let admit = |operation| Admit { limit: limit.clone(), lost, operation };
    engine.store.apply_all(operations.into_iter().map(admit).collect()).await
}

/// Settles calls and sends what that owes. Asks the store until it has it, so that nothing runs twice because the store
/// rests. Answers whether each of them counted.
///
/// # Errors
/// What becomes of the deliveries if the store never will.
pub(super) async fn settle<O: Settles>(
    engine: &Engine,
    limit: Option<&Limit>,
    operations: Vec<O>,
) -> Result<bool, Settlement> {
    let answers = match limit {
        None => persist(engine, operations).await?,
        Some(limit) => {
            let release = |operation| Release { limit: limit.clone(), operation };
            persist(engine, operations.into_iter().map(release).collect()).await?
        }
    };
    let mut counted = true;
    for answer in answers {
        match answer {
            Answer::Counted(owed) => engine.outbox.send(owed).await,
            Answer::Old => {
                tracing::debug!("a settlement came too late and changed nothing");
                counted = false;
            }
        }
    }
    Ok(counted)
}

async fn persist<O: Operation + Clone>(engine: &Engine, operations: Vec<O>) -> Result<Vec<O::Answer>, Settlement> {
    loop {
        match engine.store.apply_all(operations.clone()).await {
            Ok(answers) => return Ok(answers),
            Err(error) => {
                if let Some(settlement) = refuse::store_failed(engine, &error).await {
                    return Err(settlement);
                }
            }
        }
    }
}
