//! The hooks of a job that has ended. They are sent one after the other, each under an id that is the same on every
//! try.

pub(crate) mod send;

use self::send::{HookSubject, SendFailure, send};
use super::storeless::member::{Member, member};
use super::{Engine, submit as submission};
use crate::id::JobId;
use crate::job::{JobKind, State};
use crate::message::HookMessage;
use crate::mutant::{self, Mutant};
use crate::store::{JobView, StoreError};
use crate::tx::{NewJob, RecordHookFailure, Submit, Submitted};

/// Sends those hooks of a job in the store that the bit mask `which` selects. A hook that cannot be sent is recorded in
/// the job. `lost` is how often the outbox row of the hooks was lost with a process. Returns whether this is done; if
/// not, the worker has to stop, and another process does it.
pub(crate) async fn send_stored(engine: &Engine, id: JobId, which: u32, lost: u32) -> Result<bool, StoreError> {
    let Some(JobView { job, input, output, .. }) = engine.store.job(id).await? else { return Ok(true) };
    let Some(stored) = &job.hooks else { return Ok(true) };
    let (name, success) = (id.to_string(), job.state == State::Succeeded);
    let ended = HookSubject { job: id, name: &name, task: &job.task, inputs: &input, success };
    let unsent = if stored.hooks.part.is_some() {
        let failure = || serde_json::to_vec(&job.failure).unwrap_or_default().into();
        let body = output.filter(|_| success).unwrap_or_else(failure);
        match member(engine, &stored.hooks, ended, body, lost > 0).await {
            Member::Done => None,
            Member::Interrupted => return Ok(false),
            // An earlier try may have counted the part: then its set was complete, and its queue was removed.
            Member::NoQueue(_) if lost > 0 && !mutant::is_on(Mutant::ReportsFollowedSets) => None,
            // This process was presumed dead in the meantime, and another one has the row, and sends these hooks.
            Member::NoQueue(_) if !is_sender(engine, id).await? => None,
            Member::NoQueue(why) => Some(why),
        }
    } else {
        let due = stored.due(which).filter(|_| !mutant::is_on(Mutant::ForgetsHooks));
        let messages: Vec<_> = due.map(|(at, hook)| (at, ended.message(at, hook))).collect();
        let sent = if engine.broker.needs_relay() {
            send(engine, messages.into_iter()).await
        } else {
            submit(engine, messages).await?
        };
        match sent {
            Ok(()) => None,
            Err(SendFailure::NoRoute(_, why)) => Some(why),
            Err(SendFailure::Interrupted) => return Ok(false),
        }
    };
    if let Some(why) = unsent {
        tracing::error!(job = %id, why, "cannot send a hook; the hooks after it were not sent either");
        engine.commit(RecordHookFailure { job: id, message: why }).await?;
    }
    Ok(true)
}

/// Returns whether this process holds the outbox row of a job's hooks.
async fn is_sender(engine: &Engine, job: JobId) -> Result<bool, StoreError> {
    let senders = engine.store.diagnostics(job).await?.outbox.hook_senders;
    Ok(senders.contains(&engine.worker.boot()) || mutant::is_on(Mutant::ReportsHooksOfOthers))
}

/// Submits the hooks as jobs of the same store, if there is no broker. The store recognizes those that it already has.
async fn submit(engine: &Engine, messages: Vec<(usize, HookMessage)>) -> Result<Result<(), SendFailure>, StoreError> {
    for (at, message) in messages {
        let Ok(task) = engine.registry.get(&message.task) else {
            let why = format!("there is no task `{}`", message.task);
            return Ok(Err(SendFailure::no_route(at, message, &why)));
        };
        let mut job = submission::new_job(engine, task, JobKind::Job);
        (job.id, job.root) = (message.id, message.id);
        let unique = submission::unique_of(engine, &message.task);
        let new = NewJob { job, input: message.body.clone() };
        match engine.commit(Submit { unique, ..Submit::new(new, engine.actor()) }).await? {
            Submitted::KeyTaken(by) | Submitted::KeyHolderStale(by) => {
                let why = format!("job {by} holds the unique key of `{}`", message.task);
                return Ok(Err(SendFailure::no_route(at, message, &why)));
            }
            Submitted::Created
            | Submitted::Exists
            | Submitted::Resumed
            | Submitted::ChildRefused(_)
            | Submitted::NoJobToFollow(_) => {}
        }
    }
    Ok(Ok(()))
}
