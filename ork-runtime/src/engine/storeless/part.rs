//! Parts of storeless jobs: all attempts at a part are made for one delivery.

use std::sync::Arc;

use bytes::Bytes;

use super::super::invoke::{Hold, invoke};
use super::super::part_sets::Passed;
use super::super::settle::{lost, part_attempt};
use super::super::work::{Common, Item};
use super::super::{Done, Engine, ProcessError, call_info, place};
use super::arrive::{EndedPart, arrive};
use crate::failure::Failure;
use crate::message::{Message, WorkKind};
use crate::tx::PartAttemptOutcome;

/// Performs one part of a job whose parts are counted in a part queue.
pub(in super::super) async fn part(
    engine: &Arc<Engine>,
    common: &Common,
    item: &mut Item,
) -> Result<Done, ProcessError> {
    let WorkKind::Part { epoch, .. } = item.message.kind else { return Ok(Done::Settled) };
    let Some(part) = item.message.hooks.as_deref().and_then(|hooks| hooks.part.clone()) else {
        return Ok(Done::Settled);
    };
    let delivered = item.message.attempt;
    let is_lost = item.redelivered > engine.settings.max_worker_losses;
    let ended = if is_lost {
        Err(lost(item.redelivered))
    } else {
        match part_attempts(engine, common, item, part.total_parts).await {
            Some(ended) => ended,
            None => return Ok(Done::Interrupted),
        }
    };
    // What follows the part refers to its message as it was delivered.
    item.message.attempt = delivered;
    let detail = ended.as_ref().err().map(|failure| failure.message.clone());
    let message = &item.message;
    let ended = EndedPart { message, part: &part, epoch, is_suspect: !item.is_first, result: ended };
    let passed = Box::pin(arrive(engine, &common.task, ended)).await;
    Ok(match (passed, detail) {
        (Passed::Done(_), Some(detail)) if is_lost => Done::Exhausted(detail),
        (Passed::Done(_), _) => Done::Settled,
        (Passed::Interrupted, _) => Done::Interrupted,
        (Passed::NoParts, _) => Done::NeedsStore(no_parts(message)),
    })
}

/// Calls the function until it succeeds or has no attempt left. Returns `None` if the worker has to stop, or the
/// delivery was lost.
async fn part_attempts(
    engine: &Arc<Engine>,
    common: &Common,
    item: &mut Item,
    total: u64,
) -> Option<Result<Bytes, Failure>> {
    let def = common.def();
    let index = item.part().map_or(0, |part| part.index);
    loop {
        let running = engine.running.enter(item.message.job);
        let place = place::take(engine, common, item, &running).await?;
        // The next delivery of the message makes this attempt.
        if item.guard.is_lost() {
            return None;
        }
        let info = call_info::part(item, (index, Some(total)), None);
        let Item { message, .. } = &*item;
        let hold = Hold { running: &running, place };
        let (called, _) = invoke(engine, def, message, item.input(), info, None, hold).await;
        drop(running);
        match part_attempt(engine, def, message, None, called).0 {
            PartAttemptOutcome::Interrupted => return None,
            PartAttemptOutcome::Succeeded(output) => return Some(Ok(output)),
            PartAttemptOutcome::Failed { failure, retry_at: None } => return Some(Err(failure)),
            PartAttemptOutcome::Failed { retry_at: Some(due), .. } => {
                tokio::select! {
                    biased;
                    () = engine.force.cancelled() => return None,
                    () = engine.clock.pause_until(due) => item.message.attempt += 1,
                }
            }
        }
    }
}

/// Returns why a part cannot be counted if the broker has no part queues.
fn no_parts(message: &Message) -> String {
    format!("the parts of job {} are counted by a broker that this worker does not use", message.job)
}
