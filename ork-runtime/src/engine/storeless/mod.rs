//! Storeless jobs with parts: their parts are counted in a part queue, and the worker that finds it complete joins
//! them.
//!
//! `split` makes the parts and the queue, and `join` runs after the last part has ended. This file handles what is in
//! between: a part that has ended passes the barrier before its delivery is acknowledged.

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
use super::part_sets::{Follows, SetCheck, follow_job, follow_set};
use super::slots::{CallSlot, Slot, SlotKind};
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

/// The first record of a part queue, which describes the job.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    /// The root of the tree of the job.
    root: JobId,
    /// The job that has submitted it, if one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<JobId>,
    /// The priority of its messages.
    priority: u8,
    /// The reply queue, and the correlation id of the sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<(String, String)>,
    /// The hooks, as JSON text.
    on_complete: String,
    /// The input of the job, present if a hook does not set its own inputs.
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

/// How a part arrived at its worker.
pub(super) struct Delivered<'a> {
    /// How many times the message was delivered before.
    pub(super) redelivered: u32,
    /// Whether no worker can have received the message before.
    pub(super) is_first: bool,
    /// The slot of the first attempt.
    pub(super) slot: Option<Slot>,
    /// The delivery of its message.
    pub(super) guard: &'a mut DeliveryGuard,
}

/// Processes one part of a job whose parts are counted in a part queue.
pub(super) async fn part(
    engine: &Arc<Engine>,
    task: &Task,
    (message, part): (&Message, &PartHook),
    (epoch, index): (u32, u64),
    Delivered { redelivered, is_first, slot, guard }: Delivered<'_>,
) -> Result<Done, ProcessError> {
    let lost = redelivered > engine.settings.losses;
    let ended = if lost {
        Err(settle::lost(redelivered))
    } else {
        match attempts(engine, task, message, (index, part.total_parts), (slot, guard)).await {
            Some(ended) => ended,
            None => return Ok(Done::Interrupted),
        }
    };
    let detail = ended.as_ref().err().map(|failure| failure.message.clone());
    let passed = Box::pin(arrive(engine, task, (message, part), (epoch, !is_first), ended)).await;
    Ok(match (passed, detail) {
        (Passed::Done(_), Some(detail)) if lost => Done::Exhausted(detail),
        (Passed::Done(_), _) => Done::Settled,
        (Passed::Interrupted, _) => Done::Interrupted,
        (Passed::NoParts, _) => Done::NeedsStore(no_parts(message)),
    })
}

/// Calls the function until it succeeds or has no attempt left. Returns `None` if the worker has to stop, or the
/// delivery was lost.
async fn attempts(
    engine: &Arc<Engine>,
    task: &Task,
    message: &Message,
    (index, count): (u64, u64),
    (mut slot, guard): (Option<Slot>, &mut DeliveryGuard),
) -> Option<Result<Bytes, Failure>> {
    let mut message = message.clone();
    let kind = SlotKind::of(&task.work);
    loop {
        let slot = match slot.take() {
            Some(slot) => slot,
            None => slots::wait_begun(engine, kind).await?,
        };
        // The next delivery of the message makes this attempt.
        if guard.is_lost() {
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
            Hold { running: &running, place: CallSlot::Exclusive { _slot: slot } },
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

/// Takes an ended part to the barrier, and if it was the last one, does what follows.
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
        SetCheck { whose, record, follows: Follows::Join(Box::new(message)) }
    });
    passed
}

fn no_parts(message: &Message) -> String {
    format!("the parts of job {} are counted by a broker that this worker does not use", message.job)
}

/// Fails a job that was lost with its workers too often: sends its reply and its hooks, and drops parts that were
/// sent before.
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
    let Ok(again) = settle::settle_storeless(engine, &mut job, Phase::Start, how, None).await else {
        return Ok(Done::Interrupted);
    };
    debug_assert_eq!(again, None, "there is no attempt after the last one");
    if mutant::is_on(Mutant::FollowsNothingLost) {
        return Ok(done);
    }
    follow(engine, message, (&job, None), false, done).await
}

/// Does what follows a storeless job that has ended. If the job is part of an external set, this records it in the
/// part queue, and sends the hooks once the set is complete; otherwise it sends the hooks.
pub(super) async fn follow(
    engine: &Engine,
    message: &Message,
    (job, output): (&Job, Option<Bytes>),
    is_first: bool,
    done: Done,
) -> Result<Done, ProcessError> {
    let Some(hooks) = message.hooks.as_deref().filter(|_| job.state.is_final()) else { return Ok(done) };
    let success = job.state == State::Succeeded;
    let failure = job.failure.clone().filter(|_| !success);
    let body = match (output, failure) {
        (Some(output), None) => output,
        (_, failure) => serde_json::to_vec(&failure).unwrap_or_default().into(),
    };
    match member(engine, hooks, (&message.task, job.id, &message.body), (success, body, !is_first)).await {
        Member::Done => Ok(done),
        Member::Interrupted => Ok(Done::Interrupted),
        // A redelivered part may have been counted before: then its set is complete, and the queue was removed.
        Member::NoQueue(_) if !is_first => Ok(done),
        Member::NoQueue(detail) => Err(reject::rejected(message, DeadLetterReason::NoPartQueue, detail)),
    }
}

/// What became of the hooks of a job that has ended.
pub(crate) enum Member {
    /// They were sent or, for a part of a set, the part was counted.
    Done,
    /// The worker has to stop.
    Interrupted,
    /// There is no part queue; with the reason.
    NoQueue(String),
}

/// Carries out the hooks of a job: alone, or as one part of a set that another program made.
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
        SetCheck { whose, record, follows }
    });
    match passed {
        Passed::Done(End::NoQueue) => Member::NoQueue(format!("the part queue `{}` does not exist", part.part_queue)),
        Passed::Done(End::Fired | End::Waits | End::Gone) => Member::Done,
        Passed::Interrupted => Member::Interrupted,
        Passed::NoParts => Member::NoQueue("the broker of this worker has no part queues".to_owned()),
    }
}

/// Allows every name: they were checked when the message arrived.
fn allow_all() -> Allowed {
    Allowed { part_queues: vec![String::new()], routes: vec![String::new()] }
}
