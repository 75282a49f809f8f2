//! Performs claimed work: calls the user's function, or does what a built-in task asks for.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::action::Action;
use super::invoke::{Hold, invoke};
use super::outcome::{Attempt, CallOutcome, WorkOutcome};
use super::running_calls::RunningCall;
#[cfg(feature = "workflow")]
use super::scheduler;
use super::work::{ClaimedWork, Common, Ended, Item};
use super::{Done, Engine, ProcessError, call_info, cancel, custody, join, lease, place, step, storeless};
use crate::job::Job;

/// Begins the calls of a group by polling each of them once. Returns those that have ended, and those that still run.
pub(super) fn begin(
    engine: &Arc<Engine>,
    common: &Arc<Common>,
    granted: Vec<(Item, ClaimedWork)>,
) -> (Vec<Ended>, Vec<BoxFuture<'static, Ended>>) {
    let parts = enter_parts(engine, common, &granted);
    let (begun, len) = (engine.clock.now(), granted.len());
    let (mut ended, mut running) = (Vec::with_capacity(len), Vec::<BoxFuture<'static, Ended>>::new());
    for (item, claimed) in granted {
        let mut call = Box::pin(perform(Arc::clone(engine), Arc::clone(common), item, claimed, parts.clone()));
        match call.as_mut().now_or_never() {
            Some(end) => ended.push(end),
            None => running.push(call),
        }
    }
    if common.action.is_call() {
        engine.batch_sizer.measured(common.task.work.name, len, engine.clock.now() - begun);
    }
    (ended, running)
}

/// Registers the parts of a batch as running. They belong to one job, so they share the registration.
fn enter_parts(engine: &Engine, common: &Common, granted: &[(Item, ClaimedWork)]) -> Option<Arc<RunningCall>> {
    let (item, _) = granted.first().filter(|_| common.action == Action::Part)?;
    Some(Arc::new(engine.running.enter(item.message.job)))
}

/// Performs claimed work to its end. `running` is its registration among the running calls, if the group has one.
pub(super) async fn perform(
    engine: Arc<Engine>,
    common: Arc<Common>,
    mut item: Item,
    claimed: ClaimedWork,
    running: Option<Arc<RunningCall>>,
) -> Ended {
    let alone = item.alone.take();
    let act = act(&engine, &common, &mut item, &claimed, running);
    let outcome = match alone {
        None => act.await,
        Some(alone) => Box::pin(place::keep_alone(&engine, alone, act)).await,
    };
    Ended { item, claimed, outcome }
}

/// Does what the action of the claimed work asks for.
async fn act(
    engine: &Arc<Engine>,
    common: &Common,
    item: &mut Item,
    claimed: &ClaimedWork,
    running: Option<Arc<RunningCall>>,
) -> Result<WorkOutcome, ProcessError> {
    let (losses, job) = match claimed {
        ClaimedWork::CountedPart => {
            return Box::pin(storeless::part(engine, common, item)).await.map(WorkOutcome::Recorded);
        }
        ClaimedWork::Part { losses, .. } => (*losses, None),
        ClaimedWork::Job { job, .. } => (job.losses, Some(job)),
    };
    if losses > engine.settings.max_worker_losses {
        return Ok(WorkOutcome::Attempted(Attempt::Lost(losses)));
    }
    // Most work is a call, so its future alone is not boxed.
    match (common.action, job) {
        (Action::Split, Some(job)) => Box::pin(custody::split(engine, common, item, job)).await,
        (Action::FanOut, Some(job)) => Box::pin(fan_out(engine, common, item, job)).await,
        (Action::CancelJob, Some(_)) => Ok(WorkOutcome::called(Box::pin(cancel::run(engine, &item.message)).await?)),
        (Action::StartRun, Some(job)) => Box::pin(step::begin(engine, job, &item.message)).await,
        #[cfg(feature = "workflow")]
        (Action::FireSchedule, Some(job)) => Box::pin(scheduler::fire(engine, job, &item.message)).await,
        #[cfg(not(feature = "workflow"))]
        (Action::FireSchedule, Some(_)) => {
            let why = "this program was built without the feature `workflow`, which schedules require";
            Ok(WorkOutcome::called(CallOutcome::Failed(crate::task::CallError::Task(crate::task::Error::new(why)))))
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
    claimed: &ClaimedWork,
    running: Option<Arc<RunningCall>>,
) -> Result<WorkOutcome, ProcessError> {
    let info = match claimed {
        ClaimedWork::Job { job, .. } => {
            let step = common.step.as_ref().map(|step| Arc::clone(&step.name));
            crate::context::CallInfo { step, ..call_info::job(job) }
        }
        ClaimedWork::Part { key, count, .. } => {
            // The broker redelivers the message, and another worker may run the part by now. A settlement from here
            // would mark the part as not running, so there is one only if a permit has to be returned.
            if item.guard.is_lost() && common.limit.is_none() {
                return Ok(WorkOutcome::Recorded(Done::Interrupted));
            }
            call_info::part(item, (key.index, *count), common.step.as_ref())
        }
        // Never reached: `act` leaves such a part to `storeless::part`.
        ClaimedWork::CountedPart => return Ok(WorkOutcome::Recorded(Done::Settled)),
    };
    let running = running.unwrap_or_else(|| Arc::new(engine.running.enter(item.message.job)));
    let Some(place) = place::take(engine, common, item, &running).await else {
        return Ok(WorkOutcome::called(CallOutcome::Interrupted));
    };
    let parts = match claimed {
        ClaimedWork::Job { job, .. } if common.action == Action::Join => {
            Some(Box::pin(join::parts(engine, job, running.token())).await?)
        }
        _ => None,
    };
    let input = item.input().clone();
    let Item { message, guard, .. } = item;
    let call = invoke(engine, common.def(), message, &input, info, parts, Hold { running: &running, place });
    let (called, made) = lease::call(engine, message, guard, call).await;
    Ok(WorkOutcome::Attempted(Attempt::Called(called, made)))
}

/// Creates the instances of a step that fans out.
async fn fan_out(
    engine: &Arc<Engine>,
    common: &Common,
    item: &mut Item,
    job: &Job,
) -> Result<WorkOutcome, ProcessError> {
    let Some(step) = &common.step else { return Ok(WorkOutcome::Recorded(Done::Settled)) };
    let running = engine.running.enter(job.id);
    let instances = Box::pin(step::fan_out(engine, job, step, running.token()));
    lease::keep(engine, &item.message, &mut item.guard, instances).await.map(WorkOutcome::from)
}
