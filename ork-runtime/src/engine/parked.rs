//! An input that does not fit, and was made for another version of its task: parked, not failed. It may fit a worker that
//! is still to come, or one that is still there ([why so](../../../docs/decisions/0028-parking.md)).

use std::time::Duration;

use super::{Done, Engine};
use crate::clock::Timestamp;
use crate::failure::{Failure, FailureKind};
use crate::id::Fingerprint;
use crate::message::{Message, WorkKind};
use crate::registry::Task;
use crate::task::{CallError, TaskDef};

/// How often the time doubles after which it is looked at again, from one second: eight and a half minutes.
const DOUBLINGS: u32 = 9;

/// The longest that a message is kept back by a worker that cannot run it.
const LONGEST: Duration = Duration::from_secs(30);

/// Why an input is parked, if it is: it does not fit, and its sender had another schema.
///
/// What fits runs, whatever is said of it; what does not fit the very schema it was made for never will.
pub(super) fn why(def: &TaskDef, schemas: Option<Fingerprint>, error: &CallError) -> Option<Failure> {
    let CallError::Input(difference) = error else { return None };
    let (theirs, own) = (schemas?, def.fingerprint());
    if theirs == own {
        return None;
    }
    let words = format!(
        "parked for another version of `{}`: {difference} (the input was made for schema {theirs}, this worker has {own})",
        def.name
    );
    tracing::warn!(task = def.name, %difference, %theirs, %own, "input parked");
    Some(Failure { retryable: true, ..Failure::new(FailureKind::Input, words) })
}

/// When a parked input is looked at again, after so many attempts.
pub(super) fn again(engine: &Engine, attempts: u32) -> Timestamp {
    engine.clock.now() + Duration::from_secs(1 << attempts.saturating_sub(1).min(DOUBLINGS))
}

/// Why a message is parked that no store keeps. It is found before anything runs, so that what was given back again and
/// again for this does not look as if its workers had died.
pub(super) fn without_store(engine: &Engine, task: &Task, message: &Message) -> Option<String> {
    let is_part = message.hooks.as_ref().is_some_and(|hooks| hooks.part.is_some());
    let def = match message.kind {
        _ if engine.store.is_durable() => return None,
        WorkKind::Job if !is_part => task.entry(),
        WorkKind::Job | WorkKind::Single | WorkKind::Part { .. } => &task.work,
        WorkKind::Step | WorkKind::Join | WorkKind::Hooks(_) => return None,
    };
    if message.schema.is_none_or(|schema| schema == def.fingerprint()) {
        return None;
    }
    let error = def.check(&message.body).err()?;
    why(def, message.schema, &error).map(|failure| failure.message)
}

/// Without a store the broker keeps what is parked: it is given back, each time after a longer pause, and put aside when
/// that has gone on for too long.
pub(super) async fn hold(engine: &Engine, done: Done, redelivered: u32) -> Done {
    if !matches!(done, Done::OtherSchema(_)) {
        return done;
    }
    let pause = Duration::from_secs(1 << redelivered.min(5)).min(LONGEST);
    tokio::select! {
        biased;
        () = engine.force.cancelled() => Done::Interrupted,
        () = engine.clock.pause(pause) => done,
    }
}
