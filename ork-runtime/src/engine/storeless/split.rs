//! Splits a storeless job: all parts are made first, as each must state how many there are, and then sent.
//!
//! So a split that fails, or whose process dies before it sends, has started nothing. If the process dies while it
//! sends, the split runs again: it recreates the part queue, which drops all earlier records, and later records of
//! the earlier run carry another epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::super::invoke::{call, guard, token};
use super::super::outcome::{CallOutcome, WorkOutcome};
use super::super::pages::collect;
use super::super::part_sets::{Follows, Passed, SetCheck};
use super::super::retry::{self, Interrupted, PAUSE};
use super::super::work::{Common, Item};
use super::super::{Done, Engine, ProcessError, call_info, place};
use super::arrive::{EndedPart, arrive};
use super::head::Head;
use super::join;
use crate::barrier::{Arrival, Entry};
use crate::broker::{BrokerErrorKind, PartQueues, PartRecord};
use crate::failure::{Failure, FailureKind};
use crate::hook::{Hooks, PartHook};
use crate::id::Fingerprint;
use crate::job::Job;
use crate::message::{Message, Outgoing, WorkKind};
use crate::registry::Task;
use crate::task::{CallError, TaskDef};

/// The maximum total size of the inputs of all parts, which are in memory until the split has yielded the last one.
const MOST_BYTES: usize = 256 * 1024 * 1024;

/// The number of parts that are published together.
const BATCH: usize = 512;

/// Calls the split of a claimed job, and sends its parts.
pub(in super::super) async fn split(
    engine: &Arc<Engine>,
    common: &Common,
    item: &mut Item,
    job: &Job,
) -> Result<WorkOutcome, ProcessError> {
    let permanent = |detail: String| CallOutcome::Failed(CallError::Task(crate::task::Error::permanent(detail)));
    let Some(queues) = engine.broker.parts() else {
        let detail = "a job with parts requires a store: set ORK_STORE to one instead of `none`";
        return Ok(WorkOutcome::called(permanent(detail.to_owned())));
    };
    let running = engine.running.enter(job.id);
    let Some(place) = place::take(engine, common, item, &running).await else {
        return Ok(WorkOutcome::called(CallOutcome::Interrupted));
    };
    // The next delivery of the message makes this attempt.
    if item.guard.is_lost() {
        return Ok(WorkOutcome::Recorded(Done::Interrupted));
    }
    let (task, message) = (&common.task, &item.message);
    let items = items(engine, common.def(), item.input(), job, running.token()).await;
    drop((running, place));
    Ok(WorkOutcome::called(match items {
        CallOutcome::Returned(items) if items.is_empty() => {
            let is_done = join::finish(engine, task, message, Head::of(message), BTreeMap::new()).await;
            return Ok(WorkOutcome::Recorded(if is_done { Done::Settled } else { Done::Interrupted }));
        }
        CallOutcome::Returned(items) => match send(engine, queues, message, items, task.work.fingerprint()).await {
            Ok(Ok(unsent)) => return settle_unsent(engine, task, message, unsent).await.map(WorkOutcome::Recorded),
            Ok(Err(failure)) => permanent(failure.message),
            Err(_interrupted) => CallOutcome::Interrupted,
        },
        CallOutcome::Failed(error) => CallOutcome::Failed(error),
        CallOutcome::Interrupted => CallOutcome::Interrupted,
    }))
}

/// Removes the part queue of a job whose split was not finished, if it exists, so that the parts that were sent are
/// dropped when they end. Returns `false` if the worker has to stop.
pub(super) async fn forget(engine: &Engine, task: &Task, job: &Job) -> bool {
    let Some(queues) = engine.broker.parts() else { return true };
    let Ok(queue) = queues.name(task.name(), &job.id.to_string()) else { return true };
    match retry::broker(engine, || queues.remove(&queue)).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, queue, "cannot delete a part queue");
            true
        }
        Err(_interrupted) => false,
    }
}

/// Runs the split and collects its items.
async fn items(
    engine: &Arc<Engine>,
    def: &TaskDef,
    input: &Bytes,
    job: &Job,
    cancelled: &CancellationToken,
) -> CallOutcome<Vec<Bytes>> {
    if let Err(error) = def.check_rules(input) {
        return CallOutcome::Failed(CallError::Input(error));
    }
    if engine.drain.is_cancelled() {
        return CallOutcome::Interrupted;
    }
    let token = token(def, cancelled);
    let call = call(engine, def, input, call_info::job(job), None, &token);
    guard(engine, def, &token, collect(engine, def, call, MOST_BYTES)).await
}

/// Parts that cannot be delivered to any queue, with the reasons.
struct Undelivered {
    queue: String,
    epoch: u32,
    total: u64,
    parts: Vec<(u64, Failure)>,
}

