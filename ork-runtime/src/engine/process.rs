//! The pipeline: each delivery is admitted, claimed, performed and settled. Start reading here.
//!
//! Deliveries that fit together go through it together, and share one transaction for their claims and one for their
//! settlements; a single delivery is a batch of one. A call that has not ended when it is first polled continues in a
//! task of the runtime and is settled alone, so that the others of its batch are settled without it.
//!
//! No step calls back up: it returns what has to be processed alone or attempted again, and this file continues with
//! that.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::admit::{self, Admitted};
use super::outcome::Verdict;
use super::work::{Batch, Common, Ended, Group, Incoming, Item, NotGranted, Unsettled};
use super::{Done, Engine, ProcessError, custody, duplicates, late_reply, perform, reject};
use crate::task::call::BoxFuture;

/// Spawns a task in which a delivery of a batch continues alone.
pub(crate) type Spawn = Arc<dyn Fn(BoxFuture<()>) + Send + Sync>;

/// Processes the deliveries of a batch, and settles each of them, here or in a task that it spawns.
///
/// # Cancel safety
/// If the future is dropped, no delivery is lost: the broker or the store redelivers what was not settled.
pub(crate) async fn process(engine: &Arc<Engine>, batch: Batch, spawn: &Spawn) {
    if batch.deliveries.len() > 1 && !custody::shares_claims(engine) {
        return process_each(engine, batch, spawn);
    }
    let Admitted { groups, alone } = admit::admit(engine, batch).await;
    for delivery in alone {
        spawn(process_alone(engine, delivery, spawn));
    }
    join_all(groups.into_iter().map(|group| claim(engine, group, spawn))).await;
}

/// Claims the work of a group, performs what is granted, and settles it. A call that takes longer continues in a task.
async fn claim(engine: &Arc<Engine>, Group { common, items }: Group, spawn: &Spawn) {
    let claims = match custody::claim(engine, &common, &items).await {
        Ok(claims) => claims,
        Err(error) => return without_store(engine, items, error, spawn).await,
    };
    let mut granted = Vec::with_capacity(items.len());
    for (item, claim) in items.into_iter().zip(claims) {
        match claim {
            Ok(claimed) => granted.push((item, claimed)),
            Err(NotGranted::Declined) if item.message.reply.is_none() => item.settle(engine, Done::Settled).await,
            Err(why) => spawn(not_granted(Arc::clone(engine), Arc::clone(&common), item, why, Arc::clone(spawn))),
        }
    }
    let (ended, running) = perform::begin(engine, &common, granted);
    for call in running {
        let (engine, common, spawn_next) = (Arc::clone(engine), Arc::clone(&common), Arc::clone(spawn));
        spawn(Box::pin(async move {
            let ended = call.await;
            settle(&engine, &common, vec![ended], &spawn_next).await;
        }));
    }
    settle(engine, &common, ended, spawn).await;
}

/// Settles the deliveries of work that has ended. The next attempt at storeless work is made here, and then settled.
async fn settle(engine: &Arc<Engine>, common: &Arc<Common>, mut ended: Vec<Ended>, spawn: &Spawn) {
    while !ended.is_empty() {
        for unsettled in custody::settle(engine, common, std::mem::take(&mut ended)).await {
            match unsettled {
                Unsettled::Failed(item, error) => failed(engine, item, error, spawn).await,
                Unsettled::Again(item, claimed) => {
                    let again = perform::perform(Arc::clone(engine), Arc::clone(common), item, claimed, None);
                    ended.push(Box::pin(again).await);
                }
            }
        }
    }
}

/// Handles an item whose claim was not granted. This may take long.
fn not_granted(
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
async fn without_store(engine: &Arc<Engine>, mut items: Vec<Item>, error: ProcessError, spawn: &Spawn) {
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
async fn failed(engine: &Arc<Engine>, item: Item, error: ProcessError, spawn: &Spawn) {
    // From here on its slot is free, and other deliveries of the same work no longer wait for it.
    let mut delivery = item.into_incoming();
    let message = delivery.message.as_ref().ok();
    match Box::pin(reject::verdict(engine, error, message, &mut delivery.guard)).await {
        Verdict::Settle(disposition) => delivery.guard.settle(engine, disposition).await,
        Verdict::Again => spawn(process_alone(engine, delivery, spawn)),
    }
}

/// Processes each delivery as a batch of one. Those that do not end when they are first polled continue in tasks.
fn process_each(engine: &Arc<Engine>, Batch { deliveries, slots }: Batch, spawn: &Spawn) {
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
fn process_alone(engine: &Arc<Engine>, delivery: Incoming, spawn: &Spawn) -> BoxFuture<()> {
    let (engine, spawn) = (Arc::clone(engine), Arc::clone(spawn));
    Box::pin(async move { process(&engine, Batch::one(delivery), &spawn).await })
}
