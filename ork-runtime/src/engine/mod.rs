//! The engine: what happens to one delivery. Read [`process`] downward.
//!
//! `worker::consume` calls it once for each delivery. It calls, in this order, `claim` (is the work still to be done?),
//! `split` or `invoke` (run the function), and `settle` (record the result and send what follows). It knows ports only,
//! and returns a value: what happens to the delivery.

mod barrier;
pub(crate) mod batch;
mod call_times;
pub(crate) mod cancel;
mod canonical_json;
mod claim;
mod commit;
mod duplicates;
mod dynamic_split;
pub(crate) mod events;
mod external;
pub(crate) mod fail;
mod held_deliveries;
pub(crate) mod hooks;
mod hydrate;
mod inflight;
mod invoke;
mod join;
pub(crate) mod large_outputs;
mod late_reply;
mod lease;
mod limit;
mod metrics_buffer;
mod outbox;
mod outcome;
mod parked;
pub(crate) mod part_sets;
mod progress;
mod queue_activity;
mod reject;
mod running_calls;
#[cfg(feature = "workflow")]
pub(crate) mod scheduler;
pub(crate) mod services;
mod settle;
pub(crate) mod slots;
mod split;
mod state;
mod step;
pub(crate) mod storeless;
mod unstorable;

use std::sync::Arc;

use crate::broker::{Delivery, Rejected};
use crate::job::Phase;
use crate::message::{Message, WorkKind};
use crate::mutant::{self, Mutant};
use crate::registry::Task;
use crate::task::TaskDef;
use crate::task::builtin::CANCEL;
use crate::tx::Limit;
use crate::workflow_run::RUN;
#[cfg(feature = "workflow")]
use crate::workflow_run::SCHEDULE;

use self::claim::{ClaimedJob, ClaimedPart};
use self::invoke::Hold;
use self::lease::DeliveryGuard;
pub(crate) use self::metrics_buffer::MetricsReceiver;
pub(crate) use self::outbox::{Batch, EventReceiver, OutboxReceiver, RowReceiver};
use self::outcome::{Done, ProcessError};
pub(crate) use self::progress::ProgressReceiver;
use self::slots::{Place, Slot, SlotKind};
pub(crate) use self::state::{Engine, Ports, Settings};
use self::step::Step;

/// Brings one delivery to its end, and settles it; under this slot, if it has one already.
///
/// # Cancel safety
/// If the future is dropped the delivery is neither settled nor lost: the broker or the store hands it out again.
pub(crate) async fn process(engine: &Arc<Engine>, delivery: Delivery, mut slot: Option<Slot>) {
    let Delivery { mut message, redelivered, anonymous, acker: receipt } = delivery;
    let mut tenure = DeliveryGuard::Delivery(receipt);
    let settlement = loop {
        let arrival = Arrival { redelivered, anonymous, slot: slot.take() };
        match run(engine, &mut message, arrival, &mut tenure).await {
            Ok(done) => break settle::settlement(parked::hold(engine, done, redelivered).await),
            Err(error) => {
                let message = message.as_ref().ok();
                if let Some(settlement) = Box::pin(reject::settlement(engine, error, message, &mut tenure)).await {
                    break settlement;
                }
            }
        }
    };
    tenure.settle(engine, settlement).await;
}

/// How a message has come.
struct Arrival {
    /// How often it was delivered before.
    redelivered: u32,
    /// Whether its sender gave it no id.
    anonymous: bool,
    /// The slot that its call has already.
    slot: Option<Slot>,
}

