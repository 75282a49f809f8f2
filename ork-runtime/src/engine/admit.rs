//! Admission: finds out what a delivery asks for, reads what its message inherits, and waits for its turn and its slot.
//! Nothing is claimed before that, so that work which waits stays where another process, a cancel or a drain can reach
//! it.

use std::sync::Arc;

use bytes::Bytes;

use super::action::Action;
use super::inflight::{self, InflightGuard};
use super::outcome::Verdict;
use super::slots::{Alone, Lane, Need, Place, Slot};
use super::step::Step;
use super::work::{Batch, Common, Group, Incoming, Item, is_suspect};
use super::{Done, Engine, ProcessError, check, claim, custody, hooks, hydrate, lease, limit, place, reject};
use crate::message::{Message, WorkKind};
use crate::mutant::{self, Mutant};
use crate::registry::Task;

/// The result of the admission of a single delivery.
enum Admission {
    /// It may be claimed.
    Admitted(Box<AdmittedDelivery>),
    /// It is done: there is nothing to claim.
    Done(Done),
}

/// The results of admission for one delivery, with the guards and the place that it has taken. An item is made of them.
struct AdmittedDelivery {
    common: Common,
    inherited: Option<Bytes>,
    inflight: InflightGuard,
    place: Option<Place>,
    alone: Option<Alone>,
}

/// The deliveries of a batch that were admitted, and those that have to be processed alone.
#[derive(Default)]
pub(super) struct Admitted {
    pub(super) groups: Vec<Group>,
    pub(super) alone: Vec<Incoming>,
}

/// Admits the deliveries of a batch, which may take long if there is only one. A delivery for which there is nothing to
/// claim is settled here, and is in no group.
pub(super) async fn admit(engine: &Arc<Engine>, Batch { mut deliveries, slots }: Batch) -> Admitted {
    if deliveries.len() == 1
        && let Some(delivery) = deliveries.pop()
    {
        // More slots may have been taken than there are deliveries.
        let slots = if mutant::is_on(Mutant::KeepsSlotsOfBatch) { slots } else { slots.map(Slot::into_one) };
        let groups = admit_one(engine, delivery, slots).await.into_iter().collect();
        return Admitted { groups, alone: Vec::new() };
    }
    match slots {
        Some(slots) => admit_many(engine, deliveries, slots).await,
        None => Admitted { groups: Vec::new(), alone: deliveries },
    }
}

/// Admits one delivery, however long that takes. Returns `None` if the delivery was settled here.
async fn admit_one(engine: &Arc<Engine>, mut delivery: Incoming, mut slot: Option<Slot>) -> Option<Group> {
    loop {
        let verdict = match wait_for_admission(engine, &mut delivery, slot.take()).await {
            Ok(Admission::Admitted(admitted)) => {
                return admitted
                    .into_item(delivery)
                    .map(|(common, item)| Group { common: Arc::new(common), items: vec![item] });
            }
            Ok(Admission::Done(done)) => Verdict::Settle(done.disposition()),
            Err(error) => {
                let message = delivery.message.as_ref().ok();
                Box::pin(reject::verdict(engine, error, message, &mut delivery.guard)).await
            }
        };
        if let Verdict::Settle(disposition) = verdict {
            delivery.guard.settle(engine, disposition).await;
            return None;
        }
    }
}

/// Finds out what a delivery asks for, and waits for its turn and its slot. The hooks of a job in the store are sent
/// here.
///
/// # Errors
/// Returns an error if the message is rejected, or the store failed.
async fn wait_for_admission(
    engine: &Arc<Engine>,
    delivery: &mut Incoming,
    mut slot: Option<Slot>,
) -> Result<Admission, ProcessError> {
    let Incoming { message, redelivered, is_first: _, anonymous, guard } = delivery;
    let redelivered = *redelivered;
    let message = message.as_ref().map_err(|refused| ProcessError::Rejected(Box::new(refused.clone()), None))?;
    // The hooks of a job are in the store, so sending them needs no task: no worker may know that task any more.
    if let WorkKind::Hooks(mask) = message.kind
        && engine.store.records_jobs()
    {
        let sent = Box::pin(hooks::send_stored(engine, message.job, mask, redelivered)).await?;
        return Ok(Admission::Done(if sent { Done::Settled } else { Done::Interrupted }));
    }
    let task = check::task_of(engine, message)?;
    if let Some(declined) = custody::decline(engine, &task, message, redelivered) {
        // Work that can run here may need the slot in the meantime.
        if !mutant::is_on(Mutant::DeclinesUnderSlot) {
            drop(slot);
        }
        return Ok(Admission::Done(declined.await));
    }
    let (common, inherited) = classify(engine, task, message).await?;
    let Common { task, action, .. } = &common;
    if *anonymous && engine.store.records_jobs() {
        return Ok(Admission::Done(Box::pin(claim::adopt(engine, message)).await?));
    }
    if *action == Action::Join {
        check::has_join(task, message)?;
    }
    // A second delivery of the same work waits for the first one. Otherwise a lost connection or a late heartbeat
    // could start a second run of a call that is still running here.
    let call_key = inflight::call_key(message);
    let inflight = if let Some(entry) = engine.inflight.try_take(call_key) {
        entry
    } else {
        // The first delivery may need this slot for its next attempt.
        if !mutant::is_on(Mutant::HoldsSlotForTurn) {
            slot = None;
        }
        let turn = engine.force.run_until_cancelled(engine.inflight.take(call_key));
        // The first call may take longer than the broker waits for an acknowledgement of this delivery.
        let Some(entry) = lease::keep_for_turn(engine, message, guard, turn).await else {
            return Ok(Admission::Done(Done::Interrupted));
        };
        entry
    };
    // A claim means that a call is under way, and takes a permit if there is a limit, so what the call needs is
    // acquired first. After too many losses the function is not called any more, and failing the work needs nothing.
    let is_counted_here = *action == Action::CountedPart || !engine.store.records_jobs();
    let is_exhausted = is_counted_here && redelivered > engine.settings.max_worker_losses;
    let need = action.need(task).filter(|_| !is_exhausted || mutant::is_on(Mutant::WaitsToFail));
    let need = need.filter(|need| *need != Need::Split || !mutant::is_on(Mutant::ClaimsWaitingSplits));
    let (place, alone) = place::wait_for_call(engine, need, slot, is_suspect(engine, redelivered)).await;
    // The delivery may have been lost in the meantime: the redelivery calls the function then.
    if (need.is_some() && place.is_none()) || guard.is_lost() {
        return Ok(Admission::Done(Done::Interrupted));
    }
    Ok(Admission::Admitted(Box::new(AdmittedDelivery { common, inherited, inflight, place, alone })))
}

