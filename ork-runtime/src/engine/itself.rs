//! A task that splits itself: making the parts while its function runs, and giving a part the input of its job.
//!
//! Such a part travels with nothing but its own data. Its job's input is read here, before anything looks at the body,
//! so that limits, rules and the function see what they see in the job itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::step::{self, Step};
use super::{Engine, ProcessError, refuse, split};
use crate::accounting::{Open, Page};
use crate::broker::{DeadReason, Settlement};
use crate::context::{About, Data, Made, NoSplit};
use crate::id::JobId;
use crate::job::{Kind, Phase};
use crate::ledger;
use crate::message::{Ask, Message};
use crate::registry::Task;
use crate::store::JobView;
use crate::task::Error;

/// Of so many jobs the inputs are kept at most, of fewer if they are large.
const KEPT: (usize, usize) = (8, 32 * 1024 * 1024);

/// Makes parts of the running job, page after page; nothing is taken before the page before it is in the store.
pub(super) async fn split(engine: &Engine, about: &About, data: &mut Data<'_>) -> Result<Made, NoSplit> {
    let task = Arc::clone(engine.registry.get(&about.task).map_err(|error| NoSplit::Refused(error.into()))?);
    if let Some(why) = refusal(engine, about, &task) {
        return Err(NoSplit::Refused(Error::permanent(why)));
    }
    let open =
        Open { job: about.job, attempt: about.fence, policy: split::policy(&task.work), joined: task.join.is_some() };
    let Some(epoch) = engine.store.apply(open).await.map_err(|error| NoSplit::Refused(error.into()))? else {
        return Err(NoSplit::Refused(over(about.job)));
    };
    let most = split::page_size(engine, &task.work);
    let (mut n, mut want) = (0, split::FIRST_PAGE.min(most));
    loop {
        let inputs: Result<Vec<Bytes>, _> = data.take(want).collect();
        let inputs = inputs.map_err(|error| {
            NoSplit::Broken(Error::permanent(format!("the data of a part cannot be written as JSON: {error}")))
        })?;
        if inputs.is_empty() {
            return Ok(Made { epoch, n });
        }
        let (first, len) = (n, u64::try_from(inputs.len()).unwrap_or(u64::MAX));
        let page = Page { job: about.job, epoch, first, inputs };
        match split::append(engine, page).await.map_err(|error| NoSplit::Broken(error.into()))? {
            ledger::Append::Added | ledger::Append::Already => n += len,
            ledger::Append::Halted => return halted(engine, about.job, Made { epoch, n }).await,
            ledger::Append::Old => {
                split::outlast(engine, about.job, about.fence).await;
                let words = format!("another worker has split job {} anew, so that this one must stop", about.job);
                return Err(NoSplit::Overtaken(Error::permanent(words)));
            }
            ledger::Append::TooMany => return Err(NoSplit::Broken(split::too_many())),
        }
        want = (want * 2).min(most);
    }
}

/// Why this call can make no parts.
fn refusal(engine: &Engine, about: &About, task: &Task) -> Option<String> {
    let About { job, phase, index, member, .. } = about;
    let name = task.name();
    if let Some(index) = index {
        Some(format!("this is part {index} of job {job}, and a part cannot be split"))
    } else if *member {
        Some(format!("job {job} is a part of a set that others count, and a part cannot be split"))
    } else if *phase == Phase::Join {
        Some(format!("this is the join of job {job}: its parts have ended, and there can be no more"))
    } else if let Some(split) = task.split {
        Some(format!("the parts of `{name}` are made by its split, `{}`, so its function makes none", split.function))
    } else if !engine.store.keeps() {
        Some(format!("`{name}` can split itself only with a store, which keeps its parts, so set ORK_STORE"))
    } else {
        None
    }
}

fn over(job: JobId) -> Error {
    Error::permanent(format!("job {job} was cancelled or has ended, so it cannot be split any more"))
}

/// No further part is wanted: its job was cancelled, or too many parts have failed for it to succeed. The latter is said
/// when it has ended, by its parts.
async fn halted(engine: &Engine, job: JobId, made: Made) -> Result<Made, NoSplit> {
    match engine.store.job(job).await {
        Ok(Some(JobView { job, .. })) if job.takes_children() => Ok(made),
        Ok(_) => Err(NoSplit::Broken(over(job))),
        Err(error) => Err(NoSplit::Broken(error.into())),
    }
}

/// The inputs of jobs that have split themselves, the latest last. They never change, so each is read once.
#[derive(Debug, Default)]
pub(crate) struct Inputs(Mutex<VecDeque<Place>>);

