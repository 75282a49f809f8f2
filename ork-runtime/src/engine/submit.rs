//! Submission: a new job enters the store, or its first message goes to the broker.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Engine, cancel};
use crate::broker::BrokerError;
use crate::hook::StoredHooks;
use crate::id::JobId;
use crate::job::{Job, JobKind, UniqueKey};
use crate::message::{Message, Outgoing, WorkKind};
use crate::mutant::{self, Mutant};
use crate::registry::Task;
use crate::tree::{CancelMode, DEEPEST};
use crate::tx::{ChildError, MAX_FOLLOWED, NewJob, Submit, Submitted};

/// Returns a new job of a task.
pub(crate) fn new_job(engine: &Engine, task: &Task, kind: JobKind) -> Job {
    let mut job = Job::new(engine.entropy.job_id(), task.name(), engine.clock.now());
    // Without a split both kinds mean the same, and the message is simpler.
    job.kind = if task.split.is_some() { kind } else { JobKind::Job };
    job.priority = task.work.options.priority;
    let takes = if job.kind == JobKind::Single { &task.work } else { task.entry() };
    job.schemas.input = Some(takes.fingerprint());
    job
}

/// The maximum length of a unique key in bytes: databases index it.
const LONGEST_KEY: usize = 512;

/// The options of a submission.
#[derive(Debug, Clone, Default)]
pub struct SubmitOptions {
    /// The jobs that must end before this one starts.
    pub after: Vec<JobId>,
    /// The unique key that the job takes; `None` for the key that its task sets, if any.
    pub unique: Option<UniqueKey>,
    /// The hooks of the job.
    pub hooks: Option<Box<StoredHooks>>,
    /// Whether the job is queued ahead of all waiting work, regardless of the priority of its task.
    pub first: bool,
}

/// Returns the unique key that every job of a task takes; `None` if the task has none, or this program does not know
/// it.
pub(crate) fn unique_of(engine: &Engine, task: &str) -> Option<UniqueKey> {
    let key = engine.registry.get(task).ok()?.work.options.unique?;
    Some(UniqueKey { key: key.into(), stale_after: None })
}

impl SubmitOptions {
    /// Returns whether no option is set that needs a store.
    pub const fn are_plain(&self) -> bool {
        self.after.is_empty() && self.unique.is_none()
    }
}

/// The error of a job that could not be submitted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("job {0} was cancelled: child jobs can no longer be submitted")]
    Interrupted(JobId),
    #[error("job {0} has ended: child jobs can no longer be submitted")]
    Over(JobId),
    #[error("job {0} is {DEEPEST} levels below its root, which is the maximum depth of a job tree")]
    TooDeep(JobId),
    #[error("there is no job {0}, so it cannot have child jobs or followers")]
    NoJob(JobId),
    #[error("the unique key `{key}` is taken by job {job}, which has not ended")]
    Taken { key: Arc<str>, job: JobId },
    #[error(
        "{jobs} jobs cannot be submitted at once with the unique key `{key}`, which only one job can hold: none was \
         submitted"
    )]
    Shared { key: Arc<str>, jobs: usize },
    #[error("a unique key must have 1 to {LONGEST_KEY} bytes, this one has {0}")]
    Key(usize),
    #[error("the unique key `{0}` requires a store: set ORK_STORE")]
    CannotHold(Arc<str>),
    #[error("a follower of job {0} requires a store: set ORK_STORE")]
    CannotFollow(JobId),
    #[error(
        "a job can follow at most {MAX_FOLLOWED} jobs, not {0}: submit them as children of one job, and follow that job"
    )]
    FollowsTooMany(usize),
}

