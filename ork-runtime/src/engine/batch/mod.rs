//! Batches: deliveries of one kind that are available together are claimed together and settled together.
//!
//! Called by `worker::consume`. Calls that finish synchronously need no tokio task, and share one claim and one
//! settle transaction. The others continue as individual tasks, exactly as if they had been processed alone: no call
//! waits for another one of its batch.

mod jobs;
mod parts;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::inflight::{self, InflightGuard};
use super::invoke::{CallOutcome, Hold, invoke};
use super::lease::{self, DeliveryGuard};
use super::running_calls::RunningCall;
use super::slots::{Lane, Slot, SlotKind};
use super::step::Step;
use super::{Engine, limit, process, reject, slots};
use crate::broker::Delivery;
use crate::context::{About, Made};
use crate::id::JobId;
use crate::message::{Message, WorkKind};
use crate::registry::Task;
use crate::task::TaskDef;
use crate::task::builtin;
use crate::task::def::BoxFuture;
use crate::tx::Limit;

/// The target time that a batch occupies its thread: short enough to delay nothing else.
const THREAD_TIME: Duration = Duration::from_millis(1);

/// The maximum size of a batch: a larger one gains little.
const MOST: usize = 64;

/// The batch sizes of each task, learned from the durations of earlier batches and calls.
#[derive(Debug, Default)]
pub(super) struct BatchSizer(Mutex<HashMap<&'static str, Pace>>);

#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How many deliveries make a batch.
    size: usize,
    /// How many calls one slot admits: as many as it makes in [`THREAD_TIME`].
    by_slot: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { size: 1, by_slot: 1 }
    }
}

impl BatchSizer {
    fn sizes(&self) -> MutexGuard<'_, HashMap<&'static str, Pace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self, task: &str) -> Pace {
        self.sizes().get(task).copied().unwrap_or_default()
    }

    /// Learns from a batch of `len` deliveries that occupied its thread for `took`.
    fn measured(&self, task: &'static str, len: usize, took: Duration) {
        let mut sizes = self.sizes();
        let size = &mut sizes.entry(task).or_default().size;
        if took > THREAD_TIME {
            *size = fitting(len, took);
        } else if len >= *size {
            *size = (*size * 2).min(MOST);
        }
    }

    /// Learns from the duration of a call. One long call outweighs many short ones: the calls that were claimed with
    /// it wait for it.
    pub(super) fn called(&self, task: &'static str, took: Duration) {
        let mut sizes = self.sizes();
        let by_slot = &mut sizes.entry(task).or_default().by_slot;
        *by_slot = fitting(1, took).min(*by_slot * 2);
    }
}

/// Returns how many calls fit into [`THREAD_TIME`], given that `len` calls took `took`.
fn fitting(len: usize, took: Duration) -> usize {
    let fits = u128::try_from(len).unwrap_or(1) * THREAD_TIME.as_micros() / took.as_micros().max(1);
    usize::try_from(fits).unwrap_or(MOST).clamp(1, MOST)
}

/// What the deliveries of one batch have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Parts of one job: its id, the epoch, and the attempt.
    Parts(JobId, u32, u32),
    /// Jobs of one task, without parts.
    Jobs(String),
}

/// Returns the kind of batch that a delivery may join; `None` if it was delivered before, or needs a closer look.
pub(crate) fn kind(engine: &Engine, delivery: &Delivery) -> Option<Kind> {
    let fresh = delivery.is_first() && !delivery.anonymous;
    let message = delivery.message.as_ref().ok().filter(|_| fresh)?;
    let task = engine.registry.get(&message.task).ok()?;
    if message.hooks.as_ref().is_some_and(|hooks| hooks.part.is_some()) {
        return None;
    }
    match message.kind {
        WorkKind::Part { epoch, .. } => Some(Kind::Parts(message.job, epoch, message.attempt)),
        WorkKind::Job | WorkKind::Single => {
            let alone = message.kind == WorkKind::Job && (task.split.is_some() || builtin::is_brought_on(task.name()));
            (!alone).then(|| Kind::Jobs(message.task.clone()))
        }
        WorkKind::Step | WorkKind::Join | WorkKind::Hooks(_) => None,
    }
}

/// Returns how many deliveries like this one make a batch under this slot, which is widened for them. The batch is
/// never larger than the number of calls that can start.
pub(crate) fn size(engine: &Engine, delivery: &Delivery, slot: &mut Slot, kind: SlotKind) -> usize {
    let Ok(message) = &delivery.message else { return 1 };
    let Pace { size, mut by_slot } = engine.batch_sizer.pace(&message.task);
    if engine.registry.get(&message.task).is_ok_and(|task| is_scarce(engine, task, None)) {
        by_slot = 1;
    }
    slot.widen(&engine.slots, kind, size.div_ceil(by_slot));
    size.min(slot.count() * by_slot)
}

