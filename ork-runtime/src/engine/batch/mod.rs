//! A run: deliveries of one kind that are at hand together are begun together and settled together.
//!
//! Called by `worker::consume`. What ends at once needs no task of its own and shares its two transactions with its
//! neighbours. What does not goes on alone, exactly as if it had come alone: nobody waits for a neighbour.

mod jobs;
mod parts;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::inflight::{self, Turn};
use super::invoke::{CallOutcome, Hold, invoke};
use super::lease::{self, DeliveryGuard};
use super::running_calls::Guest;
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

/// A run is to keep its thread about this long: then it costs little, and delays nobody.
const THREAD_TIME: Duration = Duration::from_millis(1);

/// No run is longer: beyond it little is gained.
const MOST: usize = 64;

/// How calls of each task are batched.
#[derive(Debug, Default)]
pub(super) struct BatchSizer(Mutex<HashMap<&'static str, Pace>>);

#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How many deliveries make a run.
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
    fn paces(&self) -> MutexGuard<'_, HashMap<&'static str, Pace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self, task: &str) -> Pace {
        self.paces().get(task).copied().unwrap_or_default()
    }

    /// A run of `len` deliveries kept its thread for `took`.
    fn measured(&self, task: &'static str, len: usize, took: Duration) {
        let mut paces = self.paces();
        let size = &mut paces.entry(task).or_default().size;
        if took > THREAD_TIME {
            *size = fitting(len, took);
        } else if len >= *size {
            *size = (*size * 2).min(MOST);
        }
    }

    /// A call has taken this long. One long call says more than many short ones: what is claimed with it waits for it.
    pub(super) fn called(&self, task: &'static str, took: Duration) {
        let mut paces = self.paces();
        let by_slot = &mut paces.entry(task).or_default().by_slot;
        *by_slot = fitting(1, took).min(*by_slot * 2);
    }
}

/// How many calls fit into [`THREAD_TIME`], if so many took so long.
fn fitting(len: usize, took: Duration) -> usize {
    let fits = u128::try_from(len).unwrap_or(1) * THREAD_TIME.as_micros() / took.as_micros().max(1);
    usize::try_from(fits).unwrap_or(MOST).clamp(1, MOST)
}

/// What the deliveries of one run have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Parts of one job, under one epoch, at one attempt.
    Parts(JobId, u32, u32),
    /// Jobs of one task, without parts.
    Jobs(String),
}

