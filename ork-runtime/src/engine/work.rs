//! The forms that a delivery takes on its way through the engine: [`Incoming`], [`Item`], and [`Ended`].

use std::sync::Arc;

use bytes::Bytes;

use super::action::Action;
use super::inflight::{InflightGuard, part_key};
use super::lease::DeliveryGuard;
use super::outcome::WorkOutcome;
use super::slots::{Alone, Place, Slot};
use super::step::Step;
use super::{Done, Engine, ProcessError};
use crate::broker::{Delivery, Rejected};
use crate::job::Job;
use crate::message::Message;
use crate::registry::Task;
use crate::task::TaskDef;
use crate::tx::{Limit, PartKey, Permit};

/// Deliveries that are processed together, and the slots that were taken for them. A delivery that cannot share a claim
/// with others is a batch of one.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The deliveries: one, or several with the same [batch key](super::batch::Key).
    pub(super) deliveries: Vec<Incoming>,
    /// The slots of the calls; `None` if the delivery needs no slot, or waits for one itself.
    pub(super) slots: Option<Slot>,
}

impl Batch {
    /// Creates a batch of deliveries that have the same [batch key](super::batch::Key), or of one delivery.
    pub(crate) fn new(deliveries: Vec<Delivery>, slots: Option<Slot>) -> Self {
        Self { deliveries: deliveries.into_iter().map(Incoming::from).collect(), slots }
    }

    /// Creates a batch of one delivery, which has no slot yet.
    pub(super) fn one(delivery: Incoming) -> Self {
        Self { deliveries: vec![delivery], slots: None }
    }
}

/// A delivery as it has arrived, before the engine has looked at it.
#[derive(Debug)]
pub(super) struct Incoming {
    /// The message, or the reason why it could not be read.
    pub(super) message: Result<Message, Rejected>,
    /// The number of times that the message was delivered before, as far as the broker counts.
    pub(super) redelivered: u32,
    /// Whether no worker can have received the message before. If one may have, its call may still be running.
    pub(super) is_first: bool,
    /// Whether the sender gave the message no id, so that each delivery of it would make another job.
    pub(super) anonymous: bool,
    /// The unsettled delivery. A lease replaces it when the work takes long, so that the broker does not take it back.
    pub(super) guard: DeliveryGuard,
}

impl From<Delivery> for Incoming {
    fn from(delivery: Delivery) -> Self {
        let is_first = delivery.is_first();
        let Delivery { message, redelivered, is_copy: _, anonymous, acker } = delivery;
        Self { message, redelivered, is_first, anonymous, guard: DeliveryGuard::Delivery(acker) }
    }
}

/// A delivery that was admitted: what its message inherits is known, no other delivery of the same work is being
/// processed here, and it has its place.
#[derive(Debug)]
pub(super) struct Item {
    /// The message. It could be read, and this program has its task.
    pub(super) message: Message,
    /// The input that the message inherits from its job or its step; `None` if its body is the input.
    pub(super) inherited: Option<Bytes>,
    /// The number of times that the message was delivered before. If one more loss would fail the work, its call runs
    /// alone.
    pub(super) redelivered: u32,
    /// Whether no worker can have received the message before.
    pub(super) is_first: bool,
    /// The unsettled delivery. A lease replaces it when the work takes long, so that the broker does not take it back.
    pub(super) guard: DeliveryGuard,
    /// The entry of the work in [`Engine::inflight`]. Until it is dropped, other deliveries of the same work wait.
    pub(super) _inflight: InflightGuard,
    /// The place where its call runs. `None` if it makes no call, or has made it.
    pub(super) place: Option<Place>,
    /// The right to run alone, which keeps all other calls from starting. `None` if the call may run beside others.
    pub(super) alone: Option<Alone>,
    /// Whether the process that was running the job is dead, so that the message cannot be a duplicate.
    pub(super) runner_is_dead: bool,
}

