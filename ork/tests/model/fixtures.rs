//! Common input of every world: the time, the actor, the job, a failure.

use bytes::Bytes;
use ork::{Failure, FailureKind, Timestamp};
use ork_core::event::{EventRouting, EventScope};
use ork_core::job::{Job, ReplyTo};
use ork_core::tx::{Actor, NewJob};

use super::store::id;

/// The time stands still: a row that is due later may be sent at any moment.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1);

/// A worker, or a client, that does not hold the rows it writes.
pub(crate) fn by(worker: Option<usize>) -> Actor {
    Actor {
        worker: super::store::worker(worker.unwrap_or(3)).clone(),
        now: NOW,
        hold: false,
        events: EventRouting::Outbox(EventScope::Jobs),
    }
}

pub(crate) fn new_job() -> NewJob {
    let mut job = Job::new(id(), "task", NOW);
    job.reply = Some(ReplyTo { queue: "client".into(), correlation: "1".into() });
    NewJob { job, input: Bytes::from_static(b"{}") }
}

pub(crate) fn failure() -> Failure {
    Failure::new(FailureKind::Task, "no")
}
