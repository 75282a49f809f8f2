//! Jobs with parts that no store knows: their parts are counted in a part queue, and whoever finds it full joins them.
//!
//! `split` makes the parts and the queue, `join` is what follows the last of them. In between, here: a part that has
//! ended goes to the barrier before its delivery is acknowledged.

pub(super) mod join;
pub(super) mod rejected;
mod split;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(super) use self::split::split;
use super::barrier::{Bodies, Passed, pass};
use super::hooks::{Ended, fire};
use super::invoke::Hold;
use super::lease::DeliveryGuard;
use super::part_sets::{Follows, Look, follow_job, follow_set};
use super::slots::{Place, Slot, SlotKind};
use super::{Done, Engine, ProcessError, invoke, reject, services, settle, slots};
use crate::barrier::{Barrier, End, Entry, Whose};
use crate::broker::{DeadLetterReason, PartRecord};
use crate::failure::Failure;
use crate::hook::{Allowed, Hooks, OnComplete, PartHook};
use crate::id::JobId;
use crate::job::{AttemptOutcome, Job, Phase, ReplyTo, State};
use crate::message::Message;
use crate::mutant::{self, Mutant};
use crate::registry::Task;
use crate::tx::PartAttemptOutcome;

/// What the first record of a part queue tells of its job.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    root: JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<JobId>,
    priority: u8,
    /// The queue, and what the sender wants to see again.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<(String, String)>,
    /// The hooks' own JSON.
    on_complete: String,
    /// What the job was given, for hooks that do not say what to send.
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Box<RawValue>>,
}

impl Head {
    fn of(message: &Message) -> Self {
        let hooks = message.hooks.as_deref().map(|hooks| &hooks.on_complete[..]).unwrap_or_default();
        let wanted = hooks.iter().any(|hook| hook.inputs.is_none());
        Self {
            root: message.root,
            parent: message.parent,
            priority: message.priority,
            reply: message.reply.as_ref().map(|reply| (reply.queue.clone(), reply.correlation.clone())),
            on_complete: OnComplete::write_all(hooks),
            input: serde_json::from_slice(&message.body).ok().filter(|_| wanted),
        }
    }

    fn job(&self, id: JobId, task: &str, now: crate::clock::Timestamp) -> Job {
        let mut job = Job::new(id, task, now);
        (job.root, job.parent, job.priority) = (self.root, self.parent, self.priority);
        job.reply = self.reply.clone().map(|(queue, correlation)| ReplyTo { queue, correlation });
        job
    }
}

/// How a part has come to its worker.
pub(super) struct Delivered<'a> {
    /// How often it was delivered before.
    pub(super) redelivered: u32,
    /// The slot of its first attempt.
    pub(super) slot: Option<Slot>,
    pub(super) tenure: &'a mut DeliveryGuard,
}

/// One part of a job whose parts are counted in a part queue.
pub(super) async fn part(
    engine: &Arc<Engine>,
    task: &Task,
    (message, part): (&Message, &PartHook),
    (epoch, index): (u32, u64),
    Delivered { redelivered, slot, tenure }: Delivered<'_>,
) -> Result<Done, ProcessError> {
    let lost = redelivered > engine.settings.losses;
    let ended = if lost {
        Err(settle::lost(redelivered))
    } else {
        match attempts(engine, task, message, (index, part.total_parts), (slot, tenure)).await {
            Some(ended) => ended,
            None => return Ok(Done::Interrupted),
        }
    };
    let words = ended.as_ref().err().map(|failure| failure.message.clone());
    let passed = Box::pin(arrive(engine, task, (message, part), (epoch, redelivered > 0), ended)).await;
    Ok(match (passed, words) {
        (Passed::Done(_), Some(words)) if lost => Done::Exhausted(words),
        (Passed::Done(_), _) => Done::Settled,
        (Passed::Interrupted, _) => Done::Interrupted,
        (Passed::NoParts, _) => Done::NeedsStore(no_parts(message)),
    })
}

/// Calls the function until it has succeeded or has no attempt left; `None` if the worker has to stop, or the
/// delivery was lost.
async fn attempts(
    engine: &Arc<Engine>,
    task: &Task,
    message: &Message,
    (index, count): (u64, u64),
    (mut slot, tenure): (Option<Slot>, &mut DeliveryGuard),
) -> Option<Result<Bytes, Failure>> {
    let mut message = message.clone();
    let kind = SlotKind::of(&task.work);
    loop {
        let slot = match slot.take() {
            Some(slot) => slot,
            None => slots::wait_begun(engine, kind).await?,
        };
        // The next delivery of the message makes this attempt.
        if tenure.is_lost() {
            return None;
        }
        let running = engine.running.enter(message.job);
        let about = services::about_part(&message, (index, Some(count)), None);
        let (called, _) = invoke::invoke(
            engine,
            &task.work,
            &message,
            about,
            None,
            Hold { running: &running, place: Place::Own { _slot: slot } },
        )
        .await;
        drop(running);
        match settle::part_attempt(engine, &task.work, (message.attempt, None), called).0 {
            PartAttemptOutcome::Interrupted => return None,
            PartAttemptOutcome::Succeeded(output) => return Some(Ok(output)),
            PartAttemptOutcome::Failed { failure, retry_at: None } => return Some(Err(failure)),
            PartAttemptOutcome::Failed { retry_at: Some(due), .. } => {
                tokio::select! {
                    biased;
                    () = engine.force.cancelled() => return None,
                    () = engine.clock.pause_until(due) => message.attempt += 1,
                }
            }
        }
    }
}

