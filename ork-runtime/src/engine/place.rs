//! The place of a call: what it waits for before it is claimed, and what it holds while it runs.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::batch_sizer::THREAD_TIME;
use super::running_calls::RunningCall;
use super::slots::{Alone, CallSlot, Lane, Need, Place, Slot};
use super::work::{Common, Item};
use crate::mutant::{self, Mutant};

/// The time that a claimed call of a batch waits for its turn in a lane. After that it is not made, and its claim is
/// released.
const LANE_TIMEOUT: Duration = Duration::from_millis(100);

/// The time that suspect work waits until nothing else runs in this process, and the time for which nothing else starts
/// beside it. Work is suspect if one more loss would fail it.
const ALONE_TIMEOUT: Duration = Duration::from_secs(30);

/// Takes the place of a call. Returns `None` if the call is not to be made.
pub(super) async fn take(engine: &Engine, common: &Common, item: &mut Item, running: &RunningCall) -> Option<CallSlot> {
    match item.place.take() {
        Some(Place::Slot(slot)) => Some(CallSlot::Exclusive { _slot: slot }),
        Some(Place::Lane(lane)) => {
            let turn = turn(engine, lane, running.token()).await;
            if turn.is_none() {
                // The call was expected to be short, but others of its kind are not.
                engine.batch_sizer.called(common.def().name, THREAD_TIME);
            }
            turn
        }
        Some(Place::Split(guard)) => Some(CallSlot::Split { _guard: guard }),
        // A later attempt at storeless work: the first one has used up the place with which the item was admitted.
        None => wait_begun(engine, Need::of(common.def())).await,
    }
}

/// Waits for what unclaimed work needs. Returns `None` if the work has to be requeued: the worker has to stop, or the
/// wait would take so long that another worker should have the work.
async fn wait<T>(engine: &Engine, needed: impl Future<Output = Option<T>>) -> Option<T> {
    let too_long = async {
        if engine.broker.needs_relay() {
            engine.clock.pause(engine.settings.ack_timeout).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = engine.drain.cancelled() => None,
        taken = needed => taken,
        () = too_long => None,
    }
}

/// Waits for what a call of storeless work needs, once the work has begun. There is no time limit: a requeue would
/// start the work from its first attempt, and two such jobs that share one slot could keep each other from ending.
/// Returns `None` if the worker has to stop.
pub(super) async fn wait_begun(engine: &Engine, need: Need) -> Option<CallSlot> {
    let needed = async {
        Some(match need {
            Need::Slot(kind) => CallSlot::Exclusive { _slot: engine.slots.acquire(kind).await? },
            Need::Split => CallSlot::Split { _guard: engine.slots.enter_split().await },
        })
    };
    if mutant::is_on(Mutant::RequeuesRetries) {
        return wait(engine, needed).await;
    }
    tokio::select! {
        biased;
        () = engine.drain.cancelled() => None,
        taken = needed => taken,
    }
}

/// Waits for the turn of a claimed call in its lane. Returns `None` if the call is not to be made: its turn did not
/// come soon, its job has ended, or the worker has to stop.
async fn turn(engine: &Engine, lane: Lane, cancelled: &CancellationToken) -> Option<CallSlot> {
    let lane = match lane.try_turn() {
        Ok(turn) => return Some(turn),
        Err(lane) => lane,
    };
    tokio::select! {
        biased;
        () = engine.drain.cancelled() => None,
        () = cancelled.cancelled() => None,
        turn = lane.turn() => turn,
        () = engine.clock.pause(LANE_TIMEOUT) => None,
    }
}

/// Waits for what a call needs before it is claimed; `slot` is the slot that was taken for it already. Returns no place
/// if `need` is `None`, as there is no call then, or if the work has to be requeued. Suspect work gets its place when
/// nothing else runs in this process, or after [`ALONE_TIMEOUT`].
pub(super) async fn wait_for_call(
    engine: &Engine,
    need: Option<Need>,
    slot: Option<Slot>,
    is_suspect: bool,
) -> (Option<Place>, Option<Alone>) {
    let Some(need) = need else { return (None, None) };
    let is_beside_others = mutant::is_on(Mutant::RunsSuspectsBesideOthers)
        || (need == Need::Split && mutant::is_on(Mutant::RunsSuspectSplitsBesideOthers));
    if is_suspect && !is_beside_others {
        drop(slot);
        let (place, alone) = wait_alone(engine, need).await.unzip();
        return (place, alone.flatten());
    }
    (wait_beside_others(engine, need, slot).await, None)
}

/// Waits for what unclaimed work needs, unless it has its slot already. Other work may run beside it.
async fn wait_beside_others(engine: &Engine, need: Need, slot: Option<Slot>) -> Option<Place> {
    match (need, slot) {
        (Need::Split, _) => wait(engine, engine.slots.enter_split().map(Some)).await.map(Place::Split),
        (Need::Slot(_), Some(slot)) => Some(Place::Slot(slot)),
        (Need::Slot(kind), None) => wait(engine, engine.slots.acquire(kind)).await.map(Place::Slot),
    }
}

/// Waits until nothing else runs in this process, for unclaimed work. If that takes longer than [`ALONE_TIMEOUT`], the
/// work runs beside other work after all, so that it is not blocked forever.
async fn wait_alone(engine: &Engine, need: Need) -> Option<(Place, Option<Alone>)> {
    tokio::select! {
        biased;
        () = engine.drain.cancelled() => return None,
        all = engine.slots.take_all(need) => return all.map(|(place, alone)| (place, Some(alone))),
        () = engine.clock.pause(ALONE_TIMEOUT) => {}
    }
    tracing::warn!("this process is too busy to run a suspect message alone; running it beside others");
    wait_beside_others(engine, need, None).await.map(|place| (place, None))
}

/// Runs work alone for at most [`ALONE_TIMEOUT`], and then beside other work, as it may itself wait for work that needs
/// a slot here.
pub(super) async fn keep_alone<T>(engine: &Engine, alone: Alone, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        end = &mut work => return end,
        () = engine.clock.pause(ALONE_TIMEOUT) => {}
    }
    let _beside_others = alone.beside_others();
    work.await
}