/// The input of one job, for messages of this task.
type Place = ((JobId, &'static str), Arc<OnceCell<Inherited>>);

/// What the parts of a job have in common.
#[derive(Debug, Clone)]
pub(crate) enum Inherited {
    /// The input of their job.
    Input(Bytes),
    /// The step that their job is of its run.
    Step(Arc<Step>),
}

impl Inherited {
    fn len(&self) -> usize {
        match self {
            Self::Input(input) => input.len(),
            Self::Step(step) => step.input.as_ref().map_or(0, Bytes::len),
        }
    }
}

impl Inputs {
    /// The place of one; those that were not asked for lately make room for it.
    fn place(&self, whose: (JobId, &'static str)) -> Arc<OnceCell<Inherited>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().position(|(known, _)| *known == whose).and_then(|at| kept.remove(at));
        let place = known.map(|(_, place)| place).unwrap_or_default();
        let bytes = |kept: &VecDeque<Place>| {
            kept.iter().filter_map(|(_, place)| place.get()).map(Inherited::len).sum::<usize>()
        };
        while kept.len() >= KEPT.0 || bytes(&kept) > KEPT.1 {
            kept.pop_front();
        }
        kept.push_back((whose, Arc::clone(&place)));
        place
    }
}

/// Whether a message is a part of a job that has split itself, and still has its own data for a body.
pub(super) fn inherits(engine: &Engine, task: &Task, message: &Message) -> bool {
    let counted = message.hooks.as_deref().is_some_and(|hooks| hooks.part.is_some());
    let is_part = matches!(message.ask, Ask::Part { .. }) && !counted && task.split.is_none();
    (is_part || message.ask == Ask::Step) && engine.store.keeps()
}

/// Gives such a part the input of its job, and puts its own data beside it. Answers the step that it is of, if it is.
///
/// # Cancel safety
/// The message is as it was if the future is dropped.
pub(super) async fn inherit(
    engine: &Engine,
    task: &Task,
    message: &mut Message,
) -> Result<Option<Arc<Step>>, ProcessError> {
    let place = engine.inputs.place((message.job, task.name()));
    let inherited = tokio::select! {
        inherited = place.get_or_try_init(|| inherited(engine, message)) => inherited?.clone(),
        () = engine.force.cancelled() => return Err(ProcessError::Unsettled(Settlement::Release)),
    };
    let (input, step) = match (inherited, message.ask) {
        (Inherited::Input(input), _) => (input, None),
        (Inherited::Step(step), Ask::Part { .. }) => {
            (step.input_of(message.data.as_ref().unwrap_or(&message.body)), Some(step))
        }
        (Inherited::Step(step), _) => (step.input.clone().unwrap_or_default(), Some(step)),
    };
    // A message that was begun with others may be looked at once more, alone.
    let own = std::mem::replace(&mut message.body, input);
    message.data.get_or_insert(own);
    Ok(step)
}

async fn inherited(engine: &Engine, message: &Message) -> Result<Inherited, ProcessError> {
    let Message { job: id, task, .. } = message;
    let words = match engine.store.job(*id).await? {
        Some(view) if view.job.task == *task && view.job.kind == Kind::Step => {
            return Ok(Inherited::Step(Arc::new(step::of(engine, message, &view).await?)));
        }
        Some(view) if view.job.task == *task => return Ok(Inherited::Input(view.input)),
        Some(view) => format!("job {id} is one of `{}`, so it has no parts for `{task}`", view.job.task),
        None => format!("there is no job {id} in this store, so it has no parts"),
    };
    Err(refuse::refused(message, DeadReason::UnknownJob, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_inputs_are_kept_and_not_too_many_bytes() {
        let (inputs, jobs) = (Inputs::default(), [(); 9].map(|()| (JobId::new(), "a")));
        let first = inputs.place(jobs[0]);
        first.set(Inherited::Input(Bytes::from_static(b"first"))).unwrap();
        for job in &jobs[1..8] {
            inputs.place(*job);
        }
        assert!(Arc::ptr_eq(&first, &inputs.place(jobs[0])));
        assert!(inputs.place((jobs[0].0, "b")).get().is_none(), "another task has no part in it");
        // The first was asked for lately, so that others went.
        assert!(Arc::ptr_eq(&first, &inputs.place(jobs[0])));
        for job in &jobs[1..] {
            inputs.place(*job);
        }
        assert!(inputs.place(jobs[0]).get().is_none());
        assert_eq!(inputs.0.lock().unwrap().len(), KEPT.0);
        inputs.place(jobs[1]).set(Inherited::Input(vec![0; KEPT.1 + 1].into())).unwrap();
        inputs.place(jobs[2]);
        assert_eq!(inputs.0.lock().unwrap().len(), 1);
    }
}
