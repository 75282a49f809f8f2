//! The engine: processes one delivery at a time. Start reading at [`process`].
//!
//! `worker::consume` calls it once for each delivery. It calls, in this order, `claim` (is the work still to be
//! done?), `split` or `invoke` (run the function), and `settle` (record the result and send what follows). It depends
//! on ports only. The result of each step is a value, and the disposition of the delivery follows from the last one.

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
use self::slots::{CallSlot, Slot, SlotKind};
pub(crate) use self::state::{Engine, Receivers, Settings, Setup};
use self::step::Step;

/// Processes one delivery and settles it. `slot` is the slot that the caller has already taken for it, if any.
///
/// # Cancel safety
/// If the future is dropped, the delivery is neither settled nor lost: the broker or the store delivers it again.
pub(crate) async fn process(engine: &Arc<Engine>, delivery: Delivery, mut slot: Option<Slot>) {
    let is_first = delivery.is_first();
    let Delivery { mut message, redelivered, is_copy: _, anonymous, acker: receipt } = delivery;
    let mut guard = DeliveryGuard::Delivery(receipt);
    let settlement = loop {
        let arrival = Arrival { redelivered, is_first, anonymous, slot: slot.take() };
        match run(engine, &mut message, arrival, &mut guard).await {
            Ok(done) => break settle::settlement(parked::hold(engine, done, redelivered).await),
            Err(error) => {
                let message = message.as_ref().ok();
                if let Some(settlement) = Box::pin(reject::settlement(engine, error, message, &mut guard)).await {
                    break settlement;
                }
            }
        }
    };
    guard.settle(engine, settlement).await;
}

/// How a message arrived.
struct Arrival {
    /// How many times the message was delivered before.
    redelivered: u32,
    /// Whether no worker can have received the message before.
    is_first: bool,
    /// Whether the sender gave the message no id.
    anonymous: bool,
    /// The slot that was already taken for its call, if any.
    slot: Option<Slot>,
}

async fn run(
    engine: &Arc<Engine>,
    message: &mut Result<Message, Rejected>,
    Arrival { redelivered, is_first, anonymous, mut slot }: Arrival,
    guard: &mut DeliveryGuard,
) -> Result<Done, ProcessError> {
    let message = message.as_mut().map_err(|refused| ProcessError::Rejected(Box::new(refused.clone()), None))?;
    // The hooks of a job are in the store, so sending them needs no task: no worker may know that task any more.
    if let WorkKind::Hooks(which) = message.kind
        && engine.store.is_durable()
    {
        let sent = Box::pin(hooks::send_stored(engine, message.job, which, redelivered)).await?;
        return Ok(if sent { Done::Settled } else { Done::Interrupted });
    }
    let task = reject::check(engine, message)?;
    let mut step = None;
    if hydrate::inherits(engine, &task, message) {
        step = Box::pin(hydrate::inherit(engine, &task, message)).await?;
    }
    let message = &*message;
    let task = step.as_ref().map_or(task, |step| Arc::clone(&step.task));
    let limit = limit::limit_of(&task, step.as_deref(), message);
    // Parts that the broker counts need no store, and do not query one.
    let counted = message.hooks.as_deref().and_then(|hooks| hooks.part.as_ref());
    let has_parts = match message.kind {
        WorkKind::Part { .. } => counted.is_none(),
        WorkKind::Step | WorkKind::Join | WorkKind::Hooks(_) => true,
        WorkKind::Job | WorkKind::Single => false,
    };
    if (has_parts || limit.is_some()) && !engine.store.is_durable() {
        return Ok(Box::pin(reject::needs_store(engine, message, redelivered)).await);
    }
    if let Some(detail) = parked::without_store(engine, &task, message) {
        return Ok(Done::OtherSchema(detail));
    }
    if anonymous && engine.store.is_durable() {
        return Box::pin(claim::adopt(engine, message)).await;
    }
    // A second delivery of the same work waits for the first one. Otherwise a lost connection or a late heartbeat
    // could start a second run of a call that is still running here.
    let call_key = inflight::call_key(message);
    let _inflight = if let Some(entry) = engine.inflight.try_take(call_key) {
        entry
    } else {
        // The first delivery may need this slot for its next attempt.
        if !mutant::is_on(Mutant::HoldsSlotForTurn) {
            slot = None;
        }
        tokio::select! {
            biased;
            () = engine.force.cancelled() => return Ok(Done::Interrupted),
            entry = engine.inflight.take(call_key) => entry,
        }
    };
    // A claim means that a call is under way, and takes a permit if there is a limit, so the slot is acquired first.
    // After too many losses the function is not called any more, and failing the work needs no slot.
    let is_counted_part = matches!(message.kind, WorkKind::Part { .. }) && counted.is_some();
    let is_exhausted = (is_counted_part || !engine.store.is_durable()) && redelivered > engine.settings.losses;
    let kind = match &step {
        _ if is_exhausted && !mutant::is_on(Mutant::WaitsToFail) => None,
        // The step fans out, or its input cannot be built.
        Some(step) if message.kind == WorkKind::Step && !step.is_call() => None,
        _ => SlotKind::of_message(&task, message),
    };
    // One more loss would fail this work, so it runs alone: a crash that another call causes must not count against
    // it.
    let is_suspect = redelivered > 0 && redelivered >= engine.settings.losses;
    let (slot, alone) = slots::wait_for_call(engine, kind, slot, is_suspect).await;
    // The delivery may have been lost in the meantime: the redelivery calls the function then.
    if (kind.is_some() && slot.is_none()) || guard.is_lost() {
        return Ok(Done::Interrupted);
    }
    if let (WorkKind::Part { epoch, index }, Some(part)) = (message.kind, counted) {
        let delivered = storeless::Delivered { redelivered, is_first, slot, guard };
        let part = storeless::part(engine, &task, (message, part), (epoch, index), delivered);
        return slots::keep_alone(engine, alone, Box::pin(part)).await;
    }
    let dispatch = Dispatch { message, redelivered, is_first, limit, slot, step, guard };
    slots::keep_alone(engine, alone, Box::pin(dispatched(engine, &task, dispatch))).await
}

