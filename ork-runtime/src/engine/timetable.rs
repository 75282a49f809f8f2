//! Schedules at work: what the time of one means, and starting what is due.

use std::sync::Arc;
use std::time::Duration;

use ork_workflow::{Missed, Schedule};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::invoke::Called;
use super::{Done, Engine, ProcessError, services, settle};
use crate::accounting::{Answer, NewJob, Tick};
use crate::clock::Timestamp;
use crate::job::{Job, Kind, Phase};
use crate::message::Message;
use crate::registry::Task;
use crate::role::Role;
use crate::schedule::Ticks;
use crate::task::{CallError, Error};

/// A time that is so long past was missed.
const LATE: Duration = Duration::from_mins(1);

/// The input of a schedule's job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Timetable {
    /// The schedule's name.
    pub(crate) name: String,
    /// When.
    #[serde(flatten)]
    pub(crate) schedule: Schedule,
    /// The task that is started.
    pub(crate) task: String,
    /// Its input.
    pub(crate) input: Value,
}

impl Timetable {
    /// The first time after this one.
    pub(crate) fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        self.schedule.next_after(moment.as_millis()).map(Timestamp::from_millis)
    }

    /// Whether something starts now, and the next time.
    fn due(&self, ticks: Ticks, now: Timestamp) -> (bool, Option<Timestamp>) {
        // Nothing is started twice where a clock was set back.
        let Some(due) = ticks.next.filter(|due| *due <= now) else {
            return (false, ticks.next.or_else(|| self.after(now)));
        };
        match self.schedule.missed {
            Missed::Skip => (now - due <= LATE, self.after(now)),
            Missed::Once => (true, self.after(now)),
            Missed::All => (true, self.after(due)),
        }
    }

    /// The job that it starts.
    pub(crate) fn start(&self, engine: &Engine) -> Result<NewJob, Error> {
        let task = engine.registry.get(&self.task)?;
        let input = serde_json::to_vec(&self.input).map_err(Error::permanent)?;
        Ok(NewJob { job: services::new_job(engine, task, Kind::Whole), input: input.into() })
    }
}

/// Does what is due of a claimed schedule.
pub(super) async fn tick(
    engine: &Arc<Engine>,
    mut job: Box<Job>,
    task: &Task,
    message: &Message,
) -> Result<Done, ProcessError> {
    let foreign = matches!(job.role.as_deref(), Some(Role::Foreign));
    let refused = Error::permanent("schedules are made through the store, with `schedules add`, and not over a broker");
    let table = if foreign {
        Err(refused)
    } else {
        serde_json::from_slice::<Timetable>(&message.body)
            .map_err(|error| Error::permanent(format!("this is no schedule: {error}")))
    };
    let now = engine.clock.now();
    let due = table.and_then(|table| {
        let (starts, next) = table.due(job.ticks().copied().unwrap_or_default(), now);
        Ok((starts.then(|| table.start(engine)).transpose()?, next))
    });
    let (starts, next) = match due {
        Ok(due) => due,
        Err(error) => {
            let called = (Called::Failed(CallError::Task(error)), None);
            settle::job(engine, &mut job, (&task.work, None), Phase::Start, called).await?;
            return Ok(Done::Settled);
        }
    };
    let tick = Tick { job: job.id, attempt: job.attempt, starts, next, by: engine.by() };
    if let Answer::Counted(owed) = engine.store.apply(tick).await? {
        engine.outbox.send(owed).await;
    }
    Ok(Done::Settled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn due(missed: Missed, next: Option<i64>, now: i64) -> (bool, Option<i64>) {
        let schedule = Schedule { cron: "*/10 * * * *".into(), timezone: "UTC".into(), missed };
        let table = Timetable { name: "a".into(), schedule, task: "t".into(), input: Value::Null };
        let ticks = Ticks { next: next.map(|next| Timestamp::from_millis(next * MINUTE)), ..Ticks::default() };
        let (starts, next) = table.due(ticks, Timestamp::from_millis(now * MINUTE));
        (starts, next.map(|next| next.as_millis() / MINUTE))
    }

    #[test]
    fn what_was_missed_is_skipped_done_once_or_made_up_for() {
        for missed in [Missed::Skip, Missed::Once, Missed::All] {
            assert_eq!(due(missed, None, 5), (false, Some(10)), "it has only begun");
            assert_eq!(due(missed, Some(10), 10), (true, Some(20)), "in time");
            assert_eq!(due(missed, Some(10), 5), (false, Some(10)), "the clock was set back");
        }
        assert_eq!(due(Missed::Skip, Some(10), 35), (false, Some(40)));
        assert_eq!(due(Missed::Once, Some(10), 35), (true, Some(40)));
        assert_eq!(due(Missed::All, Some(10), 35), (true, Some(20)));
    }
}
