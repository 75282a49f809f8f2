//! Claims the work of deliveries in the store, unless it is stale: one transaction for all items of a group. The store
//! decides, by pure transitions of the job.

use super::action::Action;
use super::outcome::rejected;
use super::work::{ClaimResult, ClaimedWork, Common, Item, NotGranted};
use super::{Done, Engine, ProcessError, duplicates, submit};
use crate::broker::DeadLetterReason;
use crate::hook::StoredHooks;
use crate::job::{Job, JobKind, Phase, UniqueKey};
use crate::message::{Message, WorkKind};
use crate::role::JobRole;
use crate::task::builtin;
use crate::tx::{self, NewJob, PartStart, PartsStarted, RejectJob, StartParts, Submit, Submitted, key_taken};

/// Claims the start or the join of a job for each item. A job is created first if another program sent its message.
///
/// # Errors
/// Returns an error if the store has failed; nothing is claimed then.
pub(super) async fn jobs(engine: &Engine, common: &Common, items: &[Item]) -> Result<Vec<ClaimResult>, ProcessError> {
    let claims = items.iter().map(|item| job_claim(engine, common, item)).collect();
    let claimed = engine.commit_all(claims).await?;
    let (mut claims, mut events) = (Vec::with_capacity(items.len()), Vec::new());
    for (Item { message, .. }, claimed) in items.iter().zip(claimed) {
        claims.push(match claimed {
            tx::Claimed::Granted { job, reclaimed, created, permit } => {
                // The sender has published no event of the job, and a worker that died may not have either.
                if created || (reclaimed && common.action.phase() == Phase::Start && message.attempt == 1) {
                    events.extend(engine.events_before(message, true));
                }
                Ok(ClaimedWork::Job { job, permit })
            }
            tx::Claimed::RunningElsewhere(worker) => Err(NotGranted::RunningElsewhere(worker)),
            tx::Claimed::Stale | tx::Claimed::Waiting => Err(NotGranted::Declined),
            tx::Claimed::NotFound => {
                let job = message.job;
                let detail = format!("there is no job {job} in this store, so it cannot be joined or retried");
                Err(NotGranted::Rejected(rejected(message, DeadLetterReason::UnknownJob, detail)))
            }
        });
    }
    if !events.is_empty() {
        engine.emit(events).await;
    }
    Ok(claims)
}

fn job_claim(engine: &Engine, common: &Common, item: &Item) -> tx::Claim {
    let Item { message, redelivered, is_first, runner_is_dead, .. } = item;
    tx::Claim {
        unknown: new_job(engine, message),
        unique: unique_of(engine, message),
        phase: common.action.phase(),
        attempt: message.attempt,
        // The last worker of the attempt may have died; and later steps of a split rely on its claim.
        durable: !is_first || *runner_is_dead || common.action == Action::Split,
        may_be_duplicate: !runner_is_dead && duplicates::may_be_duplicate(engine, message, *redelivered),
        limit: common.limit.clone(),
        losses: *redelivered,
        actor: engine.actor(),
    }
}

/// Starts an attempt at a part for each item. All of them are parts of one job.
///
/// # Errors
/// Returns an error if the store has failed; nothing is started then.
pub(super) async fn parts(engine: &Engine, common: &Common, items: &[Item]) -> Result<Vec<ClaimResult>, ProcessError> {
    let keys: Vec<_> = items.iter().filter_map(Item::part).collect();
    let Some(first) = keys.first().copied() else { return Ok(Vec::new()) };
    let start = StartParts {
        first,
        indices: keys.iter().map(|key| key.index).collect(),
        durable: items.iter().any(|item| item.redelivered > 0),
        limit: common.limit.clone(),
        losses: items.iter().map(|item| item.redelivered).max().unwrap_or(0),
        waited: items.iter().any(|item| item.message.waited),
        actor: engine.actor(),
    };
    let PartsStarted { parts, count, permit } = engine.commit(start).await?;
    let claim = |((key, item), start): ((_, &Item), PartStart)| match start {
        PartStart::Run { losses } => Ok(ClaimedWork::Part { key, count, losses, permit: permit.clone() }),
        PartStart::Waiting | PartStart::Stale => Err(NotGranted::Declined),
        PartStart::NotFound { parts } => {
            let (job, index) = (item.message.job, key.index);
            let detail = match parts {
                None => format!("there is no job {job} in this store, so it has no part {index}"),
                Some(parts) => format!("job {job} has {parts} parts, so there is no part {index}"),
            };
            Err(NotGranted::Rejected(rejected(&item.message, DeadLetterReason::UnknownJob, detail)))
        }
    };
    Ok(keys.into_iter().zip(items).zip(parts).map(claim).collect())
}

/// Returns the unique key that the job of a message takes, if this is its first message.
fn unique_of(engine: &Engine, message: &Message) -> Option<UniqueKey> {
    let first = message.attempt == 1 && matches!(message.kind, WorkKind::Job | WorkKind::Single);
    first.then(|| submit::unique_of(engine, &message.task)).flatten()
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
            let reject = RejectJob { unknown: new, failure, requested: None, dead: None, actor };
            engine.commit(reject).await?;
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
    let is_part = message.has_part_hook();
    job.kind = match message.kind {
        WorkKind::Step => JobKind::Step,
        WorkKind::Single => JobKind::Single,
        WorkKind::Job | WorkKind::Part { .. } | WorkKind::Join | WorkKind::Hooks(_) => {
            if is_part {
                JobKind::Single
            } else {
                JobKind::Job
            }
        }
    };
    job.phase = if message.kind == WorkKind::Join { Phase::Join } else { Phase::Start };
    job.priority = message.priority;
    job.reply.clone_from(&message.reply);
    job.hooks = message.hooks.as_deref().and_then(StoredHooks::new);
    job.schemas.input = message.schema.filter(|_| matches!(message.kind, WorkKind::Job | WorkKind::Single));
    job.role = builtin::is_done_by_engine(&message.task).then(|| Box::new(JobRole::Untrusted));
    NewJob { job, input: message.body.clone() }
}
