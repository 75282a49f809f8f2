//! A run: parts of one job that are at hand together are begun together and settled together.
//!
//! Called by `worker::consume`. What ends at once needs no task of its own and shares its two transactions with its
//! neighbours. What does not goes on alone, exactly as if it had come alone: nobody waits for a neighbour.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;

use super::invoke::{Called, invoke};
use super::running::Guest;
use super::turns::Turn;
use super::{Engine, process, refuse, services, settle};
use crate::accounting::{Answer, PartAttempt, PartKey, RunStarted, SettleParts, StartRun};
use crate::broker::{Delivery, Receipt, Settlement};
use crate::message::{Ask, Message};
use crate::registry::Task;
use crate::task::def::BoxFuture;

/// A run is to keep its thread about this long: then it costs little, and delays nobody.
const THREAD_TIME: Duration = Duration::from_millis(1);

/// No run is longer: beyond it little is gained.
const MOST: usize = 64;

/// How many parts of each task make a run.
#[derive(Debug, Default)]
pub(super) struct Paces(Mutex<HashMap<&'static str, usize>>);

impl Paces {
    fn sizes(&self) -> MutexGuard<'_, HashMap<&'static str, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn size(&self, task: &str) -> usize {
        self.sizes().get(task).copied().unwrap_or(1)
    }

    /// A run of `len` parts kept its thread for `took`.
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

/// What the deliveries of one run have in common; `None` for one that is no part, or whose workers may have died.
pub(crate) fn kind(delivery: &Delivery) -> Option<PartKey> {
    let message = delivery.message.as_ref().ok().filter(|_| delivery.redelivered == 0)?;
    match message.ask {
        Ask::Part { epoch, .. } => Some(PartKey { job: message.job, epoch, index: 0, attempt: message.attempt }),
        Ask::Whole | Ask::Item | Ask::Join => None,
    }
}

/// How many deliveries like this one make a run.
pub(crate) fn size(engine: &Engine, delivery: &Delivery) -> usize {
    delivery.message.as_ref().map_or(1, |message| engine.paces.size(&message.task))
}

/// Brings deliveries of one [`kind`] to their end, each with a settlement of its own. Answers how many of them ended
/// together.
///
/// # Cancel safety
/// If the future is dropped no delivery is lost: the broker or the store hands out again what was not settled.
pub(crate) async fn process_run(engine: &Arc<Engine>, deliveries: Vec<Delivery>, spawn: Spawn<'_>) -> u64 {
    let Some((run, parts)) = begin(engine, deliveries, spawn).await else { return 0 };
    let ended = run.call(parts, spawn);
    let n_together = u64::try_from(ended.len()).unwrap_or(u64::MAX);
    run.settle(ended).await;
    n_together
}

/// Lets one delivery go on alone.
pub(crate) type Spawn<'a> = &'a (dyn Fn(BoxFuture<()>) + Send + Sync);

/// What the parts of a run share.
struct Run {
    engine: Arc<Engine>,
    task: Task,
    first: PartKey,
    count: Option<u64>,
    running: Guest,
}

/// One part of a run.
struct Part {
    index: u64,
    message: Message,
    receipt: Box<dyn Receipt>,
    /// Held while it is worked on, where a message can come twice.
    _turn: Option<Turn>,
}

/// Starts the parts in one transaction. Whatever is not simply to be run is processed alone, which finds out why.
async fn begin(engine: &Arc<Engine>, deliveries: Vec<Delivery>, spawn: Spawn<'_>) -> Option<(Arc<Run>, Vec<Part>)> {
    let kind = deliveries.first().and_then(kind)?;
    let (mut parts, mut task) = (Vec::with_capacity(deliveries.len()), None);
    for delivery in deliveries {
        match (admit(engine, &delivery, &mut task), delivery) {
            (Some((index, turn)), Delivery { message: Ok(message), receipt, .. }) => {
                parts.push(Part { index, message, receipt, _turn: turn });
            }
            (_, delivery) => spawn(process_alone(engine, delivery)),
        }
    }
    let (task, first) = (task?, PartKey { index: parts.first()?.index, ..kind });
    let start = StartRun { first, indices: parts.iter().map(|part| part.index).collect(), by: engine.by() };
    // Where the store does not work, each part waits for it alone.
    let RunStarted { run, count, owed } = engine.store.apply(start).await.unwrap_or_default();
    engine.outbox.send(owed).await;
    if run.len() < parts.len() {
        let run: HashSet<_> = run.into_iter().collect();
        let others = parts.extract_if(.., |part| !run.contains(&part.index));
        for Part { message, receipt, .. } in others {
            let delivery = Delivery { message: Ok(message), redelivered: 0, anonymous: false, receipt };
            spawn(process_alone(engine, delivery));
        }
    }
    let running = engine.running.enter(first.job);
    Some((Arc::new(Run { engine: Arc::clone(engine), task, first, count, running }), parts))
}

/// Whether a delivery is a part of this run, whose task is that of the first one.
fn admit(engine: &Arc<Engine>, delivery: &Delivery, task: &mut Option<Task>) -> Option<(u64, Option<Turn>)> {
    let message = delivery.message.as_ref().ok()?;
    let Ask::Part { index, .. } = message.ask else { return None };
    let known = refuse::check(engine, message).ok()?;
    if task.get_or_insert(known).name() != known.name() {
        return None;
    }
    let turn =
        if engine.broker.needs_relay() { Some(engine.turns.try_take((message.job, message.ask))?) } else { None };
    Some((index, turn))
}

fn process_alone(engine: &Arc<Engine>, delivery: Delivery) -> BoxFuture<()> {
    let engine = Arc::clone(engine);
    Box::pin(async move {
        let (settlement, receipt) = process(&engine, delivery).await;
        receipt.settle(settlement);
    })
}

impl Run {
    /// Calls the function on each part; answers those that have ended, the others go on alone.
    fn call(self: &Arc<Self>, parts: Vec<Part>, spawn: Spawn<'_>) -> Vec<(Part, Called)> {
        let begun = self.engine.clock.now();
        let (len, mut ended) = (parts.len(), Vec::with_capacity(parts.len()));
        for part in parts {
            let mut attempt = Box::pin(Arc::clone(self).attempt(part));
            if let Some(end) = attempt.as_mut().now_or_never() {
                ended.push(end);
                continue;
            }
            let run = Arc::clone(self);
            spawn(Box::pin(async move { run.settle(vec![attempt.await]).await }));
        }
        self.engine.paces.measured(self.task.work.name, len, self.engine.clock.now() - begun);
        ended
    }

    async fn attempt(self: Arc<Self>, part: Part) -> (Part, Called) {
        let about = services::about_part(&part.message, part.index, self.count);
        let called = invoke(&self.engine, self.task.work, &part.message, about, None, self.running.token()).await;
        (part, called)
    }

    /// Writes down in one transaction how the calls ended, then settles their deliveries.
    async fn settle(&self, calls: Vec<(Part, Called)>) {
        let (mut ended, mut settlements) = (Vec::with_capacity(calls.len()), Vec::with_capacity(calls.len()));
        for (part, called) in calls {
            let (how, done) = settle::part_attempt(&self.engine, self.task.work, self.first.attempt, called);
            ended.extend(how.map(|how| (part.index, how)));
            settlements.push((part, settle::settlement(done)));
        }
        let failed = if ended.is_empty() { None } else { self.write_down(ended).await };
        for (part, settlement) in settlements {
            part.receipt.settle(failed.clone().unwrap_or(settlement));
        }
    }

    /// Asks the store until it has it, so that nothing runs twice because the store rests; answers what becomes of the
    /// deliveries if it never will.
    async fn write_down(&self, ended: Vec<(u64, PartAttempt)>) -> Option<Settlement> {
        let engine = &*self.engine;
        let settle = SettleParts { first: self.first, ended: ended.into(), by: engine.by() };
        loop {
            match engine.store.apply(settle.clone()).await {
                Ok(Answer::Counted(owed)) => engine.outbox.send(owed).await,
                Ok(Answer::Old) => tracing::debug!("settlements came too late and changed nothing"),
                Err(error) => match refuse::store_failed(engine, &error).await {
                    None => continue,
                    failed => return failed,
                },
            }
            return None;
        }
    }
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
