//! Storeless jobs with parts: their parts are counted in a part queue, and the worker that finds it complete joins
//! them.
//!
//! `split` makes the parts and the queue, and `join` runs after the last part has ended. This file handles what is in
//! between: a part that has ended passes the barrier before its delivery is acknowledged.

pub(super) mod join;
mod outcome;
pub(super) mod rejected;
mod split;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(super) use self::split::split;
use super::action::Action;
use super::barrier::{Bodies, Passed, pass};
use super::hooks::{Ended as EndedJob, fire};
use super::invoke::Hold;
use super::part_sets::{Follows, SetCheck, follow_job, follow_set};
use super::work::{Claim, Claimed, Common, Ended, Item, NotGranted, Outcome, Spawn};
use super::{Done, Engine, ProcessError, claim, invoke, perform, process, reject, services, settle};
use crate::barrier::{Arrival, Barrier, End, Entry};
use crate::broker::{DeadLetterReason, PartRecord};
use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::hook::{Allowed, Hooks, OnComplete, PartHook};
use crate::id::JobId;
use crate::job::{AttemptOutcome, Job, JobClaim, Phase, ReplyTo, State};
use crate::message::{Message, WorkKind};
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

    fn job(&self, id: JobId, task: &str, now: Timestamp) -> Job {
        let mut job = Job::new(id, task, now);
        (job.root, job.parent, job.priority) = (self.root, self.parent, self.priority);
        job.reply = self.reply.clone().map(|(queue, correlation)| ReplyTo { queue, correlation });
        job
    }
}

/// Claims a storeless job: its message is all that is known of it. Every redelivery counts as a loss, as no call is
/// recorded.
pub(super) fn claim(engine: &Engine, item: &Item) -> Claim {
    let mut job = claim::new_job(engine, &item.message).job;
    job.attempt = item.message.attempt;
    job.losses = item.redelivered;
    let phase = item.message.kind.phase();
    match job.claim(phase, job.attempt, &engine.worker.to_string(), engine.clock.now()) {
        JobClaim::Granted => Ok(Claimed::Job { job: Box::new(job), permit: None }),
        JobClaim::Ended | JobClaim::Stale => Err(NotGranted::Declined),
    }
}

/// Ends storeless work, and settles its delivery. No other process knows when the next attempt at a job is due, so this
/// process makes it.
pub(super) async fn settle(engine: &Arc<Engine>, common: &Arc<Common>, mut ended: Ended, spawn: &Spawn) {
    loop {
        let Ended { item, claimed, outcome } = ended;
        let (outcome, mut job) = match (outcome, claimed) {
            (Err(error), _) => return process::failed(engine, item, error, spawn).await,
            (Ok(Outcome::Recorded(done)), _) => return item.settle(engine, done).await,
            (Ok(outcome), Claimed::Job { job, .. }) => (outcome, job),
            (Ok(_), Claimed::Part { .. } | Claimed::CountedPart) => return item.settle(engine, Done::Settled).await,
        };
        let due = match end_job(engine, common, &item, &mut job, outcome).await {
            Ok(Next::Done(done)) => return item.settle(engine, done).await,
            Ok(Next::Again(due)) => due,
            Err(error) => return process::failed(engine, item, error, spawn).await,
        };
        tokio::select! {
            biased;
            () = engine.force.cancelled() => return item.settle(engine, Done::Interrupted).await,
            () = engine.clock.pause_until(due) => next_attempt(engine, &mut job, common.action.phase()),
        }
        let (engine, common) = (Arc::clone(engine), Arc::clone(common));
        let claimed = Claimed::Job { job, permit: None };
        ended = Box::pin(perform::perform(engine, common, item, claimed, None)).await;
    }
}

/// What follows an attempt at a storeless job.
enum Next {
    /// The delivery is done.
    Done(Done),
    /// The next attempt is due at this time.
    Again(Timestamp),
}

/// Ends an attempt at a storeless job, and sends what follows the job if that was the last one.
async fn end_job(
    engine: &Engine,
    common: &Common,
    item: &Item,
    job: &mut Job,
    outcome: Outcome,
) -> Result<Next, ProcessError> {
    let phase = common.action.phase();
    let (how, output, done) = match outcome {
        Outcome::Lost(times) => {
            let failure = settle::lost(times);
            let done = Done::Exhausted(failure.message.clone());
            // Parts that were sent before the last loss are dropped.
            if common.action == Action::Split && !split::forget(engine, &common.task, job).await {
                return Ok(Next::Done(Done::Interrupted));
            }
            (AttemptOutcome::Failed { failure, retry_at: None }, None, done)
        }
        Outcome::Called(called, _) => settle::job_attempt(engine, job, common.def(), phase, None, called),
        Outcome::Recorded(done) => return Ok(Next::Done(done)),
    };
    let is_lost = matches!(done, Done::Exhausted(_));
    match outcome::end_attempt(engine, job, phase, how, output.clone()).await {
        Ok(Some(due)) => return Ok(Next::Again(due)),
        Ok(None) => {}
        // No other process knows the outcome: if it was not sent, the message is delivered again.
        Err(_interrupted) => return Ok(Next::Done(Done::Interrupted)),
    }
    if is_lost && mutant::is_on(Mutant::FollowsNothingLost) {
        return Ok(Next::Done(done));
    }
    follow(engine, &item.message, (job, output), item.is_first, done).await.map(Next::Done)
}

