//! Custody: decides where the engine records what happens to its work. A durable worker records it in the store; a
//! storeless one keeps jobs in memory, counts their parts in part queues, and sends outcomes in messages.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::action::Action;
use super::outcome::WorkOutcome;
use super::work::{ClaimResult, ClaimedWork, Common, Ended, Item, Unsettled};
use super::{Done, Engine, ProcessError, claim, limit, parked, reject, settle, split, storeless};
use crate::job::Job;
use crate::message::Message;
use crate::registry::Task;

/// Declines a message that this worker cannot run although another one may: a storeless worker has neither the jobs nor
/// the permits of a store, and cannot park an input. Returns the pause after which the message is requeued; `None` if
/// it can run here.
pub(super) fn decline<'a>(
    engine: &'a Engine,
    task: &Task,
    message: &'a Message,
    redelivered: u32,
) -> Option<BoxFuture<'a, Done>> {
    if engine.store.records_jobs() {
        return None;
    }
    let action = Action::of(task, message, None);
    if action.needs_store(message) || limit::limit_of(task, None, action, &message.body).is_some() {
        return Some(reject::needs_store(engine, message, redelivered).boxed());
    }
    let detail = parked::without_store(task, action, message)?;
    Some(parked::hold(engine, detail, redelivered).boxed())
}

/// Returns whether deliveries share claims. Storeless work is not claimed.
pub(super) fn shares_claims(engine: &Engine) -> bool {
    engine.store.records_jobs()
}

/// Claims items, in order.
///
/// # Errors
/// Returns an error if the store has failed; nothing is claimed then.
pub(super) async fn claim(engine: &Engine, common: &Common, items: &[Item]) -> Result<Vec<ClaimResult>, ProcessError> {
    match common.action {
        Action::CountedPart => Ok(items.iter().map(|_| Ok(ClaimedWork::CountedPart)).collect()),
        Action::Part => claim::parts(engine, common, items).await,
        _ if engine.store.records_jobs() => claim::jobs(engine, common, items).await,
        _ => Ok(items.iter().map(|item| storeless::claim(engine, item)).collect()),
    }
}

/// Splits a claimed job.
pub(super) async fn split(
    engine: &Arc<Engine>,
    common: &Common,
    item: &mut Item,
    job: &Job,
) -> Result<WorkOutcome, ProcessError> {
    if engine.store.records_jobs() {
        split::claimed(engine, common, item, job).await
    } else {
        storeless::split(engine, common, item, job).await
    }
}

/// Records how work has ended, and settles its deliveries. Returns the items that were not settled: `process` decides
/// what becomes of those that have failed, and makes the next attempt at the others.
pub(super) async fn settle(engine: &Engine, common: &Common, ended: Vec<Ended>) -> Vec<Unsettled> {
    if engine.store.records_jobs() {
        return settle::settle(engine, common, ended).await;
    }
    let mut unsettled = Vec::new();
    for ended in ended {
        unsettled.extend(Box::pin(storeless::settle(engine, common, ended)).await);
    }
    unsettled
}
