//! A batch of parts of one job: started in one transaction, settled in another.

use std::sync::Arc;

use super::super::invoke::CallOutcome;
use super::super::running_calls::RunningCall;
use super::super::step::Step;
use super::super::{Engine, hydrate, reject, services, settle};
use super::{Group, Item, Spawn, alone, call};
use crate::broker::{Delivery, Disposition};
use crate::id::JobId;
use crate::message::WorkKind;
use crate::registry::Task;
use crate::tx::{Limit, PartKey, PartStart, PartsStarted, SettleParts, StartParts};

/// What the parts of a batch have in common.
struct PartsBatch {
    engine: Arc<Engine>,
    task: Arc<Task>,
    /// The first part of the batch, which also has the epoch and the attempt of the others.
    first: PartKey,
    /// The number of parts of the job, if it is known.
    count: Option<u64>,
    limit: Option<Limit>,
    step: Option<Arc<Step>>,
}

/// Processes a batch of parts.
pub(super) async fn process(
    engine: &Arc<Engine>,
    (job, epoch, attempt): (JobId, u32, u32),
    Group { task, items, limit, step }: Group,
    spawn: Spawn<'_>,
) {
    let Some(first) = items.first().map(|item| PartKey { job, epoch, index: index(item), attempt }) else { return };
    let start = StartParts {
        indices: items.iter().map(index).collect(),
        limit: limit.clone(),
        ..StartParts::one(first, false, engine.actor())
    };
    // Where the store does not work, each part is processed alone and waits for it.
    let PartsStarted { parts, count } = engine.commit(start).await.unwrap_or_default();
    let mut starts = parts.into_iter();
    let mut batch = Vec::with_capacity(items.len());
    for item in items {
        match starts.next() {
            Some(PartStart::Run { .. }) => batch.push(item),
            Some(PartStart::Waiting) => item.guard.settle(engine, Disposition::Ack).await,
            Some(PartStart::Stale | PartStart::NotFound { .. }) | None => item.alone(engine, spawn),
        }
    }
    let items = batch;
    let batch = Arc::new(PartsBatch { engine: Arc::clone(engine), task: Arc::clone(&task), first, count, limit, step });
    let running = Arc::new(engine.running.enter(job));
    let calls = {
        let batch = Arc::clone(&batch);
        items.into_iter().map(move |item| Arc::clone(&batch).attempt(item, Arc::clone(&running)))
    };
    let settle = {
        let batch = Arc::clone(&batch);
        move |ended| Arc::clone(&batch).settle(ended)
    };
    let ended = call(engine, &task, calls, settle, spawn);
    batch.settle(ended).await;
}

/// Adds the inherited input to parts of a dynamic split or a step. Returns the deliveries that can go on, and the
/// step of the parts, if they have one. Where the store does not work, each part is processed alone and waits for it.
pub(super) async fn inherit(
    engine: &Arc<Engine>,
    mut deliveries: Vec<Delivery>,
    spawn: Spawn<'_>,
) -> (Vec<Delivery>, Option<Arc<Step>>) {
    let mut step = None;
    for at in 0..deliveries.len() {
        let Some(Ok(message)) = deliveries.get_mut(at).map(|delivery| &mut delivery.message) else { continue };
        let Ok(task) = reject::check(engine, message) else { continue };
        if !hydrate::inherits(engine, &task, message) {
            continue;
        }
        let Ok(of) = hydrate::inherit(engine, &task, message).await else {
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
    match item.message.kind {
        WorkKind::Part { index, .. } => index,
        WorkKind::Job | WorkKind::Single | WorkKind::Step | WorkKind::Join | WorkKind::Hooks(_) => 0,
    }
}

impl PartsBatch {
    async fn attempt(self: Arc<Self>, mut item: Item, running: Arc<RunningCall>) -> (Item, CallOutcome) {
        let about = services::about_part(&item.message, (index(&item), self.count), self.step.as_ref());
        let (called, _) = item.call(&self.engine, &self.task.work, about, &running).await;
        (item, called)
    }

    /// Records in one transaction how the calls ended, then settles their deliveries.
    async fn settle(self: Arc<Self>, calls: Vec<(Item, CallOutcome)>) {
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
        let (first, limit, actor) = (self.first, self.limit.clone(), engine.actor());
        let failed = engine.settle(vec![SettleParts { first, ended: ended.into(), limit, actor }]).await.err();
        for (item, settlement) in settlements {
            item.guard.settle(engine, failed.clone().unwrap_or(settlement)).await;
        }
    }
}