/// Runs the function that a message asks for.
async fn dispatched(engine: &Arc<Engine>, task: &Arc<Task>, dispatch: Dispatch<'_>) -> Result<Done, ProcessError> {
    let message = dispatch.message;
    let is_part = message.hooks.as_deref().is_some_and(|hooks| hooks.part.is_some());
    match message.kind {
        // A job that is already a part is not split again.
        WorkKind::Job if is_part => job(engine, task, &task.work, Phase::Start, dispatch).await,
        WorkKind::Job | WorkKind::Step => job(engine, task, task.entry(), Phase::Start, dispatch).await,
        WorkKind::Single => job(engine, task, &task.work, Phase::Start, dispatch).await,
        WorkKind::Join => job(engine, task, reject::join_of(task, message)?, Phase::Join, dispatch).await,
        WorkKind::Part { epoch, index } => part(engine, task, (epoch, index), dispatch).await,
        WorkKind::Hooks(_) => Ok(Done::Settled),
    }
}

/// A message that is being processed, with everything it needs.
struct Dispatch<'a> {
    /// The message, with what it inherits.
    message: &'a Message,
    /// How many times the message was delivered before.
    redelivered: u32,
    /// Whether no worker can have received the message before.
    is_first: bool,
    /// The concurrency limit of its call, or `None`.
    limit: Option<Limit>,
    /// The slot of its call; `None` if it makes no call.
    slot: Option<Slot>,
    /// The step that the job is in its workflow run, or `None` outside of workflows.
    step: Option<Arc<Step>>,
    /// The delivery, which a lease replaces when the work takes long.
    guard: &'a mut DeliveryGuard,
}

