//! Runs schedules: decides what is due, and starts it.

use std::time::Duration;

use bytes::Bytes;
use ork_workflow::{Missed, Overlap, Plan, Schedule, date_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::outcome::{CallOutcome, WorkOutcome};
use super::{Done, Engine, ProcessError, submit};
use crate::clock::Timestamp;
use crate::job::{Job, JobKind};
use crate::message::Message;
use crate::mutant::{self, Mutant};
use crate::role::JobRole;
use crate::store::StoreError;
use crate::task::{CallError, Error};
use crate::tx::{FireSchedule, NewJob};
use crate::workflow_run::RUN;
use ork_core::role::ScheduleState;

/// A scheduled time that is longer past than this was missed.
const MISSED_AFTER: Duration = Duration::from_mins(1);

/// The input of a schedule's job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScheduleSpec {
    /// The name of the schedule.
    pub(crate) name: String,
    /// The times at which it fires.
    #[serde(flatten)]
    pub(crate) schedule: Schedule,
    /// The task that it starts.
    pub(crate) task: String,
    /// The input of that task.
    pub(crate) input: Value,
}

impl ScheduleSpec {
    /// Returns the first scheduled time after this one.
    pub(crate) fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        self.schedule.next_after(moment.as_millis()).map(Timestamp::from_millis)
    }

    /// Returns the time for which the schedule fires now, if it does, and the next time.
    fn due(&self, state: ScheduleState, created: Timestamp, now: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
        // The first worker may process the schedule after its first time.
        let first = if mutant::is_on(Mutant::CountsFromFirstTick) { now } else { created };
        let next = state.next.or_else(|| self.after(first));
        // Nothing is started twice if a clock is set back.
        let Some(due) = next.filter(|due| *due <= now) else {
            return (None, next);
        };
        match self.schedule.missed {
            Missed::Skip => (Some(due).filter(|due| now - *due <= MISSED_AFTER), self.after(now)),
            Missed::Once => (Some(due), self.after(now)),
            Missed::All => (Some(due), self.after(due)),
        }
    }

    /// Returns the input of the job that it starts for this time.
    ///
    /// # Errors
    /// Returns an error if the job is a workflow run, and its plan cannot be read.
    pub(crate) fn input_at(&self, time: Timestamp) -> serde_json::Result<Bytes> {
        let mut input = self.input.clone();
        let time = self.schedule.shown(time.as_millis()).unwrap_or_default();
        if self.task == RUN {
            let mut plan: Plan = serde_json::from_value(input)?;
            plan.start_at(&time);
            input = serde_json::to_value(plan)?;
        } else if let Value::Object(fields) = &mut input {
            let Schedule { time_as, date_as, .. } = &self.schedule;
            let value = [(time_as, &*time), (date_as, date_of(&time))].into_iter();
            fields.extend(value.filter_map(|(name, value)| Some((name.clone()?, Value::from(value)))));
        }
        serde_json::to_vec(&input).map(Bytes::from)
    }

    /// Returns the job that it starts for this time.
    fn start(&self, engine: &Engine, time: Timestamp) -> Result<NewJob, Error> {
        let task = engine.registry.get(&self.task)?;
        let input = self.input_at(time).map_err(Error::permanent)?;
        Ok(NewJob { job: submit::new_job(engine, task, JobKind::Job), input })
    }
}

/// Returns whether the job that a schedule has started last is still under way.
async fn is_busy(engine: &Engine, state: ScheduleState) -> Result<bool, StoreError> {
    let Some(last) = state.last else { return Ok(false) };
    Ok(engine.store.job(last).await?.is_some_and(|view| !view.job.state.is_final()))
}

/// Fires a claimed schedule if it is due.
pub(super) async fn fire(engine: &Engine, job: &Job, message: &Message) -> Result<WorkOutcome, ProcessError> {
    let foreign = matches!(job.role.as_deref(), Some(JobRole::Untrusted));
    let refused =
        Error::permanent("schedules cannot be created over a broker: use `schedules add`, which needs the store");
    let spec = if foreign {
        Err(refused)
    } else {
        serde_json::from_slice::<ScheduleSpec>(&message.body)
            .map_err(|error| Error::permanent(format!("invalid schedule: {error}")))
    };
    let (now, state) = (engine.clock.now(), job.schedule_state().copied().unwrap_or_default());
    let skips = matches!(&spec, Ok(spec) if spec.schedule.overlap == Overlap::Skip);
    let is_busy = skips && !mutant::is_on(Mutant::StartsBesideLast) && is_busy(engine, state).await?;
    let due = spec.and_then(|spec| {
        let (time, next) = spec.due(state, job.created, now);
        let time = time.filter(|_| !is_busy);
        Ok((time.map(|time| spec.start(engine, time)).transpose()?, next))
    });
    let (starts, next) = match due {
        Ok(due) => due,
        Err(error) => return Ok(WorkOutcome::called(CallOutcome::Failed(CallError::Task(error)))),
    };
    let fire = FireSchedule { job: job.id, attempt: job.attempt, starts, next, actor: engine.actor() };
    engine.commit(fire).await?;
    Ok(WorkOutcome::Recorded(Done::Settled))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    /// The minute in which the schedules of these tests were created.
    const CREATED: i64 = 4;

    fn due(missed: Missed, next: Option<i64>, now: i64) -> (Option<i64>, Option<i64>) {
        let schedule = Schedule { missed, ..Schedule::new("*/10 * * * *", "UTC") };
        let spec = ScheduleSpec { name: "a".into(), schedule, task: "t".into(), input: Value::Null };
        let at = |minutes: i64| Timestamp::from_millis(minutes * MINUTE);
        let (time, next) =
            spec.due(ScheduleState { next: next.map(at), ..ScheduleState::default() }, at(CREATED), at(now));
        let minutes = |time: Timestamp| time.as_millis() / MINUTE;
        (time.map(minutes), next.map(minutes))
    }

    #[test]
    fn missed_times_are_skipped_fired_once_or_all_fired() {
        for missed in [Missed::Skip, Missed::Once, Missed::All] {
            assert_eq!(due(missed, None, 5), (None, Some(10)), "it has only begun");
            assert_eq!(due(missed, Some(10), 10), (Some(10), Some(20)), "in time");
            assert_eq!(due(missed, Some(10), 5), (None, Some(10)), "the clock was set back");
        }
        for next in [None, Some(10)] {
            assert_eq!(due(Missed::Skip, next, 35), (None, Some(40)));
            assert_eq!(due(Missed::Once, next, 35), (Some(10), Some(40)));
            assert_eq!(due(Missed::All, next, 35), (Some(10), Some(20)));
        }
    }
}
