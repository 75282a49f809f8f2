//! A batch of jobs of one task: claimed in one transaction, settled in another.

use std::sync::Arc;

use super::super::invoke::CallOutcome;
use super::super::{Engine, claim, services, settle};
use super::{Ended, Group, Item, Spawn, call};
use crate::broker::Disposition;
use crate::job::{Job, Phase};
use crate::registry::Task;
use crate::tx::{Claim, Claimed, Limit, Settle};

/// Processes a batch of jobs.
pub(super) async fn process(engine: &Arc<Engine>, Group { task, items, limit, step: _ }: Group, spawn: Spawn<'_>) {
    let claim = |item: &Item| {
        let (unknown, attempt) = (claim::new_job(engine, &item.message), item.message.attempt);
        let unique = claim::unique_of(engine, &item.message);
        Claim {
            unknown,
            unique,
            phase: Phase::Start,
            attempt,
            durable: false,
            may_be_duplicate: engine.broker.needs_relay(),
            limit: limit.clone(),
            losses: 0,
            actor: engine.actor(),
        }
    };
    let claimed = engine.commit_all(items.iter().map(claim).collect()).await;
    // Where the store does not work, each job is processed alone and waits for it.
    let claimed = claimed.unwrap_or_else(|_waits| items.iter().map(|_| Claimed::NotFound).collect());
    let mut granted = Vec::with_capacity(items.len());
    let mut events = Vec::new();
    for (item, claimed) in items.into_iter().zip(claimed) {
        match claimed {
            Claimed::Granted { job, reclaimed: again, created: made } => {
                if made || again {
                    events.extend(engine.events_before(&item.message, true));
                }
                granted.push((item, job));
            }
            // The sender may be waiting for the outcome.
            Claimed::Stale if item.message.reply.is_some() => item.alone(engine, spawn),
            // A job that waits for a permit is sent again when it has one.
            Claimed::Stale | Claimed::Waiting => item.guard.settle(engine, Disposition::Ack).await,
            Claimed::RunningElsewhere(_) | Claimed::NotFound => item.alone(engine, spawn),
        }
    }
    if !events.is_empty() {
        engine.emit(events).await;
    }
    let calls = granted.into_iter().map(|(item, job)| attempt(Arc::clone(engine), Arc::clone(&task), item, job));
    let settle = {
        let (engine, task) = (Arc::clone(engine), Arc::clone(&task));
        move |ended| settle_all(Arc::clone(&engine), Arc::clone(&task), limit.clone(), ended)
    };
    let ended = call(engine, &task, calls, settle.clone(), spawn);
    settle(ended).await;
}

async fn attempt(engine: Arc<Engine>, task: Arc<Task>, mut item: Item, job: Box<Job>) -> Finished {
    let running = engine.running.enter(job.id);
    let about = services::about_job(&job);
    let called = item.call(&engine, &task.work, about, &running).await;
    drop(running);
    (item, job, called)
}

/// A call that has ended: its item, its job, and how it ended.
type Finished = (Item, Box<Job>, Ended);

/// Records in one transaction how the calls ended, then settles their deliveries.
async fn settle_all(engine: Arc<Engine>, task: Arc<Task>, limit: Option<Limit>, calls: Vec<Finished>) {
    let (mut settles, mut settlements) = (Vec::with_capacity(calls.len()), Vec::with_capacity(calls.len()));
    for (item, job, (called, made)) in calls {
        let phase = Phase::Start;
        if let (CallOutcome::Returned(output), Some(made)) = (&called, made) {
            // A dynamic split is sealed in a separate transaction, as few jobs make one.
            let sealed = Box::pin(settle::seal(&engine, &job, limit.as_ref(), (output.clone(), made))).await;
            let settlement = sealed.map_or_else(|settlement| settlement, settle::settlement);
            item.guard.settle(&engine, settlement).await;
            continue;
        }
        let (how, output, done) = settle::job_attempt(&engine, &job, &task.work, phase, called);
        let (attempt, limit, actor) = (job.attempt, limit.clone(), engine.actor());
        settles.push(Settle { job: job.id, phase, attempt, outcome: how, output, limit, actor });
        settlements.push((item, settle::settlement(done)));
    }
    let failed = engine.settle(settles).await.err();
    for (item, settlement) in settlements {
        item.guard.settle(&engine, failed.clone().unwrap_or(settlement)).await;
    }
}
