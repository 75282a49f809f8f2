//! The facts about its job that a function gets with a call, through its context.

use std::sync::Arc;

use super::step::Step;
use super::work::Item;
use crate::context::CallInfo;
use crate::job::{Job, Phase};

/// Returns the facts about a call for a job.
pub(super) fn job(job: &Job) -> CallInfo {
    CallInfo {
        parent: job.parent,
        attempt: job.phase_attempt(),
        fence: job.attempt,
        member: job.hooks.as_ref().is_some_and(|stored| stored.hooks.part.is_some()),
        ..CallInfo::new(job.id, job.root, job.task.clone(), job.phase)
    }
}

/// Returns the facts about a call for a part. `place` is the index of the part, and the number of parts if it is known.
pub(super) fn part(item: &Item, place: (u64, Option<u64>), step: Option<&Arc<Step>>) -> CallInfo {
    let Item { message, inherited, .. } = item;
    let (index, count) = step.map_or(place, |step| step.place(place.0));
    CallInfo {
        step: step.map(|step| Arc::clone(&step.name)),
        parent: message.parent,
        attempt: message.attempt,
        index: Some(index),
        count,
        // Its own data, beside the input that it inherits.
        data: inherited.is_some().then(|| message.body.clone()),
        ..CallInfo::new(message.job, message.root, message.task.clone(), Phase::Start)
    }
}