/// Processes a job, its split, or its join.
async fn job(
    engine: &Arc<Engine>,
    task: &Task,
    def: &TaskDef,
    phase: Phase,
    Dispatch { message, redelivered, is_first, limit, mut slot, step, guard }: Dispatch<'_>,
) -> Result<Done, ProcessError> {
    let limit = limit.as_ref();
    let is_split = task.split.as_ref().is_some_and(|split| std::ptr::eq(split, def));
    let mut claim_options = claim::ClaimOptions {
        make_durable: !is_first || is_split,
        maybe_duplicate: duplicates::may_be_duplicate(engine, message, redelivered),
    };
    let job = loop {
        let worker = match claim::job(engine, message, phase, claim_options, (limit, redelivered)).await? {
            ClaimedJob::Granted(job) => break job,
            ClaimedJob::Declined => {
                Box::pin(late_reply::send(engine, message, !is_first)).await?;
                return Ok(Done::Settled);
            }
            ClaimedJob::RunningElsewhere(worker) => worker,
        };
        // A delivery that waits must not keep a slot from work that can run.
        let kind = slot.take().map(|_slot| SlotKind::of(def));
        if Box::pin(duplicates::wait_for_runner(engine, message, guard, &worker)).await?
            == duplicates::RunnerStatus::Dead
        {
            claim_options = claim::ClaimOptions { make_durable: true, maybe_duplicate: false };
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
        CANCEL => return Box::pin(cancel::run(engine, job, task, message)).await,
        RUN => return Box::pin(step::begin(engine, job, task, message)).await,
        #[cfg(feature = "workflow")]
        SCHEDULE => return Box::pin(scheduler::fire(engine, job, task, message)).await,
        _ => {}
    }
    if let Some(step) = step.as_ref().filter(|step| !step.is_call()) {
        let running = engine.running.enter(job.id);
        let fan = Box::pin(step::fan_out(engine, &job, step, running.token()));
        let ended = lease::keep(engine, message, guard, fan).await?;
        drop(running);
        return Box::pin(settle::split(engine, job, (def, limit), ended)).await;
    }
    if is_split && !engine.store.is_durable() {
        return Box::pin(storeless::split(engine, (task, def), message, (job, guard))).await;
    }
    if is_split {
        let running = engine.running.enter(job.id);
        // A split is rare and its future is large: boxed, it does not enlarge the future of every other delivery.
        let split = Box::pin(split::split(engine, &job, task, def, message, running.token()));
        let ended = lease::keep(engine, message, guard, split).await?;
        drop(running);
        return Box::pin(settle::split(engine, job, (def, None), ended)).await;
    }
    let (mut job, kind) = (job, SlotKind::of(def));
    loop {
        // The first attempt has its slot; later attempts run here only if no store records when they are due.
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
            Hold { running: &running, place: CallSlot::Exclusive { _slot: slot } },
        );
        let called = lease::call(engine, message, guard, call).await;
        drop(running);
        let output = message.hooks.as_ref().and_then(|_| called.0.returned().cloned());
        match settle::job(engine, &mut job, (def, limit), phase, called).await? {
            settle::Next::Done(done) if engine.store.is_durable() => return Ok(done),
            settle::Next::Done(done) => {
                return Box::pin(storeless::follow(engine, message, (&job, output), is_first, done)).await;
            }
            // Without a store only this process knows when the next attempt is due.
            settle::Next::AgainHere(due) => {
                tokio::select! {
                    biased;
                    () = engine.force.cancelled() => return Ok(Done::Interrupted),
                    () = engine.clock.pause_until(due) => claim::next_attempt(engine, &mut job, phase),
                }
            }
        }
    }
}

/// Processes one part of a job.
async fn part(
    engine: &Arc<Engine>,
    task: &Task,
    (epoch, index): (u32, u64),
    Dispatch { message, redelivered, limit, slot, step, guard, .. }: Dispatch<'_>,
) -> Result<Done, ProcessError> {
    let limit = limit.as_ref();
    let Some(slot) = slot else { return Ok(Done::Interrupted) };
    let claimed = claim::part(engine, message, (epoch, index), (limit, redelivered)).await?;
    let ClaimedPart::Granted { key, count, losses } = claimed else {
        return Ok(Done::Settled);
    };
    if losses > engine.settings.losses {
        return Box::pin(settle::lost_part(engine, (key, limit), losses)).await;
    }
    // Another worker runs the part now. Releasing the part here would clear that worker's mark; only a permit has to
    // be returned.
    if guard.is_lost() && limit.is_none() {
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
        Hold { running: &running, place: CallSlot::Exclusive { _slot: slot } },
    );
    let (called, _) = lease::call(engine, message, guard, call).await;
    drop(running);
    settle::part(engine, (&task.work, limit), (key, message.schema), called).await
}
