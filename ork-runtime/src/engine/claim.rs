//! Claims the work of a delivery, unless it is stale. Called by `engine::process`; the store decides, by pure
//! transitions of the job.

use super::{Done, Engine, ProcessError, reject, services};
use crate::broker::DeadLetterReason;
use crate::hook::StoredHooks;
use crate::job::{Job, JobKind, Phase, UniqueKey};
use crate::message::{Message, WorkKind};
use crate::role::JobRole;
use crate::task::builtin;
use crate::tx::{
    Claim, Claimed, Limit, NewJob, PartKey, PartStart, RejectJob, StartParts, Submit, Submitted, key_taken,
};

/// The result of claiming a job.
pub(super) enum ClaimedJob {
    /// Run it.
    Granted(Box<Job>),
    /// The named process is running the job and may be alive: run nothing beside it.
    RunningElsewhere(String),
    /// Run nothing now.
    Declined,
}

/// How a job is claimed, which depends on what is known of its message.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClaimOptions {
    /// Whether the claim must survive the death of this process, see [`Claim::durable`].
    pub(super) make_durable: bool,
    /// Whether the message may be a duplicate, see [`Claim::may_be_duplicate`].
    pub(super) maybe_duplicate: bool,
}

/// The result of claiming a part.
pub(super) enum ClaimedPart {
    /// Run it.
    Granted {
        /// The part and its attempt.
        key: PartKey,
        /// The number of parts, if it is known.
        count: Option<u64>,
        /// How many times its workers died while they ran it.
        losses: u32,
    },
    /// Run nothing.
    Declined,
}

/// Returns the unique key that the job of a message takes, if this is its first message.
pub(super) fn unique_of(engine: &Engine, message: &Message) -> Option<UniqueKey> {
    let first = message.attempt == 1 && matches!(message.kind, WorkKind::Job | WorkKind::Single);
    first.then(|| services::unique_of(engine, &message.task)).flatten()
}

/// Claims a job. It is created first if another program sent the message.
pub(super) async fn job(
    engine: &Engine,
    message: &Message,
    phase: Phase,
    ClaimOptions { make_durable, maybe_duplicate }: ClaimOptions,
    (limit, losses): (Option<&Limit>, u32),
) -> Result<ClaimedJob, ProcessError> {
    let unknown = new_job(engine, message);
    if !engine.store.is_durable() {
        let mut job = unknown.job;
        job.attempt = message.attempt;
        // Without a store every redelivery counts as a loss, as calls are not recorded.
        job.losses = losses;
        return Ok(match job.claim(phase, message.attempt, &engine.worker.to_string(), engine.clock.now()) {
            crate::job::JobClaim::Granted => ClaimedJob::Granted(Box::new(job)),
            crate::job::JobClaim::Ended | crate::job::JobClaim::Stale => ClaimedJob::Declined,
        });
    }
    let unique = unique_of(engine, message);
    let claim = Claim {
        unknown,
        unique,
        phase,
        attempt: message.attempt,
        durable: make_durable,
        may_be_duplicate: maybe_duplicate,
        limit: limit.cloned(),
        losses,
        actor: engine.actor(),
    };
    Ok(match engine.commit(claim).await? {
        Claimed::Granted { job, reclaimed: again, created: made } => {
            // The sender has published no event of the job, and a worker that died may not have either.
            if made || (again && phase == Phase::Start && message.attempt == 1) {
                engine.emit(engine.events_before(message, true)).await;
            }
            ClaimedJob::Granted(job)
        }
        Claimed::RunningElsewhere(worker) => ClaimedJob::RunningElsewhere(worker),
        Claimed::Stale | Claimed::Waiting => ClaimedJob::Declined,
        Claimed::NotFound => {
            let detail = format!("there is no job {} in this store, so it cannot be joined or retried", message.job);
            return Err(reject::rejected(message, DeadLetterReason::UnknownJob, detail));
        }
    })
}

/// Starts the next attempt at a storeless job.
pub(super) fn next_attempt(engine: &Engine, job: &mut Job, phase: Phase) {
    let claimed = job.claim(phase, job.attempt, &engine.worker.to_string(), engine.clock.now());
    debug_assert_eq!(claimed, crate::job::JobClaim::Granted, "it waited for this attempt");
}

/// Starts an attempt at a part.
pub(super) async fn part(
    engine: &Engine,
    message: &Message,
    (epoch, index): (u32, u64),
    (limit, redelivered): (Option<&Limit>, u32),
) -> Result<ClaimedPart, ProcessError> {
    let key = PartKey { job: message.job, epoch, index, attempt: message.attempt };
    let start = StartParts {
        limit: limit.cloned(),
        losses: redelivered,
        ..StartParts::one(key, redelivered > 0, engine.actor())
    };
    let started = engine.commit(start).await?;
    match started.parts.first().copied().unwrap_or(PartStart::Stale) {
        PartStart::Run { losses } => Ok(ClaimedPart::Granted { key, count: started.count, losses }),
        PartStart::Waiting | PartStart::Stale => Ok(ClaimedPart::Declined),
        PartStart::NotFound { parts } => {
            let detail = match parts {
                None => format!("there is no job {} in this store, so it has no part {index}", message.job),
                Some(parts) => format!("job {} has {parts} parts, so there is no part {index}", message.job),
            };
            Err(reject::rejected(message, DeadLetterReason::UnknownJob, detail))
        }
    }
}

/// Takes a message without an id into the store under a new id. A redelivery would get another id, so the job does
/// not run before its id is committed.
pub(super) async fn adopt(engine: &Engine, message: &Message) -> Result<Done, ProcessError> {
    let unique = unique_of(engine, message);
    let submit = Submit { unique, ..Submit::new(new_job(engine, message), engine.actor()) };
    match engine.commit(submit.clone()).await? {
        Submitted::KeyTaken(keeper) | Submitted::KeyHolderStale(keeper) => {
            let Submit { new, unique, actor, .. } = submit;
            let failure = key_taken(unique.as_ref().map_or("", |unique| &unique.key), keeper);
            let refuse = RejectJob { unknown: new, failure, requested: None, dead: None, actor };
            engine.commit(refuse).await?;
        }
        Submitted::Created
        | Submitted::Exists
        | Submitted::Resumed
        | Submitted::ChildRefused(_)
        | Submitted::NoJobToFollow(_) => {}
    }
    Ok(Done::Settled)
}

/// Returns the job that a message describes, for a store that does not know it.
pub(super) fn new_job(engine: &Engine, message: &Message) -> NewJob {
    let mut job = Job::new(message.job, message.task.clone(), engine.clock.now());
    job.root = message.root;
    job.parent = message.parent;
    let is_part = message.hooks.as_ref().is_some_and(|hooks| hooks.part.is_some());
    job.kind = match message.kind {
        WorkKind::Step => JobKind::Step,
        WorkKind::Single => JobKind::Single,
        WorkKind::Job | WorkKind::Part { .. } | WorkKind::Join | WorkKind::Hooks(_) => {
            if is_part {
                JobKind::Single
            } else {
                JobKind::Full
            }
        }
    };
    job.phase = if message.kind == WorkKind::Join { Phase::Join } else { Phase::Start };
    job.priority = message.priority;
    job.reply.clone_from(&message.reply);
    job.hooks = message.hooks.as_deref().and_then(StoredHooks::new);
    job.schemas.input = message.schema.filter(|_| matches!(message.kind, WorkKind::Job | WorkKind::Single));
    job.role = builtin::is_brought_on(&message.task).then(|| Box::new(JobRole::Untrusted));
    NewJob { job, input: message.body.clone() }
}