/// Returns whether a concurrency limit admits fewer calls than there are slots: work that holds one of few permits
/// must not wait for a slot.
fn is_scarce(engine: &Engine, task: &Task, step: Option<&Arc<Step>>) -> bool {
    let of_task = task.work.options.concurrency.as_ref().map(|limit| limit.calls);
    let of_step = step.and_then(|step| step.limit.as_ref()).map(|limit| limit.permits);
    let slots = engine.slots.size(SlotKind::of(&task.work));
    of_step.or(of_task).is_some_and(|permits| usize::try_from(permits).unwrap_or(usize::MAX) < slots)
}

/// Spawns a task in which one delivery continues alone.
pub(crate) type Spawn<'a> = &'a (dyn Fn(BoxFuture<()>) + Send + Sync);

/// Processes deliveries of one kind, and settles each of them.
///
/// # Cancel safety
/// If the future is dropped, no delivery is lost: the broker or the store redelivers what was not settled.
pub(crate) async fn process_batch(engine: &Arc<Engine>, batch: Batch, spawn: Spawn<'_>) {
    let Batch { kind, deliveries, slot } = batch;
    if !engine.store.is_durable() {
        return process_storeless(engine, deliveries, slot, spawn);
    }
    match kind {
        Kind::Parts(job, epoch, attempt) => {
            let (deliveries, step) = parts::inherit(engine, deliveries, spawn).await;
            let groups = admit(engine, (deliveries, slot), step.as_ref(), spawn).into_iter();
            join_all(groups.map(|group| parts::process(engine, (job, epoch, attempt), group, spawn))).await;
        }
        Kind::Jobs(_) => {
            let groups = admit(engine, (deliveries, slot), None, spawn).into_iter();
            join_all(groups.map(|group| jobs::process(engine, group, spawn))).await;
        }
    }
}

/// Deliveries that are processed together, and the slots that they share.
#[derive(Debug)]
pub(crate) struct Batch {
    /// What the deliveries have in common.
    pub(crate) kind: Kind,
    /// The deliveries, at most as many as [`size`] returned.
    pub(crate) deliveries: Vec<Delivery>,
    /// The slots, as widened by [`size`].
    pub(crate) slot: Slot,
}

/// How a call ended, and the parts that it has made of its job.
type Ended = (CallOutcome, Option<Made>);

/// One delivery of a batch.
struct Item {
    /// The message, with what it inherits.
    message: Message,
    /// The delivery, which a lease replaces when the call takes long.
    guard: DeliveryGuard,
    /// The lane in which its call has its turn.
    lane: Lane,
    /// Held while the delivery is processed, as the message may arrive twice.
    turn: InflightGuard,
}

impl Item {
    /// Processes the delivery alone, which handles its special case.
    fn alone(self, engine: &Arc<Engine>, spawn: Spawn<'_>) {
        let Self { message, guard, turn, lane } = self;
        drop((turn, lane));
        let DeliveryGuard::Delivery(receipt) = guard else { return };
        spawn(alone(
            engine,
            Delivery { message: Ok(message), redelivered: 0, is_copy: false, anonymous: false, acker: receipt },
        ));
    }

    /// Calls the function, once it is the turn of this call.
    async fn call(&mut self, engine: &Arc<Engine>, def: &TaskDef, about: About, running: &RunningCall) -> Ended {
        let Some(place) = slots::turn(engine, self.lane.clone(), running.token()).await else {
            // The call was expected to be short, but others of its kind are not.
            engine.batch_sizer.called(def.name, THREAD_TIME);
            return (CallOutcome::Interrupted, None);
        };
        let call = invoke(engine, def, &self.message, about, None, Hold { running, place });
        lease::call(engine, &self.message, &mut self.guard, call).await
    }
}

/// Deliveries of one task that are under one concurrency limit, or under none.
struct Group {
    /// The task, with the options of its step if it is one.
    task: Arc<Task>,
    items: Vec<Item>,
    /// The limit that all of them are under.
    limit: Option<Limit>,
    /// The step that all of them are instances of, if they are.
    step: Option<Arc<Step>>,
}