/// Records the parts that cannot be delivered as failed. One of them may be the last part of the job to end.
async fn settle_unsent(
    engine: &Arc<Engine>,
    task: &Task,
    message: &Message,
    never: Undelivered,
) -> Result<Done, ProcessError> {
    let Undelivered { queue, epoch, total, parts } = never;
    for (index, failure) in parts {
        let part = PartHook { part_id: index, total_parts: total, part_queue: queue.clone() };
        let ended = EndedPart { message, part: &part, epoch, is_suspect: false, result: Err(failure) };
        if let Passed::Interrupted = arrive(engine, task, ended).await {
            return Ok(Done::Interrupted);
        }
    }
    Ok(Done::Settled)
}

/// Creates the part queue and sends the parts. Returns the parts that cannot be delivered, or the failure of the job
/// if nothing can be sent.
async fn send(
    engine: &Engine,
    queues: &dyn PartQueues,
    message: &Message,
    items: Vec<Bytes>,
    schema: Fingerprint,
) -> Result<Result<Undelivered, Failure>, Interrupted> {
    let never = |error: &dyn std::fmt::Display| {
        Ok(Err(Failure::new(FailureKind::Lost, format!("its parts cannot be sent: {error}"))))
    };
    let queue = match queues.name(&message.task, &message.job.to_string()) {
        Ok(queue) => queue,
        Err(error) => return never(&error),
    };
    let body: Bytes = serde_json::to_vec(&Head::of(message)).unwrap_or_default().into();
    let (epoch, head) = loop {
        // Runs of a split have to be distinguished, not ordered.
        let epoch = engine.entropy.uuid().as_fields().0.max(1);
        if let Err(error) = retry::broker(engine, || queues.make(&queue)).await? {
            return never(&error);
        }
        let (id, entry) = (message.job.to_string(), Entry::Head { epoch });
        let head = PartRecord { queue: queue.clone(), id, entry, body: body.clone() };
        match retry::broker(engine, || queues.record(&head)).await? {
            Ok(()) => break (epoch, head),
            // Another worker has a duplicate of this message, and has deleted the queue to create its own. The head
            // that is published last is the one in the queue.
            Err(error) if error.kind() == BrokerErrorKind::Undeliverable => {
                tracing::debug!(queue, "the part queue was deleted by another worker, creating it again");
                retry::pause(engine, &engine.force, PAUSE.mul_f64(engine.entropy.fraction())).await?;
            }
            Err(error) => return never(&error),
        }
    };
    let total_parts = u64::try_from(items.len()).unwrap_or(u64::MAX);
    // Programs that do not use ork may run all of these parts, and such a program joins nothing. So this process checks
    // the set, too.
    engine.sets.opened(
        SetCheck {
            arrival: Arrival { total: total_parts, headed: true, mark: 0, suspect: false },
            record: head,
            follows: Follows::Join(Box::new(Message { body: Bytes::new(), ..message.clone() })),
        },
        engine.clock.now(),
    );
    let parts = items.into_iter().zip(0..).map(|(body, index)| Message {
        kind: WorkKind::Part { epoch, index },
        attempt: 1,
        losses: 0,
        waited: false,
        body,
        reply: None,
        schema: Some(schema),
        hooks: Some(Box::new(Hooks {
            part: Some(PartHook { part_id: index, total_parts, part_queue: queue.clone() }),
            on_complete: Vec::new(),
        })),
        ..message.clone()
    });
    let (mut parts, mut never) = (parts.peekable(), Vec::new());
    while parts.peek().is_some() {
        let mut batch: Vec<_> = parts.by_ref().take(BATCH).map(Outgoing::Work).collect();
        while !batch.is_empty() {
            batch = publish(engine, batch, &mut never).await?;
        }
    }
    Ok(Ok(Undelivered { queue, epoch, total: total_parts, parts: never }))
}

/// Publishes parts. Returns those that have to be published again.
async fn publish(
    engine: &Engine,
    batch: Vec<Outgoing>,
    never: &mut Vec<(u64, Failure)>,
) -> Result<Vec<Outgoing>, Interrupted> {
    let results = engine.broker.publish(batch.clone()).await;
    let mut again = Vec::new();
    for (message, result) in batch.into_iter().zip(results) {
        let Err(error) = result else { continue };
        match (error.kind(), &message) {
            (
                BrokerErrorKind::TooLarge | BrokerErrorKind::Undeliverable,
                Outgoing::Work(Message { kind: WorkKind::Part { index, .. }, .. }),
            ) => {
                let detail = format!("its message cannot be delivered: {error}");
                never.push((*index, Failure::new(FailureKind::Lost, detail)));
            }
            (BrokerErrorKind::Closed, _) => return Err(Interrupted),
            _ => again.push(message),
        }
    }
    if !again.is_empty() {
        retry::pause(engine, &engine.force, PAUSE).await?;
    }
    Ok(again)
}
