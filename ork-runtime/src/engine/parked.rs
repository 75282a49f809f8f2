//! Parking: an input that does not match this worker's version of the task, but was made for another version, is
//! parked instead of failed. A worker with that version may exist already, or may be deployed later
//! ([why](../../../docs/decisions/0028-parking.md)).

use std::time::Duration;

use super::action::Action;
use super::{Done, Engine};
use crate::clock::Timestamp;
use crate::failure::{Failure, FailureKind};
use crate::id::Fingerprint;
use crate::message::Message;
use crate::mutant::{self, Mutant};
use crate::registry::Task;
use crate::task::{CallError, TaskDef};

/// The number of times that the pause before a parked job is tried again doubles, starting at one second: up to eight
/// and a half minutes.
const DOUBLINGS: u32 = 9;

/// The longest pause before a worker requeues a message that it cannot run.
const LONGEST: Duration = Duration::from_secs(30);

/// Returns why an input is parked; `None` unless it does not match the task and its sender used another schema.
///
/// An input that matches runs, whatever schema it was made for. An input that does not match the very schema it was
/// made for never will.
pub(super) fn why(def: &TaskDef, schemas: Option<Fingerprint>, error: &CallError) -> Option<Failure> {
    let CallError::Input(difference) = error else { return None };
    let (theirs, own) = (schemas?, def.fingerprint());
    if theirs == own || mutant::is_on(Mutant::FailsParked) {
        return None;
    }
    let detail = format!(
        "parked for another version of `{}`: {difference} (the input was made for schema {theirs}, this worker has {own})",
        def.name
    );
    tracing::warn!(task = def.name, %difference, %theirs, %own, "input parked");
    let mut failure = Failure::new(FailureKind::Input, detail);
    failure.retryable = true;
    Some(failure)
}

/// Returns when a parked input is tried again after this many attempts.
pub(super) fn retry_at(engine: &Engine, attempts: u32) -> Timestamp {
    engine.clock.now() + Duration::from_secs(1 << attempts.saturating_sub(1).min(DOUBLINGS))
}

/// Returns why the message of a storeless job is parked, or `None`. This is checked before anything runs, so that
/// repeated requeues for this reason are not counted as deaths of its workers.
pub(super) fn without_store(task: &Task, action: Action, message: &Message) -> Option<String> {
    let def = action.def(task);
    if message.schema.is_none_or(|schema| schema == def.fingerprint()) {
        return None;
    }
    let error = def.check(&message.body).err()?;
    why(def, message.schema, &error).map(|failure| failure.message)
}

/// Delays the requeue of a parked message. Without a store the broker keeps it: it is requeued, each time after a
/// longer pause, and dead-lettered when that has gone on for too long.
pub(super) async fn hold(engine: &Engine, detail: String, redelivered: u32) -> Done {
    let pause = Duration::from_secs(1 << redelivered.min(5)).min(LONGEST);
    tokio::select! {
        biased;
        () = engine.force.cancelled() => Done::Interrupted,
        () = engine.clock.pause(pause) => Done::OtherSchema(detail),
    }
}