/// Starts the next attempt at a storeless job.
pub(super) fn next_attempt(engine: &Engine, job: &mut Job, phase: Phase) {
    let claimed = job.claim(phase, job.attempt, &engine.worker.to_string(), engine.clock.now());
    debug_assert_eq!(claimed, JobClaim::Granted, "it waited for this attempt");
}

/// Performs one part of a job whose parts are counted in a part queue.
pub(super) async fn part(engine: &Arc<Engine>, common: &Common, item: &mut Item) -> Result<Done, ProcessError> {
    let WorkKind::Part { epoch, .. } = item.message.kind else { return Ok(Done::Settled) };
    let Some(part) = item.message.hooks.as_deref().and_then(|hooks| hooks.part.clone()) else {
        return Ok(Done::Settled);
    };
    let is_lost = item.redelivered > engine.settings.losses;
    let ended = if is_lost {
        Err(settle::lost(item.redelivered))
    } else {
        match part_attempts(engine, common, item, part.total_parts).await {
            Some(ended) => ended,
            None => return Ok(Done::Interrupted),
        }
    };
    let detail = ended.as_ref().err().map(|failure| failure.message.clone());
    let (task, message, is_suspect) = (&common.task, &item.message, !item.is_first);
    let passed = Box::pin(arrive(engine, task, (message, &part), (epoch, is_suspect), ended)).await;
    Ok(match (passed, detail) {
        (Passed::Done(_), Some(detail)) if is_lost => Done::Exhausted(detail),
        (Passed::Done(_), _) => Done::Settled,
        (Passed::Interrupted, _) => Done::Interrupted,
        (Passed::NoParts, _) => Done::NeedsStore(no_parts(message)),
    })
}

/// Calls the function until it succeeds or has no attempt left. Returns `None` if the worker has to stop, or the
/// delivery was lost.
async fn part_attempts(
    engine: &Arc<Engine>,
    common: &Common,
    item: &mut Item,
    total: u64,
) -> Option<Result<Bytes, Failure>> {
    let (def, mut message) = (common.def(), item.message.clone());
    let index = item.part().map_or(0, |part| part.index);
    loop {
        let running = engine.running.enter(message.job);
        let place = perform::place(engine, common, item, &running).await?;
        // The next delivery of the message makes this attempt.
        if item.guard.is_lost() {
            return None;
        }
        let about = services::about_part(&message, (index, Some(total)), None);
        let (called, _) = invoke::invoke(engine, def, &message, about, None, Hold { running: &running, place }).await;
        drop(running);
        match settle::part_attempt(engine, def, message.attempt, None, called).0 {
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
    let arrival = Arrival { total: part.total_parts, headed: true, mark: engine.entropy.uuid().as_u128(), suspect };
    let entry = Entry::Part { epoch, id: part.part_id, total: part.total_parts, ok: ended.is_ok() };
    let body = ended.unwrap_or_else(|failure| serde_json::to_vec(&failure).unwrap_or_default().into());
    let id = format!("{}.{}", message.job, part.part_id);
    let record = PartRecord { queue: part.part_queue.clone(), id, entry, body };
    let fire = follow_job(engine, task, message);
    let passed = pass(engine, (Barrier::new(arrival), Bodies::Keep), record.clone(), fire).await;
    engine.sets.note(&part.part_queue, &passed, engine.clock.now(), || {
        let message = Message { body: Bytes::new(), ..message.clone() };
        SetCheck { arrival, record, follows: Follows::Join(Box::new(message)) }
    });
    passed
}

fn no_parts(message: &Message) -> String {
    format!("the parts of job {} are counted by a broker that this worker does not use", message.job)
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
        let ended = EndedJob { job, name: &job.to_string(), task, inputs, success };
        return match fire(engine, on_complete, ended).await {
            Ok(()) => Member::Done,
            Err(_) => Member::Interrupted,
        };
    };
    let arrival = Arrival { total: part.total_parts, headed: false, mark: engine.entropy.uuid().as_u128(), suspect };
    let entry = Entry::Part { epoch: 0, id: part.part_id, total: part.total_parts, ok: success };
    let record = PartRecord { queue: part.part_queue.clone(), id: job.to_string(), entry, body };
    let follows = follow_set(engine, task, &part.part_queue, on_complete);
    let passed = pass(engine, (Barrier::new(arrival), Bodies::Drop), record.clone(), follows).await;
    engine.sets.note(&part.part_queue, &passed, engine.clock.now(), || {
        let follows = Follows::Hooks { task: task.to_owned(), hooks: on_complete.clone() };
        SetCheck { arrival, record, follows }
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