/// The kind of run that a delivery may be in; `None` if its workers may have died, or it needs a closer look.
pub(crate) fn kind(engine: &Engine, delivery: &Delivery) -> Option<Kind> {
    let fresh = delivery.redelivered == 0 && !delivery.anonymous;
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

/// How many deliveries like this one make a run under this slot, which is widened for them. No more are taken together
/// than can begin.
pub(crate) fn size(engine: &Engine, delivery: &Delivery, slot: &mut Slot, kind: SlotKind) -> usize {
    let Ok(message) = &delivery.message else { return 1 };
    let Pace { size, mut by_slot } = engine.paces.pace(&message.task);
    if engine.registry.get(&message.task).is_ok_and(|task| is_scarce(engine, task, None)) {
        by_slot = 1;
    }
    slot.widen(&engine.slots, kind, size.div_ceil(by_slot));
    size.min(slot.count() * by_slot)
}

/// Whether a limit lets fewer calls run than there are slots: what has one of few permits must not wait for a slot.
fn is_scarce(engine: &Engine, task: &Task, step: Option<&Arc<Step>>) -> bool {
    let of_task = task.work.options.concurrency.as_ref().map(|limit| limit.calls);
    let of_step = step.and_then(|step| step.limit.as_ref()).map(|limit| limit.permits);
    let slots = engine.slots.size(SlotKind::of(&task.work));
    of_step.or(of_task).is_some_and(|permits| usize::try_from(permits).unwrap_or(usize::MAX) < slots)
}

/// Lets one delivery go on alone.
pub(crate) type Spawn<'a> = &'a (dyn Fn(BoxFuture<()>) + Send + Sync);

/// Brings deliveries of one kind to their end, each with a settlement of its own.
///
/// # Cancel safety
/// If the future is dropped no delivery is lost: the broker or the store hands out again what was not settled.
pub(crate) async fn process_run(engine: &Arc<Engine>, batch: Batch, spawn: Spawn<'_>) {
    let Batch { kind, deliveries, slot } = batch;
    if !engine.store.is_durable() {
        return unkept(engine, deliveries, slot, spawn);
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

/// Deliveries that are processed together, and the slots that they have between them.
#[derive(Debug)]
pub(crate) struct Batch {
    /// What they have in common.
    pub(crate) kind: Kind,
    /// As many as [`size`] allows.
    pub(crate) deliveries: Vec<Delivery>,
    /// Widened by [`size`].
    pub(crate) slot: Slot,
}

/// How a call ended, and the parts that it has made of its job.
type Ended = (CallOutcome, Option<Made>);

/// One delivery of a run.
struct Item {
    message: Message,
    tenure: DeliveryGuard,
    /// Where its call has its turn.
    lane: Lane,
    /// Held while it is worked on: the message may come twice.
    turn: Turn,
}

impl Item {
    /// Processes it alone, which finds out what is special about it.
    fn alone(self, engine: &Arc<Engine>, spawn: Spawn<'_>) {
        let Self { message, tenure, turn, lane } = self;
        drop((turn, lane));
        let DeliveryGuard::Delivery(receipt) = tenure else { return };
        spawn(alone(engine, Delivery { message: Ok(message), redelivered: 0, anonymous: false, acker: receipt }));
    }

    /// Calls its function, once it is its turn.
    async fn call(&mut self, engine: &Arc<Engine>, def: &TaskDef, about: About, running: &Guest) -> Ended {
        let Some(place) = slots::turn(engine, self.lane.clone(), running.token()).await else {
            // It was thought to be short, and others of its kind are not.
            engine.paces.called(def.name, THREAD_TIME);
            return (CallOutcome::Interrupted, None);
        };
        let call = invoke(engine, def, &self.message, about, None, Hold { running, place });
        lease::call(engine, &self.message, &mut self.tenure, call).await
    }
}

/// Deliveries of one task that are under one limit, or under none.
struct Group {
    task: Arc<Task>,
    items: Vec<Item>,
    limit: Option<Limit>,
    step: Option<Arc<Step>>,
}

/// Takes those that can be run, all of the task of the first one, those under one limit together; the others are
/// processed alone. Of work that needs one of few permits no more is begun than there are slots for.
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
            same.then(|| engine.turns.try_take(inflight::what(message)))?
        });
        match (turn, delivery) {
            (Some(turn), Delivery { message: Ok(message), acker: receipt, .. }) => {
                let Some(lane) = lanes_in_turn.next().cloned() else { continue };
                items.push(Item { message, tenure: DeliveryGuard::Delivery(receipt), lane, turn });
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

/// Processes each as if it had come alone, without a task of its own where it ends at once.
fn unkept(engine: &Arc<Engine>, deliveries: Vec<Delivery>, slot: Slot, spawn: Spawn<'_>) {
    // Each waits for a slot of its own: nothing is claimed.
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
        engine.paces.measured(task, len, engine.clock.now() - begun);
    }
}

/// Calls each; answers those that have ended. The others go on alone, and then `settle`.
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
    engine.paces.measured(task.work.name, len, engine.clock.now() - begun);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_short_parts_are_long_and_of_long_parts_short() {
        let paces = BatchSizer::default();
        assert_eq!(paces.pace("a").size, 1);
        for _ in 0..10 {
            paces.measured("a", paces.pace("a").size, Duration::ZERO);
        }
        assert_eq!((paces.pace("a").size, paces.pace("b").size), (MOST, 1));
        paces.measured("a", MOST, Duration::from_millis(16));
        assert_eq!(paces.pace("a").size, 4);
        paces.measured("a", 4, Duration::from_secs(1));
        assert_eq!(paces.pace("a").size, 1);
        // Fewer than a run were at hand: that says nothing about longer ones.
        paces.measured("a", 1, Duration::ZERO);
        paces.measured("a", 1, Duration::ZERO);
        assert_eq!(paces.pace("a").size, 2);
    }

    #[test]
    fn a_slot_admits_many_short_calls_and_one_long_one() {
        let paces = BatchSizer::default();
        assert_eq!(paces.pace("a").by_slot, 1);
        for _ in 0..3 {
            paces.called("a", Duration::from_micros(10));
        }
        assert_eq!(paces.pace("a").by_slot, 8);
        for _ in 0..10 {
            paces.called("a", Duration::from_micros(100));
        }
        assert_eq!(paces.pace("a").by_slot, 10);
        paces.called("a", Duration::from_secs(1));
        assert_eq!(paces.pace("a").by_slot, 1);
    }
}
