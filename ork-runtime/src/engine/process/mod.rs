//! The pipeline: each delivery is admitted, claimed, performed and settled. Start reading here.
//!
//! Deliveries that fit together go through it together, and share one transaction for their claims and one for their
//! settlements; a single delivery is a batch of one. A call that has not ended when it is first polled continues in a
//! task of the runtime and is settled alone, so that the others of its batch are settled without it.
//!
//! No step calls back up: it returns what has to be processed alone or attempted again, and this module continues with
//! that. What cannot go on with its batch continues in `alone`.

mod alone;

use std::sync::Arc;

use futures_util::future::join_all;

use self::alone::{failed, not_granted, process_alone, process_each, without_store};
use super::admit::{self, Admitted};
use super::work::{Batch, Common, Ended, Group, NotGranted, Unsettled};
use super::{Done, Engine, custody, perform};
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
