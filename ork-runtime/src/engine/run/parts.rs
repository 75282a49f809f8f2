//! Parts of one job that came together: started in one transaction, settled in another.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::invoke::Called;
use super::super::running::Guest;
use super::super::step::Step;
use super::super::{Engine, inherit, permits, refuse, services, settle};
use super::{Group, Item, Spawn, alone, call};
use crate::accounting::{Admitted, Limit, PartKey, RunStarted, SettleParts, StartRun};
use crate::broker::{Delivery, Settlement};
use crate::id::JobId;
use crate::message::Ask;
use crate::registry::Task;

/// What the parts of a run share.
struct Run {
    engine: Arc<Engine>,
    task: Arc<Task>,
    first: PartKey,
    count: Option<u64>,
    limit: Option<Limit>,
    step: Option<Arc<Step>>,
}

/// Brings parts to their end.
pub(super) async fn process(
    engine: &Arc<Engine>,
    (job, epoch, attempt): (JobId, u32, u32),
    Group { task, mut items, limit, step }: Group,
    spawn: Spawn<'_>,
) {
    let Some(first) = items.first().map(|item| PartKey { job, epoch, index: index(item), attempt }) else { return };
    let start = StartRun { first, indices: items.iter().map(index).collect(), by: engine.by() };
    // Where the store does not work, each part waits for it alone.
    let begun = permits::begin(engine, (limit.as_ref(), 0), vec![start]).await.unwrap_or_default().pop();
    let Admitted { answer, waiting } = begun.unwrap_or_default();
    let RunStarted { run, count, owed } = answer.unwrap_or_default();
    engine.outbox.send(owed).await;
    if !waiting.is_empty() {
        // They come again when there are permits.
        let mut at = 0..items.len();
        for item in items.extract_if(.., |_| at.next().is_some_and(|at| waiting.binary_search(&at).is_ok())) {
            item.tenure.settle(engine, Settlement::Ack).await;
        }
    }
    if run.len() < items.len() {
        let run: HashSet<_> = run.into_iter().collect();
        items.extract_if(.., |item| !run.contains(&index(item))).for_each(|item| item.alone(engine, spawn));
    }
    let run = Arc::new(Run { engine: Arc::clone(engine), task: Arc::clone(&task), first, count, limit, step });
    let running = Arc::new(engine.running.enter(job));
    let calls = {
        let run = Arc::clone(&run);
        items.into_iter().map(move |item| Arc::clone(&run).attempt(item, Arc::clone(&running)))
    };
    let settle = {
        let run = Arc::clone(&run);
        move |ended| Arc::clone(&run).settle(ended)
    };
    let ended = call(engine, &task, calls, settle, spawn);
    run.settle(ended).await;
}

/// Gives parts of a job that has split itself its input; answers those that can go on, and the step that they are of, if
/// they are. Where the store does not work, each part waits for it alone.
pub(super) async fn inherit(
    engine: &Arc<Engine>,
    mut deliveries: Vec<Delivery>,
    spawn: Spawn<'_>,
) -> (Vec<Delivery>, Option<Arc<Step>>) {
    let mut step = None;
    for at in 0..deliveries.len() {
        let Some(Ok(message)) = deliveries.get_mut(at).map(|delivery| &mut delivery.message) else { continue };
        let Ok(task) = refuse::check(engine, message) else { continue };
        if !inherit::inherits(engine, &task, message) {
            continue;
        }
        let Ok(of) = inherit::inherit(engine, &task, message).await else {
            for delivery in deliveries {
                spawn(alone(engine, delivery));
            }
            return (Vec::new(), None);
        };
        step = of;
    }
    (deliveries, step)
}

fn index(item: &Item) -> u64 {
    match item.message.ask {
        Ask::Part { index, .. } => index,
        Ask::Whole | Ask::Item | Ask::Step | Ask::Join | Ask::Hooks(_) => 0,
    }
}

impl Run {
    async fn attempt(self: Arc<Self>, mut item: Item, running: Arc<Guest>) -> (Item, Called) {
        let about = services::about_part(&item.message, (index(&item), self.count), self.step.as_ref());
        let (called, _) = item.call(&self.engine, &self.task.work, about, &running).await;
        (item, called)
    }

    /// Writes down in one transaction how the calls ended, then settles their deliveries.
    async fn settle(self: Arc<Self>, calls: Vec<(Item, Called)>) {
        if calls.is_empty() {
            return;
        }
        let engine = &*self.engine;
        let (mut ended, mut settlements) = (Vec::with_capacity(calls.len()), Vec::with_capacity(calls.len()));
        for (item, called) in calls {
            let (how, done) =
                settle::part_attempt(engine, &self.task.work, (self.first.attempt, item.message.schema), called);
            ended.push((index(&item), how));
            settlements.push((item, settle::settlement(done)));
        }
        let settle = SettleParts { first: self.first, ended: ended.into(), by: engine.by() };
        let failed = permits::settle(engine, self.limit.as_ref(), vec![settle]).await.err();
        for (item, settlement) in settlements {
            item.tenure.settle(engine, failed.clone().unwrap_or(settlement)).await;
        }
    }
}
