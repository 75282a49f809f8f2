//! Performs claimed work: calls the user's function, or does what a built-in task asks for.

use std::sync::Arc;

use super::action::Action;
use super::invoke::{CallOutcome, Hold, invoke};
use super::running_calls::RunningCall;
#[cfg(feature = "workflow")]
use super::scheduler;
use super::slots::{self, CallSlot, Need};
use super::split::Split;
use super::work::{Claimed, Common, Ended, Item, Outcome, Place};
use super::{Done, Engine, ProcessError, cancel, custody, join, lease, services, split, step, storeless};
use crate::job::Job;

/// Registers the parts of a batch as running. They belong to one job, so they share the registration.
pub(super) fn enter_parts(engine: &Engine, common: &Common, granted: &[(Item, Claimed)]) -> Option<Arc<RunningCall>> {
    let (item, _) = granted.first().filter(|_| common.action == Action::Part)?;
    Some(Arc::new(engine.running.enter(item.message.job)))
}

/// Performs claimed work to its end. `running` is its registration among the running calls, if it has one already.
pub(super) async fn perform(
    engine: Arc<Engine>,
    common: Arc<Common>,
    mut item: Item,
    claimed: Claimed,
    running: Option<Arc<RunningCall>>,
) -> Ended {
    let alone = item.alone.take();
    let act = act(&engine, &common, &mut item, &claimed, running);
    let outcome = match alone {
        None => act.await,
        Some(alone) => Box::pin(slots::keep_alone(&engine, alone, act)).await,
    };
    Ended { item, claimed, outcome }
}

async fn act(
    engine: &Arc<Engine>,
    common: &Common,
    item: &mut Item,
    claimed: &Claimed,
    running: Option<Arc<RunningCall>>,
) -> Result<Outcome, ProcessError> {
    let (losses, job) = match claimed {
        Claimed::CountedPart => return Box::pin(storeless::part(engine, common, item)).await.map(Outcome::Recorded),
        Claimed::Part { losses, .. } => (*losses, None),
        Claimed::Job { job, .. } => (job.losses, Some(job)),
    };
    if losses > engine.settings.losses {
        return Ok(Outcome::Lost(losses));
    }
    // The call is the only future here that is not boxed: most work is one.
    match (common.action, job) {
        (Action::Split, Some(job)) => Box::pin(custody::split(engine, common, item, job)).await,
        (Action::FanOut, Some(job)) => Box::pin(fan_out(engine, common, item, job)).await,
        (Action::CancelJob, Some(_)) => Ok(Outcome::called(Box::pin(cancel::run(engine, &item.message)).await?)),
        (Action::StartRun, Some(job)) => Box::pin(step::begin(engine, job, &item.message)).await,
        #[cfg(feature = "workflow")]
        (Action::FireSchedule, Some(job)) => Box::pin(scheduler::fire(engine, job, &item.message)).await,
        #[cfg(not(feature = "workflow"))]
        (Action::FireSchedule, Some(_)) => {
            let why = "this program was built without the feature `workflow`, which schedules require";
            Ok(Outcome::called(CallOutcome::Failed(crate::task::CallError::Task(crate::task::Error::new(why)))))
        }
        (Action::Call | Action::Join | Action::Part | Action::CountedPart | Action::SendHooks(_), _) | (_, None) => {
            call(engine, common, item, claimed, running).await
        }
    }
}

/// Calls the function for a job, a part, or a join.
async fn call(
    engine: &Arc<Engine>,
    common: &Common,
    item: &mut Item,
    claimed: &Claimed,
    running: Option<Arc<RunningCall>>,
) -> Result<Outcome, ProcessError> {
    let about = match claimed {
        Claimed::Job { job, .. } => {
            let step = common.step.as_ref().map(|step| Arc::clone(&step.name));
            crate::context::About { step, ..services::about_job(job) }
        }
        Claimed::Part { key, count, .. } => {
            // Another worker runs the part now. Releasing the part here would clear that worker's mark; only a permit
            // has to be returned.
            if item.guard.is_lost() && common.limit.is_none() {
                return Ok(Outcome::Recorded(Done::Interrupted));
            }
            services::about_part(&item.message, (key.index, *count), common.step.as_ref())
        }
        // `storeless::part` makes its calls.
        Claimed::CountedPart => return Ok(Outcome::Recorded(Done::Settled)),
    };
    let running = running.unwrap_or_else(|| Arc::new(engine.running.enter(item.message.job)));
    let Some(place) = place(engine, common, item, &running).await else {
        return Ok(Outcome::called(CallOutcome::Interrupted));
    };
    let parts = match claimed {
        Claimed::Job { job, .. } if common.action == Action::Join => {
            Some(Box::pin(join::parts(engine, job, running.token())).await?)
        }
        _ => None,
    };
    let Item { message, guard, .. } = item;
    let call = invoke(engine, common.def(), message, about, parts, Hold { running: &running, place });
    let (called, made) = lease::call(engine, message, guard, call).await;
    Ok(Outcome::Called(called, made))
}

/// Takes the place of a call. Returns `None` if the call is not to be made.
pub(super) async fn place(
    engine: &Engine,
    common: &Common,
    item: &mut Item,
    running: &RunningCall,
) -> Option<CallSlot> {
    match item.place.take() {
        Some(Place::Slot(slot)) => Some(CallSlot::Exclusive { _slot: slot }),
        Some(Place::Lane(lane)) => {
            let turn = slots::turn(engine, lane, running.token()).await;
            if turn.is_none() {
                // The call was expected to be short, but others of its kind are not.
                engine.batch_sizer.called(common.def().name, super::batch::THREAD_TIME);
            }
            turn
        }
        Some(Place::Split(guard)) => Some(CallSlot::Split { _guard: guard }),
        // A later attempt at a storeless job, which this process makes.
        None => slots::wait_begun(engine, Need::of(common.def())).await,
    }
}

/// Creates the instances of a step that fans out.
async fn fan_out(engine: &Arc<Engine>, common: &Common, item: &mut Item, job: &Job) -> Result<Outcome, ProcessError> {
    let Some(step) = &common.step else { return Ok(Outcome::Recorded(Done::Settled)) };
    let running = engine.running.enter(job.id);
    let fan = Box::pin(step::fan_out(engine, job, step, running.token()));
    lease::keep(engine, &item.message, &mut item.guard, fan).await.map(Outcome::from)
}

/// Calls the split of a job in the store.
pub(super) async fn split(
    engine: &Arc<Engine>,
    common: &Common,
    item: &mut Item,
    job: &Job,
) -> Result<Outcome, ProcessError> {
    let running = engine.running.enter(job.id);
    let Some(_place) = place(engine, common, item, &running).await else {
        return Ok(Outcome::called(CallOutcome::Interrupted));
    };
    let split = Box::pin(split::split(engine, job, common, &item.message, running.token()));
    lease::keep(engine, &item.message, &mut item.guard, split).await.map(Outcome::from)
}

impl From<Split> for Outcome {
    fn from(split: Split) -> Self {
        match split {
            Split::Sealed | Split::Ended(CallOutcome::Returned(())) => Self::Recorded(Done::Settled),
            Split::Overtaken => Self::Recorded(Done::Interrupted),
            Split::Ended(CallOutcome::Failed(error)) => Self::called(CallOutcome::Failed(error)),
            Split::Ended(CallOutcome::Interrupted) => Self::called(CallOutcome::Interrupted),
        }
    }
}