/// Finds out what a message asks for, and the input that it inherits, if it does.
async fn classify(
    engine: &Engine,
    mut task: Arc<Task>,
    message: &Message,
) -> Result<(Common, Option<Bytes>), ProcessError> {
    let (mut inherited, mut step) = (None, None::<Arc<Step>>);
    if hydrate::inherits(&task, message) {
        let (input, of) = Box::pin(hydrate::inherit(engine, &task, message)).await?;
        (inherited, step) = (Some(input), of);
    }
    if let Some(step) = &step {
        task = Arc::clone(&step.task);
    }
    let action = Action::of(&task, message, step.as_deref());
    let input = inherited.as_ref().unwrap_or(&message.body);
    let limit = limit::limit_of(&task, step.as_deref(), action, input);
    Ok((Common { task, action, limit, step }, inherited))
}

impl AdmittedDelivery {
    /// Returns the item of this delivery, and what it has in common with others. `None` if the delivery is unreadable,
    /// which admission has excluded.
    fn into_item(self, delivery: Incoming) -> Option<(Common, Item)> {
        let Self { common, inherited, inflight, place, alone } = self;
        let Incoming { message, redelivered, is_first, anonymous: _, guard } = delivery;
        let message = message.ok()?;
        let item = Item {
            message,
            inherited,
            redelivered,
            is_first,
            guard,
            _inflight: inflight,
            place,
            alone,
            runner_is_dead: false,
        };
        Some((common, item))
    }
}

/// Admits the deliveries of a batch, grouped by concurrency limit. A delivery that would have to wait, or that does not
/// fit with the first one, has to be processed alone.
async fn admit_many(engine: &Engine, deliveries: Vec<Incoming>, slots: Slot) -> Admitted {
    let lanes = Lane::of(slots);
    let mut lanes_in_turn = lanes.iter().cycle();
    let Admitted { mut groups, mut alone } = Admitted::default();
    let mut n_admitted = 0;
    for delivery in deliveries {
        let Some(mut admitted) = admit_now(engine, &delivery, groups.first()).await else {
            alone.push(delivery);
            continue;
        };
        // If permits are scarcer than slots, no more calls are claimed than there are slots: work that holds one of few
        // permits must not wait for a slot.
        if n_admitted >= lanes.len() && is_scarce(engine, &admitted.common) {
            drop(admitted);
            alone.push(delivery);
            continue;
        }
        n_admitted += 1;
        admitted.place = lanes_in_turn.next().cloned().map(Place::Lane);
        let Some((common, item)) = admitted.into_item(delivery) else { continue };
        let known = groups.iter_mut().find(|group| group.common.limit == common.limit);
        if let Some(group) = known {
            group.items.push(item);
        } else {
            groups.push(Group { common: Arc::new(common), items: vec![item] });
        }
    }
    Admitted { groups, alone }
}

/// Admits one delivery of a batch without waiting. Returns `None` if that is impossible, or if the delivery asks for
/// other work than the first group.
async fn admit_now(engine: &Engine, delivery: &Incoming, first: Option<&Group>) -> Option<AdmittedDelivery> {
    let message = delivery.message.as_ref().ok()?;
    let task = check::task_of(engine, message).ok()?;
    let (common, inherited) = classify(engine, task, message).await.ok()?;
    let fits = first.is_none_or(|Group { common: first, .. }| {
        first.task.name() == common.task.name() && first.action == common.action
    });
    let inflight = fits.then(|| engine.inflight.try_take(inflight::call_key(message)))??;
    Some(AdmittedDelivery { common, inherited, inflight, place: None, alone: None })
}

/// Returns whether the concurrency limit of these calls admits fewer calls than there are slots.
fn is_scarce(engine: &Engine, Common { task, limit, .. }: &Common) -> bool {
    limit::is_scarcer(&engine.slots, task, limit.as_ref().map(|limit| limit.permits))
}