/// A part has ended: to the barrier, and if it was the last one, what follows.
async fn arrive(
    engine: &Arc<Engine>,
    task: &Task,
    (message, part): (&Message, &PartHook),
    (epoch, suspect): (u32, bool),
    ended: Result<Bytes, Failure>,
) -> Passed {
    let whose = Whose { total: part.total_parts, headed: true, mark: engine.entropy.uuid().as_u128(), suspect };
    let entry = Entry::Part { epoch, id: part.part_id, total: part.total_parts, ok: ended.is_ok() };
    let body = ended.unwrap_or_else(|failure| serde_json::to_vec(&failure).unwrap_or_default().into());
    let id = format!("{}.{}", message.job, part.part_id);
    let record = PartRecord { queue: part.part_queue.clone(), id, entry, body };
    let fire = follow_job(engine, task, message);
    let passed = pass(engine, (Barrier::new(whose), Bodies::Keep), record.clone(), fire).await;
    engine.sets.note(&part.part_queue, &passed, engine.clock.now(), || {
        let message = Message { body: Bytes::new(), ..message.clone() };
        Look { whose, record, follows: Follows::Join(Box::new(message)) }
    });
    passed
}

fn no_parts(message: &Message) -> String {
    format!("it is a part of job {} whose parts are counted by a broker that this worker does not use", message.job)
}

/// Fails a job that was lost with its workers too often: sends its answer and its hooks, and drops parts sent before.
pub(super) async fn lost_job(
    engine: &Engine,
    (task, message): (&Task, &Message),
    mut job: Box<Job>,
    is_split: bool,
) -> Result<Done, ProcessError> {
    let failure = settle::lost(job.losses);
    let done = Done::Exhausted(failure.message.clone());
    if is_split && !split::forget(engine, task, &job).await {
        return Ok(Done::Interrupted);
    }
    let how = AttemptOutcome::Failed { failure, retry_at: None };
    let Ok(again) = settle::unkept(engine, &mut job, Phase::Start, how, None).await else {
        return Ok(Done::Interrupted);
    };
    debug_assert_eq!(again, None, "the last attempt has no next one");
    if mutant::is_on(Mutant::FollowsNothingLost) {
        return Ok(done);
    }
    follow(engine, message, (&job, None), false, done).await
}

/// What follows a job that has ended and that no store keeps: its record in the part queue if it is a part of a set of
/// others, and if that is complete, or it is none, its hooks.
pub(super) async fn follow(
    engine: &Engine,
    message: &Message,
    (job, output): (&Job, Option<Bytes>),
    fresh: bool,
    done: Done,
) -> Result<Done, ProcessError> {
    let Some(hooks) = message.hooks.as_deref().filter(|_| job.state.is_final()) else { return Ok(done) };
    let success = job.state == State::Succeeded;
    let failure = job.failure.clone().filter(|_| !success);
    let body = match (output, failure) {
        (Some(output), None) => output,
        (_, failure) => serde_json::to_vec(&failure).unwrap_or_default().into(),
    };
    match member(engine, hooks, (&message.task, job.id, &message.body), (success, body, !fresh)).await {
        Member::Done => Ok(done),
        Member::Interrupted => Ok(Done::Interrupted),
        // One that comes again may have been counted before: its set is complete then.
        Member::NoQueue(_) if !fresh => Ok(done),
        Member::NoQueue(words) => Err(reject::rejected(message, DeadLetterReason::NoPartQueue, words)),
    }
}

/// What became of the hooks of a job that has ended.
pub(crate) enum Member {
    /// All is done.
    Done,
    /// The worker has to stop.
    Interrupted,
    /// There is no part queue, in words.
    NoQueue(String),
}

/// Carries out the hooks of a job: alone, or as one part of a set that others made.
pub(crate) async fn member(
    engine: &Engine,
    hooks: &Hooks,
    (task, job, inputs): (&str, JobId, &[u8]),
    (success, body, suspect): (bool, Bytes, bool),
) -> Member {
    let Hooks { part, on_complete } = hooks;
    let Some(part) = part else {
        let ended = Ended { job, name: &job.to_string(), task, inputs, success };
        return match fire(engine, on_complete, ended).await {
            Ok(()) => Member::Done,
            Err(_) => Member::Interrupted,
        };
    };
    let whose = Whose { total: part.total_parts, headed: false, mark: engine.entropy.uuid().as_u128(), suspect };
    let entry = Entry::Part { epoch: 0, id: part.part_id, total: part.total_parts, ok: success };
    let record = PartRecord { queue: part.part_queue.clone(), id: job.to_string(), entry, body };
    let follows = follow_set(engine, task, &part.part_queue, on_complete);
    let passed = pass(engine, (Barrier::new(whose), Bodies::Drop), record.clone(), follows).await;
    engine.sets.note(&part.part_queue, &passed, engine.clock.now(), || {
        let follows = Follows::Hooks { task: task.to_owned(), hooks: on_complete.clone() };
        Look { whose, record, follows }
    });
    match passed {
        Passed::Done(End::NoQueue) => {
            Member::NoQueue(format!("there is no queue `{}` to count the part in", part.part_queue))
        }
        Passed::Done(End::Fired | End::Waits | End::Gone) => Member::Done,
        Passed::Interrupted => Member::Interrupted,
        Passed::NoParts => Member::NoQueue("this worker's broker has no part queues".to_owned()),
    }
}

/// Names that were checked when they came in.
fn everything() -> Allowed {
    Allowed { part_queues: vec![String::new()], routes: vec![String::new()] }
}
