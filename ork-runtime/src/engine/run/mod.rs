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

use super::lease::Tenure;
use super::step::Step;
use super::turns::Turn;
use super::{Engine, permits, process, refuse};
use crate::accounting::Limit;
use crate::broker::Delivery;
use crate::id::JobId;
use crate::message::{Ask, Message};
use crate::registry::Task;
use crate::task::builtin;
use crate::task::def::BoxFuture;

/// A run is to keep its thread about this long: then it costs little, and delays nobody.
const THREAD_TIME: Duration = Duration::from_millis(1);

/// No run is longer: beyond it little is gained.
const MOST: usize = 64;

/// How many deliveries of each task make a run.
#[derive(Debug, Default)]
pub(super) struct Paces(Mutex<HashMap<&'static str, usize>>);

impl Paces {
    fn sizes(&self) -> MutexGuard<'_, HashMap<&'static str, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn size(&self, task: &str) -> usize {
        self.sizes().get(task).copied().unwrap_or(1)
    }

    /// A run of `len` deliveries kept its thread for `took`.
    fn measured(&self, task: &'static str, len: usize, took: Duration) {
        let mut sizes = self.sizes();
        let size = sizes.entry(task).or_insert(1);
        if took > THREAD_TIME {
            let fits = u128::try_from(len).unwrap_or(1) * THREAD_TIME.as_micros() / took.as_micros();
            *size = usize::try_from(fits).unwrap_or(1).clamp(1, MOST);
        } else if len >= *size {
            *size = (*size * 2).min(MOST);
        }
    }
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
    match message.ask {
        Ask::Part { epoch, .. } => Some(Kind::Parts(message.job, epoch, message.attempt)),
        Ask::Whole | Ask::Item => {
            let alone = message.ask == Ask::Whole && (task.split.is_some() || builtin::is_brought_on(task.name()));
            (!alone).then(|| Kind::Jobs(message.task.clone()))
        }
        Ask::Step | Ask::Join | Ask::Hooks(_) => None,
    }
}

/// How many deliveries like this one make a run.
pub(crate) fn size(engine: &Engine, delivery: &Delivery) -> usize {
    delivery.message.as_ref().map_or(1, |message| engine.paces.size(&message.task))
}

/// Lets one delivery go on alone.
pub(crate) type Spawn<'a> = &'a (dyn Fn(BoxFuture<()>) + Send + Sync);

/// Brings deliveries of one kind to their end, each with a settlement of its own.
///
/// # Cancel safety
/// If the future is dropped no delivery is lost: the broker or the store hands out again what was not settled.
pub(crate) async fn process_run(engine: &Arc<Engine>, kind: Kind, deliveries: Vec<Delivery>, spawn: Spawn<'_>) {
    if !engine.store.keeps() {
        return unkept(engine, deliveries, spawn);
    }
    match kind {
        Kind::Parts(job, epoch, attempt) => {
            let (deliveries, step) = parts::inherit(engine, deliveries, spawn).await;
            let groups = admit(engine, deliveries, step.as_ref(), spawn).into_iter();
            join_all(groups.map(|group| parts::process(engine, (job, epoch, attempt), group, spawn))).await;
        }
        Kind::Jobs(_) => {
            let groups = admit(engine, deliveries, None, spawn).into_iter();
            join_all(groups.map(|group| jobs::process(engine, group, spawn))).await;
        }
    }
}

/// One delivery of a run.
struct Item {
    message: Message,
    tenure: Tenure,
    /// Held while it is worked on, where a message can come twice.
    turn: Option<Turn>,
}

impl Item {
    /// Processes it alone, which finds out what is special about it.
    fn alone(self, engine: &Arc<Engine>, spawn: Spawn<'_>) {
        let Self { message, tenure, turn } = self;
        drop(turn);
        let Tenure::Delivery(receipt) = tenure else { return };
        spawn(alone(engine, Delivery { message: Ok(message), redelivered: 0, anonymous: false, receipt }));
    }
}

/// Deliveries of one task that are under one limit, or under none.
struct Group {
    task: Arc<Task>,
    items: Vec<Item>,
    limit: Option<Limit>,
    step: Option<Arc<Step>>,
}

/// Takes those that can be run, all of the task of the first one, those under one limit together; the others are processed
/// alone. Of work that needs permits no more is begun than there are slots for.
fn admit(engine: &Arc<Engine>, deliveries: Vec<Delivery>, step: Option<&Arc<Step>>, spawn: Spawn<'_>) -> Vec<Group> {
    let mut task: Option<Arc<Task>> = None;
    let mut items = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let turn = delivery.message.as_ref().ok().and_then(|message| {
            let known = refuse::check(engine, message).ok()?;
            let name = known.name();
            let same = task.get_or_insert(known).name() == name;
            let what = (message.job, message.ask);
            let twice = engine.broker.needs_relay();
            same.then(|| if twice { engine.turns.try_take(what).map(Some) } else { Some(None) })?
        });
        match (turn, delivery) {
            (Some(turn), Delivery { message: Ok(message), receipt, .. }) => {
                items.push(Item { message, tenure: Tenure::Delivery(receipt), turn });
            }
            (_, delivery) => spawn(alone(engine, delivery)),
        }
    }
    let Some(task) = task else { return Vec::new() };
    let task = step.map_or(task, |step| Arc::clone(&step.task));
    if task.work.options.concurrency.is_none() && step.is_none_or(|step| step.limit.is_none()) {
        return vec![Group { task, items, limit: None, step: step.cloned() }];
    }
    for item in items.split_off(items.len().min(engine.slots.free(&task.work))) {
        item.alone(engine, spawn);
    }
    let mut groups: Vec<Group> = Vec::new();
    for item in items {
        let limit = permits::limit(&task, step.map(AsRef::as_ref), &item.message);
        match groups.iter_mut().find(|group| group.limit == limit) {
            Some(group) => group.items.push(item),
            None => groups.push(Group { task: Arc::clone(&task), items: vec![item], limit, step: step.cloned() }),
        }
    }
    groups
}

fn alone(engine: &Arc<Engine>, delivery: Delivery) -> BoxFuture<()> {
    let engine = Arc::clone(engine);
    Box::pin(async move { process(&engine, delivery).await })
}

/// Processes each as if it had come alone, without a task of its own where it ends at once.
fn unkept(engine: &Arc<Engine>, deliveries: Vec<Delivery>, spawn: Spawn<'_>) {
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
        let paces = Paces::default();
        assert_eq!(paces.size("a"), 1);
        for _ in 0..10 {
            paces.measured("a", paces.size("a"), Duration::ZERO);
        }
        assert_eq!((paces.size("a"), paces.size("b")), (MOST, 1));
        paces.measured("a", MOST, Duration::from_millis(16));
        assert_eq!(paces.size("a"), 4);
        paces.measured("a", 4, Duration::from_secs(1));
        assert_eq!(paces.size("a"), 1);
        // Fewer than a run were at hand: that says nothing about longer ones.
        paces.measured("a", 1, Duration::ZERO);
        paces.measured("a", 1, Duration::ZERO);
        assert_eq!(paces.size("a"), 2);
    }
}
