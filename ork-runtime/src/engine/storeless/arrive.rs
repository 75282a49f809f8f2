//! The end of a part of a storeless job: its record goes into the part queue, and the last record is followed by the
//! join.

use std::sync::Arc;

use bytes::Bytes;

use super::super::Engine;
use super::super::barrier::{Bodies, pass};
use super::super::part_sets::{Follows, Passed, SetCheck};
use super::check_set::follow_job;
use crate::barrier::{Arrival, Barrier, Entry};
use crate::broker::PartRecord;
use crate::failure::Failure;
use crate::hook::PartHook;
use crate::message::Message;
use crate::registry::Task;

/// A part that has ended.
pub(super) struct EndedPart<'a> {
    /// Its message.
    pub(super) message: &'a Message,
    /// The index of the part, and the queue in which its set is counted.
    pub(super) part: &'a PartHook,
    /// The epoch: the run of the split that has made it.
    pub(super) epoch: u32,
    /// Whether its message was delivered before, so that it may have been counted.
    pub(super) is_suspect: bool,
    /// Its output, or its failure.
    pub(super) result: Result<Bytes, Failure>,
}

/// Passes the barrier with a part that has ended. If the set is complete, this does what follows it.
pub(super) async fn arrive(
    engine: &Arc<Engine>,
    task: &Task,
    EndedPart { message, part, epoch, is_suspect, result }: EndedPart<'_>,
) -> Passed {
    let mark = engine.entropy.uuid().as_u128();
    let arrival = Arrival { total: part.total_parts, headed: true, mark, suspect: is_suspect };
    let entry = Entry::Part { epoch, id: part.part_id, total: part.total_parts, ok: result.is_ok() };
    let body = result.unwrap_or_else(|failure| serde_json::to_vec(&failure).unwrap_or_default().into());
    let id = format!("{}.{}", message.job, part.part_id);
    let record = PartRecord { queue: part.part_queue.clone(), id, entry, body };
    let fire = follow_job(engine, task, message);
    let passed = pass(engine, Barrier::new(arrival), Bodies::Keep, record.clone(), fire).await;
    engine.sets.record(&part.part_queue, &passed, engine.clock.now(), || {
        let message = Message { body: Bytes::new(), ..message.clone() };
        SetCheck { arrival, record, follows: Follows::Join(Box::new(message)) }
    });
    passed
}
