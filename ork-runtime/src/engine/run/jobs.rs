//! Jobs of one task that came together: claimed in one transaction, settled in another.

use std::sync::Arc;

use super::super::invoke::{Called, invoke};
use super::super::{Engine, claim, lease, services, settle};
use super::{Item, Spawn, admit, call, persist};
use crate::accounting::{Claim, Claimed, Settle};
use crate::broker::{Delivery, Settlement};
use crate::job::{Job, Phase};
use crate::registry::Task;

/// Brings jobs to their end.
pub(super) async fn process(engine: &Arc<Engine>, deliveries: Vec<Delivery>, spawn: Spawn<'_>) {
    let Some((task, items)) = admit(engine, deliveries, spawn) else { return };
    let claim = |item: &Item| {
        let (unknown, attempt) = (claim::new_job(engine, &item.message), item.message.attempt);
        Claim { unknown, phase: Phase::Start, attempt, firm: false, by: engine.by() }
    };
    let claimed = engine.store.apply_all(items.iter().map(claim).collect()).await;
    // Where the store does not work, each job waits for it alone.
    let claimed = claimed.unwrap_or_else(|_waits| items.iter().map(|_| Claimed::Unknown).collect());
    let mut ours = Vec::with_capacity(items.len());
    for (item, claimed) in items.into_iter().zip(claimed) {
        match claimed {
            Claimed::Ours { job, .. } => ours.push((item, job)),
            Claimed::Nothing => item.tenure.settle(engine, Settlement::Ack).await,
            Claimed::Unknown => item.alone(engine, spawn),
        }
    }
    let calls = ours.into_iter().map(|(item, job)| attempt(Arc::clone(engine), task, item, job));
    let settle = {
        let engine = Arc::clone(engine);
        move |ended| settle_all(Arc::clone(&engine), task, ended)
    };
    let ended = call(engine, task, calls, settle.clone(), spawn);
    settle(ended).await;
}

async fn attempt(engine: Arc<Engine>, task: Task, mut item: Item, job: Box<Job>) -> (Item, Box<Job>, Called) {
    let running = engine.running.enter(job.id);
    let about = services::about_job(&job);
    let call = invoke(&engine, task.work, &item.message, about, None, running.token());
    let called = lease::keep(&engine, &item.message, &mut item.tenure, call).await;
    drop(running);
    (item, job, called)
}

/// Writes down in one transaction how the calls ended, then settles their deliveries.
async fn settle_all(engine: Arc<Engine>, task: Task, calls: Vec<(Item, Box<Job>, Called)>) {
    let (mut settles, mut settlements) = (Vec::with_capacity(calls.len()), Vec::with_capacity(calls.len()));
    for (item, job, called) in calls {
        let phase = Phase::Start;
        let (how, output, done) = settle::job_attempt(&engine, &job, task.work, phase, called);
        settles.push(Settle { job: job.id, phase, attempt: job.attempt, how, output, by: engine.by() });
        settlements.push((item, settle::settlement(done)));
    }
    let mut failed = None;
    match persist(&engine, settles).await {
        Ok(answers) => settle::answered(&engine, answers).await,
        Err(settlement) => failed = Some(settlement),
    }
    for (item, settlement) in settlements {
        item.tenure.settle(&engine, failed.clone().unwrap_or(settlement)).await;
    }
}