async fn run(
    engine: &Arc<Engine>,
    message: &mut Result<Message, Rejected>,
    Arrival { redelivered, anonymous, mut slot }: Arrival,
    tenure: &mut DeliveryGuard,
) -> Result<Done, ProcessError> {
    let message = message.as_mut().map_err(|refused| ProcessError::Refused(Box::new(refused.clone()), None))?;
    // What follows a job is in the store, so it needs no task: that may be one that no worker knows.
    if let WorkKind::Hooks(which) = message.kind
        && engine.store.is_durable()
    {
        let paid = Box::pin(hooks::pay(engine, message.job, which, redelivered)).await?;
        return Ok(if paid { Done::Settled } else { Done::Interrupted });
    }
    let task = reject::check(engine, message)?;
    let mut step = None;
    if hydrate::inherits(engine, &task, message) {
        step = Box::pin(hydrate::inherit(engine, &task, message)).await?;
    }
    let message = &*message;
    let task = step.as_ref().map_or(task, |step| Arc::clone(&step.task));
    let limit = limit::limit_of(&task, step.as_deref(), message);
    // Parts that are counted by the broker need no store, and ask none.
    let counted = message.hooks.as_deref().and_then(|hooks| hooks.part.as_ref());
    let has_parts = match message.kind {
        WorkKind::Part { .. } => counted.is_none(),
        WorkKind::Step | WorkKind::Join | WorkKind::Hooks(_) => true,
        WorkKind::Job | WorkKind::Single => false,
    };
    if (has_parts || limit.is_some()) && !engine.store.is_durable() {
        return Ok(Box::pin(reject::needs_store(engine, message, redelivered)).await);
    }
    if let Some(words) = parked::without_store(engine, &task, message) {
        return Ok(Done::OtherSchema(words));
    }
    if anonymous && engine.store.is_durable() {
        return Box::pin(claim::adopt(engine, message)).await;
    }
    // A second delivery waits for the first: neither a lost connection nor a sign of life that came too late must run
    // twice what still runs here.
    let what = inflight::what(message);
    let _turn = if let Some(turn) = engine.turns.try_take(what) {
        turn
    } else {
        // The first delivery may need this slot for its next attempt.
        if !mutant::is_on(Mutant::HoldsSlotForTurn) {
            slot = None;
        }
        tokio::select! {
            biased;
            () = engine.force.cancelled() => return Ok(Done::Interrupted),
            turn = engine.turns.take(what) => turn,
        }
    };
    // A claim says that a call is under way, and takes a permit where there is a limit; so the slot comes first.
    // After too many losses the function is not called again, so that no slot is needed to fail.
    let is_counted_part = matches!(message.kind, WorkKind::Part { .. }) && counted.is_some();
    let is_exhausted = (is_counted_part || !engine.store.is_durable()) && redelivered > engine.settings.losses;
    let kind = match &step {
        _ if is_exhausted && !mutant::is_on(Mutant::WaitsToFail) => None,
        // It is made many, or cannot be made.
        Some(step) if message.kind == WorkKind::Step && !step.is_call() => None,
        _ => SlotKind::of_message(&task, message),
    };
    // One more loss would fail it, so that it must not be for the sake of what runs beside it.
    let is_suspect = redelivered > 0 && redelivered >= engine.settings.losses;
    let (slot, alone) = slots::for_call(engine, kind, slot, is_suspect).await;
    // The delivery may have been lost meanwhile: then the next one calls the function.
    if (kind.is_some() && slot.is_none()) || tenure.is_lost() {
        return Ok(Done::Interrupted);
    }
    if let (WorkKind::Part { epoch, index }, Some(part)) = (message.kind, counted) {
        let delivered = storeless::Delivered { redelivered, slot, tenure };
        let part = storeless::part(engine, &task, (message, part), (epoch, index), delivered);
        return slots::keep_alone(engine, alone, Box::pin(part)).await;
    }
    let dispatch = Dispatch { message, redelivered, limit, slot, step, tenure };
    slots::keep_alone(engine, alone, Box::pin(dispatched(engine, &task, dispatch))).await
}

/// Runs the function that a message asks for.
async fn dispatched(engine: &Arc<Engine>, task: &Arc<Task>, dispatch: Dispatch<'_>) -> Result<Done, ProcessError> {
    let message = dispatch.message;
    let is_part = message.hooks.as_deref().is_some_and(|hooks| hooks.part.is_some());
    match message.kind {
        // Who is a part already is not split once more.
        WorkKind::Job if is_part => job(engine, task, &task.work, Phase::Start, dispatch).await,
        WorkKind::Job | WorkKind::Step => job(engine, task, task.entry(), Phase::Start, dispatch).await,
        WorkKind::Single => job(engine, task, &task.work, Phase::Start, dispatch).await,
        WorkKind::Join => job(engine, task, reject::join_of(task, message)?, Phase::Join, dispatch).await,
        WorkKind::Part { epoch, index } => part(engine, task, (epoch, index), dispatch).await,
        WorkKind::Hooks(_) => Ok(Done::Settled),
    }
}

/// A dispatch that is worked on.
struct Dispatch<'a> {
    message: &'a Message,
    redelivered: u32,
    /// The concurrency limit that its call is under.
    limit: Option<Limit>,
    /// The slot of its call, if it is one.
    slot: Option<Slot>,
    /// The step that it is of a run.
    step: Option<Arc<Step>>,
    tenure: &'a mut DeliveryGuard,
}

