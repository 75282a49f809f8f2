//! The work that follows a storeless job, and any job that is a part of a set that another program made: the record in
//! the part queue, and the hooks.

use bytes::Bytes;

use super::super::barrier::{Bodies, pass};
use super::super::hooks::send::{HookSubject, fire};
use super::super::outcome::rejected;
use super::super::part_sets::{Follows, Passed, SetCheck};
use super::super::work::Item;
use super::super::{Done, Engine, ProcessError};
use super::check_set::follow_set;
use crate::barrier::{Arrival, Barrier, End, Entry};
use crate::broker::{DeadLetterReason, PartRecord};
use crate::hook::Hooks;
use crate::job::{Job, State};

/// Does what follows a storeless job that has ended. If the job is part of an external set, this records it in the
/// part queue, and sends the hooks once the set is complete; otherwise it sends the hooks.
pub(super) async fn follow(
    engine: &Engine,
    item: &Item,
    job: &Job,
    output: Option<Bytes>,
    done: Done,
) -> Result<Done, ProcessError> {
    let Item { message, is_first, .. } = item;
    let Some(hooks) = message.hooks.as_deref().filter(|_| job.state.is_final()) else { return Ok(done) };
    let success = job.state == State::Succeeded;
    let failure = job.failure.clone().filter(|_| !success);
    let body = match (output, failure) {
        (Some(output), None) => output,
        (_, failure) => serde_json::to_vec(&failure).unwrap_or_default().into(),
    };
    let name = job.id.to_string();
    let ended = HookSubject { job: job.id, name: &name, task: &message.task, inputs: &message.body, success };
    match member(engine, hooks, ended, body, !is_first).await {
        Member::Done => Ok(done),
        Member::Interrupted => Ok(Done::Interrupted),
        // A redelivered part may have been counted before: then its set is complete, and the queue was removed.
        Member::NoQueue(_) if !is_first => Ok(done),
        Member::NoQueue(detail) => Err(rejected(message, DeadLetterReason::NoPartQueue, detail)),
    }
}

/// The result of carrying out the hooks of a job that has ended.
pub(crate) enum Member {
    /// They were sent or, for a part of a set, the part was counted.
    Done,
    /// The worker has to stop.
    Interrupted,
    /// There is no part queue; with the reason.
    NoQueue(String),
}

/// Carries out the hooks of a job: those of the job alone, or those of a set of which it is one part. `body` is its
/// output or its failure, and `is_suspect` says whether it may have been counted before.
pub(crate) async fn member(
    engine: &Engine,
    hooks: &Hooks,
    ended: HookSubject<'_>,
    body: Bytes,
    is_suspect: bool,
) -> Member {
    let Hooks { part, on_complete } = hooks;
    let Some(part) = part else {
        return match fire(engine, on_complete, ended).await {
            Ok(()) => Member::Done,
            Err(_) => Member::Interrupted,
        };
    };
    let HookSubject { job, task, success, .. } = ended;
    let mark = engine.entropy.uuid().as_u128();
    let arrival = Arrival { total: part.total_parts, headed: false, mark, suspect: is_suspect };
    let entry = Entry::Part { epoch: 0, id: part.part_id, total: part.total_parts, ok: success };
    let record = PartRecord { queue: part.part_queue.clone(), id: job.to_string(), entry, body };
    let follows = follow_set(engine, task, &part.part_queue, on_complete);
    let passed = pass(engine, Barrier::new(arrival), Bodies::Drop, record.clone(), follows).await;
    engine.sets.record(&part.part_queue, &passed, engine.clock.now(), || {
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
