//! What cannot go on with its batch: deliveries that wait for a slot, for another process or for the store, and work that
//! could not be done. Each continues alone.

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::super::outcome::Verdict;
use super::super::work::{Batch, Common, Group, Incoming, Item, NotGranted};
use super::super::{Done, Engine, ProcessError, duplicates, late_reply, reject};
use super::{Spawn, claim, process};
use crate::task::call::BoxFuture;

/// Handles an item whose claim was not granted. This may take long.
pub(super) fn not_granted(
    engine: Arc<Engine>,
    common: Arc<Common>,
    mut item: Item,
    why: NotGranted,
    spawn: Spawn,
) -> BoxFuture<()> {
    Box::pin(async move {
        let error = match why {
            // The sender of the message may be waiting for the outcome.
            NotGranted::Declined => match late_reply::send(&engine, &item.message, !item.is_first).await {
                Ok(()) => return item.settle(&engine, Done::Settled).await,
                Err(error) => error,
            },
            NotGranted::RunningElsewhere(worker) => {
                match duplicates::wait(&engine, &common, &mut item, &worker).await {
                    Ok(true) => {
                        return claim(&engine, Group { common, items: vec![item] }, &spawn).await;
                    }
                    Ok(false) => return item.settle(&engine, Done::Interrupted).await,
                    Err(error) => error,
                }
            }
            NotGranted::Rejected(error) => error,
        };
        failed(&engine, item, error, &spawn).await;
    })
}

/// Handles the items of a group that could not be claimed because the store failed. Each waits for the store alone.
pub(super) async fn without_store(engine: &Arc<Engine>, mut items: Vec<Item>, error: ProcessError, spawn: &Spawn) {
    if items.len() == 1
        && let Some(item) = items.pop()
    {
        return failed(engine, item, error, spawn).await;
    }
    for item in items {
        spawn(process_alone(engine, item.into_incoming(), spawn));
    }
}

/// Settles an item whose work could not be done, or spawns a task that processes its delivery again.
pub(super) async fn failed(engine: &Arc<Engine>, item: Item, error: ProcessError, spawn: &Spawn) {
    // From here on its slot is free, and other deliveries of the same work no longer wait for it.
    let mut delivery = item.into_incoming();
    let message = delivery.message.as_ref().ok();
    match Box::pin(reject::verdict(engine, error, message, &mut delivery.guard)).await {
        Verdict::Settle(disposition) => delivery.guard.settle(engine, disposition).await,
        Verdict::Again => spawn(process_alone(engine, delivery, spawn)),
    }
}

/// Processes each delivery as a batch of one. Those that do not end when they are first polled continue in tasks.
pub(super) fn process_each(engine: &Arc<Engine>, Batch { deliveries, slots }: Batch, spawn: &Spawn) {
    // Each delivery waits for its own slot.
    drop(slots);
    let (begun, len) = (engine.clock.now(), deliveries.len());
    let mut task = None;
    for delivery in deliveries {
        let known = delivery.message.as_ref().ok().and_then(|message| engine.registry.get(&message.task).ok());
        task = task.or(known.map(|task| task.name()));
        let mut processed = process_alone(engine, delivery, spawn);
        if processed.as_mut().now_or_never().is_none() {
            spawn(processed);
        }
    }
    if let Some(task) = task {
        engine.batch_sizer.measured(task, len, engine.clock.now() - begun);
    }
}

/// Returns the processing of one delivery.
pub(super) fn process_alone(engine: &Arc<Engine>, delivery: Incoming, spawn: &Spawn) -> BoxFuture<()> {
    let (engine, spawn) = (Arc::clone(engine), Arc::clone(spawn));
    Box::pin(async move { process(&engine, Batch::one(delivery), &spawn).await })
}