/// Selects the deliveries that can run in batches: all of the task of the first one, grouped by concurrency limit.
/// The others are processed alone. If permits are scarcer than slots, no more calls start than there are slots.
fn admit(
    engine: &Arc<Engine>,
    (deliveries, slot): (Vec<Delivery>, Slot),
    step: Option<&Arc<Step>>,
    spawn: Spawn<'_>,
) -> Vec<Group> {
    let lanes = Lane::of(slot);
    let mut lanes_in_turn = lanes.iter().cycle();
    let mut task: Option<Arc<Task>> = None;
    let mut items = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let turn = delivery.message.as_ref().ok().and_then(|message| {
            let known = reject::check(engine, message).ok()?;
            let name = known.name();
            let same = task.get_or_insert(known).name() == name;
            same.then(|| engine.inflight.try_take(inflight::call_key(message)))?
        });
        match (turn, delivery) {
            (Some(turn), Delivery { message: Ok(message), acker: receipt, .. }) => {
                let Some(lane) = lanes_in_turn.next().cloned() else { continue };
                items.push(Item { message, guard: DeliveryGuard::Delivery(receipt), lane, turn });
            }
            (_, delivery) => spawn(alone(engine, delivery)),
        }
    }
    let Some(task) = task else { return Vec::new() };
    let task = step.map_or(task, |step| Arc::clone(&step.task));
    if task.work.options.concurrency.is_none() && step.is_none_or(|step| step.limit.is_none()) {
        return vec![Group { task, items, limit: None, step: step.cloned() }];
    }
    if is_scarce(engine, &task, step) {
        for item in items.split_off(items.len().min(lanes.len())) {
            item.alone(engine, spawn);
        }
    }
    let mut groups: Vec<Group> = Vec::new();
    for item in items {
        let limit = limit::limit_of(&task, step.map(AsRef::as_ref), &item.message);
        let known = groups.iter_mut().find(|group| group.limit == limit);
        if let Some(group) = known {
            group.items.push(item);
        } else {
            groups.push(Group { task: Arc::clone(&task), items: vec![item], limit, step: step.cloned() });
        }
    }
    groups
}

fn alone(engine: &Arc<Engine>, delivery: Delivery) -> BoxFuture<()> {
    let engine = Arc::clone(engine);
    Box::pin(async move { process(&engine, delivery, None).await })
}

/// Processes each delivery as if it had arrived alone, without spawning a task for those that end at once.
fn process_storeless(engine: &Arc<Engine>, deliveries: Vec<Delivery>, slot: Slot, spawn: Spawn<'_>) {
    // Each delivery waits for its own slot: nothing is claimed.
    drop(slot);
    let (begun, len) = (engine.clock.now(), deliveries.len());
    let mut task = None;
    for delivery in deliveries {
        let name = delivery.message.as_ref().ok().and_then(|message| engine.registry.get(&message.task).ok());
        task = task.or(name.map(|task| task.name()));
        let mut processed = alone(engine, delivery);
        if processed.as_mut().now_or_never().is_none() {
            spawn(processed);
        }
    }
    if let Some(task) = task {
        engine.batch_sizer.measured(task, len, engine.clock.now() - begun);
    }
}

/// Polls each call once and returns those that have ended. The others continue as individual tasks, each followed by
/// `settle`.
fn call<T, C, S>(
    engine: &Engine,
    task: &Task,
    calls: impl ExactSizeIterator<Item = C>,
    settle: impl FnOnce(Vec<T>) -> S + Clone + Send + 'static,
    spawn: Spawn<'_>,
) -> Vec<T>
where
    T: Send,
    C: Future<Output = T> + Send + 'static,
    S: Future<Output = ()> + Send,
{
    let begun = engine.clock.now();
    let (len, mut ended) = (calls.len(), Vec::with_capacity(calls.len()));
    for call in calls {
        let mut call = Box::pin(call);
        if let Some(end) = call.as_mut().now_or_never() {
            ended.push(end);
            continue;
        }
        let settle = settle.clone();
        spawn(Box::pin(async move {
            let end = call.await;
            settle(vec![end]).await;
        }));
    }
    engine.batch_sizer.measured(task.work.name, len, engine.clock.now() - begun);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_for_short_parts_and_shrink_for_long_ones() {
        let sizer = BatchSizer::default();
        assert_eq!(sizer.pace("a").size, 1);
        for _ in 0..10 {
            sizer.measured("a", sizer.pace("a").size, Duration::ZERO);
        }
        assert_eq!((sizer.pace("a").size, sizer.pace("b").size), (MOST, 1));
        sizer.measured("a", MOST, Duration::from_millis(16));
        assert_eq!(sizer.pace("a").size, 4);
        sizer.measured("a", 4, Duration::from_secs(1));
        assert_eq!(sizer.pace("a").size, 1);
        // Fewer deliveries than a batch were available: that shows nothing about larger batches.
        sizer.measured("a", 1, Duration::ZERO);
        sizer.measured("a", 1, Duration::ZERO);
        assert_eq!(sizer.pace("a").size, 2);
    }

    #[test]
    fn slot_admits_many_short_calls_or_one_long_one() {
        let sizer = BatchSizer::default();
        assert_eq!(sizer.pace("a").by_slot, 1);
        for _ in 0..3 {
            sizer.called("a", Duration::from_micros(10));
        }
        assert_eq!(sizer.pace("a").by_slot, 8);
        for _ in 0..10 {
            sizer.called("a", Duration::from_micros(100));
        }
        assert_eq!(sizer.pace("a").by_slot, 10);
        sizer.called("a", Duration::from_secs(1));
        assert_eq!(sizer.pace("a").by_slot, 1);
    }
}
