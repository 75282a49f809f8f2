//! Storeless jobs whose message was rejected: the job has failed, and its reply and hooks follow as after any other
//! failure.

use bytes::Bytes;

use super::super::barrier::{Bodies, Fire, HeldRecord, pass};
use super::super::hooks::send::{HookSubject, fire};
use super::super::part_sets::Passed;
use super::super::retry::Interrupted;
use super::super::{Engine, ProcessError};
use super::head::Head;
use super::member::{Member, member};
use super::outcome;
use crate::barrier::{Arrival, Barrier, Entry, Set};
use crate::broker::{DeadLetterReason, PartRecord, Rejected};
use crate::failure::Failure;
use crate::hook::PartHook;
use crate::job::{AttemptOutcome, Job, Phase, State};
use crate::message::{Message, WorkKind};
use crate::mutant::{self, Mutant};

/// Ends the job of a rejected message, or its part: the outcome, the record in the part queue, the hooks.
pub(in super::super) async fn end(
    engine: &Engine,
    refused: &Rejected,
    message: Option<&Message>,
    mut job: Job,
    failure: Failure,
    input: Bytes,
) -> Result<(), ProcessError> {
    // The job has ended, and its reply was sent, before the missing queue was found.
    if refused.reason == DeadLetterReason::NoPartQueue {
        return Ok(());
    }
    let hooks = refused.hooks.as_deref();
    let body: Bytes = serde_json::to_vec(&failure).unwrap_or_default().into();
    if let Some(message) = message
        && let WorkKind::Part { epoch, .. } = message.kind
    {
        return match hooks.and_then(|hooks| hooks.part.as_ref()) {
            Some(part) => own_part(engine, message, part, epoch, body, &failure).await,
            // The store of its job counts the part.
            None => Ok(()),
        };
    }
    fail(engine, &mut job, failure).await.map_err(|_interrupted| interrupted())?;
    let Some(hooks) = hooks.filter(|_| !mutant::is_on(Mutant::FollowsNothingRefused)) else { return Ok(()) };
    // Whether the message was delivered before is not known here, so it is treated as a redelivery.
    let name = job.id.to_string();
    let ended = HookSubject { job: job.id, name: &name, task: &job.task, inputs: &input, success: false };
    match member(engine, hooks, ended, body, true).await {
        Member::Done => Ok(()),
        Member::Interrupted => Err(interrupted()),
        Member::NoQueue(why) => {
            // If the message was delivered before, its set may have been completed since.
            tracing::warn!(job = %job.id, why, "cannot record a rejected part in its part queue");
            Ok(())
        }
    }
}

/// Returns the error of a worker that has to stop: the message is requeued.
const fn interrupted() -> ProcessError {
    ProcessError::Interrupted
}

/// Fails a job that never started.
async fn fail(engine: &Engine, job: &mut Job, failure: Failure) -> Result<(), Interrupted> {
    let claimed = job.claim(Phase::Start, 1, "", engine.clock.now());
    debug_assert_eq!(claimed, crate::job::JobClaim::Granted, "a new job can be claimed");
    let how = AttemptOutcome::Failed { failure, retry_at: None };
    let again = outcome::end_attempt(engine, job, Phase::Start, how, None).await?;
    debug_assert_eq!(again, None, "there is no attempt after the last one");
    Ok(())
}

/// Counts a part of a job that ork has split. If it is the last one, the job fails as well, as this worker cannot
/// join it.
async fn own_part(
    engine: &Engine,
    message: &Message,
    part: &PartHook,
    epoch: u32,
    body: Bytes,
    failure: &Failure,
) -> Result<(), ProcessError> {
    let mark = engine.entropy.uuid().as_u128();
    let arrival = Arrival { total: part.total_parts, headed: true, mark, suspect: true };
    let entry = Entry::Part { epoch, id: part.part_id, total: part.total_parts, ok: false };
    let id = format!("{}.{}", message.job, part.part_id);
    let record = PartRecord { queue: part.part_queue.clone(), id, entry, body };
    let follows: Fire<'_> = Box::new(move |set, records| Box::pin(cannot_join(engine, message, set, records, failure)));
    match pass(engine, Barrier::new(arrival), Bodies::Drop, record, follows).await {
        Passed::Interrupted => Err(interrupted()),
        Passed::Done(_) | Passed::NoParts => Ok(()),
    }
}

/// Fails a job whose parts have all ended and whose task this worker does not know. Returns whether that was done.
async fn cannot_join(
    engine: &Engine,
    message: &Message,
    set: Set,
    records: Vec<HeldRecord>,
    failure: &Failure,
) -> bool {
    let is_head = |record: &&HeldRecord| matches!(record.entry, Entry::Head { epoch } if Some(epoch) == set.epoch());
    let head = records.iter().find(is_head).and_then(|record| serde_json::from_slice::<Head>(&record.body).ok());
    let Some(head) = head else {
        tracing::error!(job = %message.job, "cannot read the record of the split: dropping the parts of its job");
        return true;
    };
    let mut job = head.job(message.job, &message.task, engine.clock.now());
    if fail(engine, &mut job, failure.clone()).await.is_err() {
        return false;
    }
    let (name, success) = (job.id.to_string(), job.state == State::Succeeded);
    let ended = HookSubject { job: job.id, name: &name, task: &job.task, inputs: head.input(), success };
    fire(engine, &head.hooks(), ended).await.is_ok()
}