/// A job, its split, or its join.
async fn job(
    engine: &Arc<Engine>,
    task: &Task,
    def: &TaskDef,
    phase: Phase,
    Dispatch { message, redelivered, limit, mut slot, step, tenure }: Dispatch<'_>,
) -> Result<Done, ProcessError> {
    let limit = limit.as_ref();
    let is_split = task.split.as_ref().is_some_and(|split| std::ptr::eq(split, def));
    let mut terms = claim::Terms {
        firm: redelivered > 0 || is_split,
        may_be_copy: duplicates::may_be(engine, message, redelivered),
    };
    let job = loop {
        let worker = match claim::job(engine, message, phase, terms, (limit, redelivered)).await? {
            ClaimedJob::Ours(job) => break job,
            ClaimedJob::Nothing => {
                Box::pin(late_reply::again(engine, message, redelivered > 0)).await?;
                return Ok(Done::Settled);
            }
            ClaimedJob::Elsewhere(worker) => worker,
        };
        // What waits keeps no slot from what can run.
        let kind = slot.take().map(|_slot| SlotKind::of(def));
        if Box::pin(duplicates::outlive(engine, message, tenure, &worker)).await? == duplicates::Fate::Dead {
            terms = claim::Terms { firm: true, may_be_copy: false };
        }
        if let Some(kind) = kind {
            slot = slots::wait(engine, kind).await;
            if slot.is_none() {
                return Ok(Done::Interrupted);
            }
        }
    };
    if job.losses > engine.settings.losses {
        if engine.store.is_durable() {
            return Box::pin(settle::lost_job(engine, (job, limit), phase)).await;
        }
        return Box::pin(storeless::lost_job(engine, (task, message), job, is_split)).await;
    }
    match task.name() {
        CANCEL => return Box::pin(cancel::ask(engine, job, task, message)).await,
        RUN => return Box::pin(step::begin(engine, job, task, message)).await,
        #[cfg(feature = "workflow")]
        SCHEDULE => return Box::pin(scheduler::tick(engine, job, task, message)).await,
        _ => {}
    }
    if let Some(step) = step.as_ref().filter(|step| !step.is_call()) {
        let running = engine.running.enter(job.id);
        let fan = Box::pin(step::fan_out(engine, &job, step, running.token()));
        let ended = lease::keep(engine, message, tenure, fan).await?;
        drop(running);
        return Box::pin(settle::split(engine, job, (def, limit), ended)).await;
    }
    if is_split && !engine.store.is_durable() {
        return Box::pin(storeless::split(engine, (task, def), message, (job, tenure))).await;
    }
    if is_split {
        let running = engine.running.enter(job.id);
        // A split is rare and its future large: on the heap it does not weigh on every other delivery.
        let split = Box::pin(split::split(engine, &job, task, def, message, running.token()));
        let ended = lease::keep(engine, message, tenure, split).await?;
        drop(running);
        return Box::pin(settle::split(engine, job, (def, None), ended)).await;
    }
    let (mut job, kind) = (job, SlotKind::of(def));
    loop {
        // The first attempt has its slot; later ones are made here only where no store keeps their time.
        let Some(slot) = (match slot.take() {
            Some(slot) => Some(slot),
            None => slots::wait_begun(engine, kind).await,
        }) else {
            return Ok(Done::Interrupted);
        };
        let mut about = services::about_job(&job);
        about.step = step.as_ref().map(|step| Arc::clone(&step.name));
        let running = engine.running.enter(job.id);
        let parts = Box::pin(join::parts(engine, &job, phase, running.token())).await?;
        let call = invoke::invoke(
            engine,
            def,
            message,
            about,
            parts,
            Hold { running: &running, place: Place::Own { _slot: slot } },
        );
        let called = lease::call(engine, message, tenure, call).await;
        drop(running);
        let output = message.hooks.as_ref().and_then(|_| called.0.returned().cloned());
        match settle::job(engine, &mut job, (def, limit), phase, called).await? {
            settle::Next::Done(done) if engine.store.is_durable() => return Ok(done),
            settle::Next::Done(done) => {
                let fresh = redelivered == 0;
                return Box::pin(storeless::follow(engine, message, (&job, output), fresh, done)).await;
            }
            // Without a store nobody else can keep the time of the next attempt.
            settle::Next::AgainHere(due) => {
                tokio::select! {
                    biased;
                    () = engine.force.cancelled() => return Ok(Done::Interrupted),
                    () = engine.clock.pause_until(due) => claim::again(engine, &mut job, phase),
                }
            }
        }
    }
}

/// One part of a job.
async fn part(
    engine: &Arc<Engine>,
    task: &Task,
    (epoch, index): (u32, u64),
    Dispatch { message, redelivered, limit, slot, step, tenure }: Dispatch<'_>,
) -> Result<Done, ProcessError> {
    let limit = limit.as_ref();
    let Some(slot) = slot else { return Ok(Done::Interrupted) };
    let claimed = claim::part(engine, message, (epoch, index), (limit, redelivered)).await?;
    let ClaimedPart::Ours { key, count, losses } = claimed else {
        return Ok(Done::Settled);
    };
    if losses > engine.settings.losses {
        return Box::pin(settle::lost_part(engine, (key, limit), losses)).await;
    }
    // Another worker runs the part now. To release it here would clear that worker's mark; only a permit must be
    // returned.
    if tenure.is_lost() && limit.is_none() {
        return Ok(Done::Interrupted);
    }
    let running = engine.running.enter(message.job);
    let about = services::about_part(message, (index, count), step.as_ref());
    let call = invoke::invoke(
        engine,
        &task.work,
        message,
        about,
        None,
        Hold { running: &running, place: Place::Own { _slot: slot } },
    );
    let (called, _) = lease::call(engine, message, tenure, call).await;
    drop(running);
    settle::part(engine, (&task.work, limit), (key, message.schema), called).await
}