impl Item {
    /// Settles the delivery, or its lease.
    pub(super) async fn settle(self, engine: &Engine, done: Done) {
        self.guard.settle(engine, done.disposition()).await;
    }

    /// Returns the input of the call.
    pub(super) fn input(&self) -> &Bytes {
        self.inherited.as_ref().unwrap_or(&self.message.body)
    }

    /// Turns the item back into a delivery, to be admitted once more. Its slot is free then, and other deliveries of
    /// the same work no longer wait for it.
    pub(super) fn into_incoming(self) -> Incoming {
        let Self { message, redelivered, is_first, guard, .. } = self;
        // With a store, a message without an id is adopted and never becomes an item; without one, the flag has no
        // effect.
        Incoming { message: Ok(message), redelivered, is_first, anonymous: false, guard }
    }

    /// Returns whether one more loss would fail this work. If so, it runs alone, because a crash that another call
    /// causes must not count against it.
    pub(super) const fn is_suspect(&self, engine: &Engine) -> bool {
        is_suspect(engine, self.redelivered)
    }

    /// Returns the part that the message asks for; `None` if it asks for no part.
    pub(super) fn part(&self) -> Option<PartKey> {
        part_key(&self.message)
    }
}

/// Returns whether one more loss would fail work that was delivered this often before.
pub(super) const fn is_suspect(engine: &Engine, redelivered: u32) -> bool {
    redelivered > 0 && redelivered >= engine.settings.max_worker_losses
}

/// The data that the items of a group have in common.
#[derive(Debug)]
pub(super) struct Common {
    /// The task, with the options that the workflow sets if the job is a step.
    pub(super) task: Arc<Task>,
    /// The action that the messages request. It is the same for all items, so that they can share a claim.
    pub(super) action: Action,
    /// The concurrency limit of the calls. `None` if they are under no limit.
    pub(super) limit: Option<Limit>,
    /// The step that the job is in its workflow run. `None` outside of workflows.
    pub(super) step: Option<Arc<Step>>,
}

impl Common {
    /// Returns the function that is called, or whose options apply.
    pub(super) fn def(&self) -> &TaskDef {
        self.action.def(&self.task)
    }
}

/// Items that are claimed in one transaction, and settled in another.
#[derive(Debug)]
pub(super) struct Group {
    /// The data that all items share.
    pub(super) common: Arc<Common>,
    /// The items. Those of one group can share a transaction.
    pub(super) items: Vec<Item>,
}

/// Work that was claimed.
#[derive(Debug)]
pub(super) enum ClaimedWork {
    /// The start or the join of a job.
    Job {
        /// The job, as claimed.
        job: Box<Job>,
        /// The permit of the call, if it is under a limit.
        permit: Option<Permit>,
    },
    /// A part of a job in the store.
    Part {
        /// The part and its attempt.
        key: PartKey,
        /// The number of parts of the job, if it is known.
        count: Option<u64>,
        /// The number of times that its workers died while they ran it.
        losses: u32,
        /// The permit of the call, if it is under a limit.
        permit: Option<Permit>,
    },
    /// A part that a part queue counts: it is not claimed, as no store knows it.
    CountedPart,
}

/// The result of a claim.
pub(super) type ClaimResult = Result<ClaimedWork, NotGranted>;

/// The reason why work is not run.
#[derive(Debug)]
pub(super) enum NotGranted {
    /// The work is done, waits for a permit, or the message is stale.
    Declined,
    /// The named process is running the job and may be alive.
    RunningElsewhere(String),
    /// The work cannot be run at all.
    Rejected(ProcessError),
}

/// An item whose work has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) item: Item,
    pub(super) claimed: ClaimedWork,
    pub(super) outcome: Result<WorkOutcome, ProcessError>,
}

/// An item that was not settled after its work had ended.
#[derive(Debug)]
pub(super) enum Unsettled {
    /// Its work could not be done.
    Failed(Item, ProcessError),
    /// The next attempt at its work is due, and this process makes it.
    Again(Item, ClaimedWork),
}
