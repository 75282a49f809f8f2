//! The work that follows the last part of a storeless job: the join over the records in memory, the outcome, the hooks.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::super::barrier::HeldRecord;
use super::super::hooks::send::{HookSubject, fire};
use super::super::invoke::{Hold, invoke};
use super::super::settle::job_attempt;
use super::super::slots::Need;
use super::super::{Engine, call_info, place};
use super::head::Head;
use super::outcome;
use super::outcome::next_attempt;
use crate::barrier::{Entry, Set};
use crate::event::EventKind;
use crate::failure::{Failure, FailureKind};
use crate::job::{Effect, Job, Phase, State};
use crate::ledger::{self, Counts, PartResult};
use crate::message::{Message, WorkKind};
use crate::policy::Policy;
use crate::registry::Task;
use crate::task::Result;
use crate::task::parts::{PartSource, RawParts, SettledPart};

/// The parts that a join receives: their outcomes and bodies in memory, by index.
#[derive(Debug)]
struct InMemoryParts(BTreeMap<u64, (bool, Bytes)>);

#[async_trait]
impl PartSource for InMemoryParts {
    async fn page(&self, from: u64, limit: usize) -> Result<Vec<SettledPart>> {
        let settled = |(index, (ok, body)): (&u64, &(bool, Bytes))| {
            if *ok {
                return SettledPart {
                    index: *index,
                    how: PartResult::Succeeded,
                    output: Some(body.clone()),
                    failure: None,
                };
            }
            let unread = || Failure::new(FailureKind::Lost, "its failure cannot be read".to_owned());
            let failure: Failure = serde_json::from_slice(body).unwrap_or_else(|_other| unread());
            SettledPart { index: *index, how: PartResult::Failed, output: None, failure: Some(failure) }
        };
        Ok(self.0.range(from..).take(limit).map(settled).collect())
    }
}

/// Ends a job whose parts have all ended, from the records of its part queue. Returns whether that was done; if not,
/// another worker does it.
pub(in super::super) async fn join(
    engine: &Arc<Engine>,
    task: &Task,
    message: &Message,
    set: Set,
    records: Vec<HeldRecord>,
) -> bool {
    let Some(run) = set.epoch() else { return false };
    let (mut head, mut parts) = (None, BTreeMap::new());
    for HeldRecord { entry, body, .. } in records {
        match entry {
            Entry::Head { epoch } if epoch == run => head = serde_json::from_slice(&body).ok(),
            Entry::Part { epoch, id, ok, .. } if epoch == run => {
                parts.insert(id, (ok, body));
            }
            _ => {}
        }
    }
    let Some(head) = head else {
        tracing::error!(job = %message.job, "cannot read the record of the split: dropping the parts of its job");
        return true;
    };
    finish(engine, task, message, head, parts).await
}

/// Ends a job with these parts: calls its join, if there is one, sends the outcome, and then the hooks. Returns whether
/// that was done.
pub(super) async fn finish(
    engine: &Arc<Engine>,
    task: &Task,
    message: &Message,
    head: Head,
    parts: BTreeMap<u64, (bool, Bytes)>,
) -> bool {
    let mut job = head.job(message.job, task.name(), engine.clock.now());
    job.state = State::Waiting;
    let failed = parts.values().map(|(ok, _)| u64::from(!ok)).sum();
    let total = u64::try_from(parts.len()).unwrap_or(u64::MAX);
    let counts = Counts { succeeded: total - failed, failed, ..Counts::default() };
    let options = &task.entry().options;
    let policy = Policy { on_error: options.on_error, tolerate: options.tolerate.unwrap_or_default() };
    let joined = ledger::Head { policy, has_join: task.join.is_some(), ..ledger::Head::default() };
    let effects = job.on_parts_completed(&joined, counts, engine.clock.now());
    engine.emit_parts_completed(&job, counts).await;
    if let Some(def) = &task.join {
        let parts = RawParts::new(counts, Arc::new(InMemoryParts(parts)));
        if !attempts(engine, def, message, &mut job, parts).await {
            return false;
        }
    } else {
        let others = effects.into_iter().filter(|effect| *effect != Effect::Emit(EventKind::PartsCompleted));
        if outcome::apply_effects(engine, &job, others.collect(), None).await.is_err() {
            return false;
        }
    }
    let (name, success) = (job.id.to_string(), job.state == State::Succeeded);
    let ended = HookSubject { job: job.id, name: &name, task: task.name(), inputs: head.input(), success };
    fire(engine, &head.hooks(), ended).await.is_ok()
}

/// Calls the join until it succeeds or has no attempt left. Returns whether the job has ended.
async fn attempts(
    engine: &Arc<Engine>,
    def: &crate::task::TaskDef,
    message: &Message,
    job: &mut Job,
    parts: RawParts,
) -> bool {
    let message = Message { kind: WorkKind::Join, body: Bytes::from_static(b"null"), ..message.clone() };
    loop {
        let Some(place) = place::wait_begun(engine, Need::of(def)).await else { return false };
        next_attempt(engine, job, Phase::Join);
        let running = engine.running.enter(job.id);
        let info = call_info::job(job);
        let hold = Hold { running: &running, place };
        let (called, _) = invoke(engine, def, &message, &message.body, info, Some(parts.clone()), hold).await;
        drop(running);
        let (how, output, _) = job_attempt(engine, job, def, Phase::Join, None, called);
        match outcome::end_attempt(engine, job, Phase::Join, how, output).await {
            Ok(None) => return job.state.is_final(),
            Ok(Some(due)) => {
                tokio::select! {
                    biased;
                    () = engine.force.cancelled() => return false,
                    () = engine.clock.pause_until(due) => {}
                }
            }
            Err(_) => return false,
        }
    }
}