/// Submits a job: when this returns, the job is in the store, or its message is confirmed by the broker. Returns
/// whether the job is new.
pub(crate) async fn submit(engine: &Engine, new: NewJob, options: SubmitOptions) -> Result<bool, SubmitError> {
    let parent = new.job.parent.unwrap_or(new.job.id);
    let SubmitOptions { after, unique, hooks: _, first: _ } = options;
    let unique = unique.or_else(|| unique_of(engine, &new.job.task));
    let key = unique.as_ref().map(|unique| Arc::clone(&unique.key));
    key.as_deref().map_or(Ok(()), check_key)?;
    if after.len() > MAX_FOLLOWED {
        return Err(SubmitError::FollowsTooMany(after.len()));
    }
    if engine.store.records_jobs() {
        let mut submit = Submit { new, after, unique, actor: engine.actor() };
        let mut answer = engine.commit(submit.clone()).await?;
        if let Submitted::KeyHolderStale(job) = answer {
            tracing::warn!(%job, key = key.as_deref(), "cancelling a stale job to take over its unique key");
            cancel::cancel(engine, job, CancelMode::Immediate).await?;
            submit.actor = engine.actor();
            answer = engine.commit(submit).await?;
        }
        return match answer {
            Submitted::Created => Ok(true),
            Submitted::Resumed | Submitted::Exists => Ok(false),
            Submitted::ChildRefused(ChildError::AncestorCancelled(job)) => Err(SubmitError::Interrupted(job)),
            Submitted::ChildRefused(ChildError::ParentEnded(_)) => Err(SubmitError::Over(parent)),
            Submitted::ChildRefused(ChildError::TooDeep) => Err(SubmitError::TooDeep(parent)),
            Submitted::ChildRefused(ChildError::ParentNotFound) => Err(SubmitError::NoJob(parent)),
            Submitted::KeyTaken(job) | Submitted::KeyHolderStale(job) => {
                Err(SubmitError::Taken { key: key.unwrap_or_default(), job })
            }
            Submitted::NoJobToFollow(unknown) => Err(SubmitError::NoJob(unknown)),
        };
    }
    if let Some(after) = after.first() {
        return Err(SubmitError::CannotFollow(*after));
    }
    if let Some(key) = key {
        return Err(SubmitError::CannotHold(key));
    }
    publish_first(engine, vec![new]).await?;
    Ok(true)
}

/// Checks the length of a unique key.
fn check_key(key: &str) -> Result<(), SubmitError> {
    if key.is_empty() || key.len() > LONGEST_KEY { Err(SubmitError::Key(key.len())) } else { Ok(()) }
}

/// Submits many jobs in one transaction, all or none. Without a store it publishes their messages, and some of them
/// may have been confirmed when another one fails.
pub(crate) async fn submit_all(engine: &Engine, new: Vec<NewJob>) -> Result<(), SubmitError> {
    let mut keys = HashMap::new();
    for unique in new.iter().filter_map(|new| unique_of(engine, &new.job.task)) {
        *keys.entry(unique.key).or_insert(0) += 1;
    }
    for (key, jobs) in &keys {
        check_key(key)?;
        if !engine.store.records_jobs() {
            return Err(SubmitError::CannotHold(Arc::clone(key)));
        }
        if *jobs > 1 {
            return Err(SubmitError::Shared { key: Arc::clone(key), jobs: *jobs });
        }
    }
    // A single job can cancel the stale holder of its key and take the key over; among several jobs in one
    // transaction that would leave the submission half done.
    debug_assert!(keys.is_empty() || new.len() == 1, "jobs that are submitted together belong to one task");
    if engine.store.records_jobs() {
        let submit = |new: NewJob| {
            let unique = unique_of(engine, &new.job.task);
            Submit { unique, ..Submit::new(new, engine.actor()) }
        };
        let submits: Vec<_> = new.into_iter().map(submit).collect();
        let key = keys.into_keys().next();
        let mut done = Ok(());
        if mutant::is_on(Mutant::SubmitsOneByOne) {
            for submit in submits {
                engine.commit(submit).await?;
            }
            return Ok(());
        }
        for submitted in engine.commit_all(submits).await? {
            match submitted {
                Submitted::KeyTaken(job) | Submitted::KeyHolderStale(job) => {
                    done = Err(SubmitError::Taken { key: key.clone().unwrap_or_default(), job });
                }
                Submitted::Created
                | Submitted::Exists
                | Submitted::Resumed
                | Submitted::ChildRefused(_)
                | Submitted::NoJobToFollow(_) => {}
            }
        }
        return done;
    }
    Ok(publish_first(engine, new).await?)
}

/// Publishes the first messages of storeless jobs, each after its events.
async fn publish_first(engine: &Engine, new: Vec<NewJob>) -> Result<(), BrokerError> {
    let mut outgoing = Vec::with_capacity(new.len());
    for message in new.into_iter().map(first_message) {
        outgoing.extend(engine.events_before(&message, true).into_iter().map(|event| Outgoing::Event(event.into())));
        outgoing.push(Outgoing::Work(message));
    }
    engine.broker.publish(outgoing).await.into_iter().collect()
}

/// Returns the first message of a storeless job.
fn first_message(new: NewJob) -> Message {
    let NewJob { job, input } = new;
    Message {
        job: job.id,
        root: job.root,
        parent: job.parent,
        task: job.task,
        kind: if job.kind == JobKind::Single { WorkKind::Single } else { WorkKind::Job },
        attempt: 1,
        priority: job.priority,
        losses: 0,
        waited: false,
        body: input,
        reply: job.reply,
        schema: job.schemas.input,
        hooks: job.hooks.map(|stored| Box::new(stored.hooks)),
    }
}
