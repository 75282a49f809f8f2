//! Schedules: the jobs that they start, for which times, and how often.

use std::collections::BTreeMap;
use std::sync::Arc;

use ork::workflow::{Missed, Overlap, Schedule};
use ork::{ClientError, Context, Filter, JobId, JobState, Ork, Result, State, task};
use ork_ports::store::JobView;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::names::{Property, Reached};
use super::store::store_time;
use super::tasks::{Here, Script};
use super::world::World;

/// The task that drives a schedule.
pub(crate) const SCHEDULE: &str = "ork.schedule";

const MINUTE: i64 = 60_000;

/// For how long a schedule continues after all else has ended, in milliseconds: some of its times are in the calm.
pub(crate) const LASTS: u64 = 250_000;

/// A job is started within this time, in milliseconds, if nothing prevents a worker from it.
const IN_TIME: i64 = 10_000;

/// By how many milliseconds the clock of a process may be ahead of the store's clock, by which it is set.
const AHEAD: i64 = 2_000;

/// A schedule that starts a job at each minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Minutely {
    missed: Missed,
    pub(crate) overlap: Overlap,
}

impl Minutely {
    pub(crate) fn generate(number: u64) -> Self {
        let missed = match number % 3 {
            0 => Missed::All,
            1 => Missed::Once,
            _ => Missed::Skip,
        };
        Self { missed, overlap: if number.is_multiple_of(2) { Overlap::Allow } else { Overlap::Skip } }
    }
}

/// The jobs that the schedules of a run have started.
#[derive(Debug, Default)]
pub(crate) struct Ticks {
    /// The number of jobs for each time, by the schedule's number and that time as the jobs receive it.
    started: BTreeMap<(u64, String), u32>,
}

/// The task that schedules start.
#[task(retries = 2, backoff = "500ms")]
pub(crate) async fn ticked(of: u64, at: String, script: Script, here: State<Here>, context: Context) -> Result<u64> {
    here.world.note(here.owner, format_args!("ticks  {of} of {at}"));
    here.play(&script, &context).await
}

/// The number of the schedule that started a job, and the time for which it did.
fn tick_of(view: &JobView) -> Option<(u64, String)> {
    let input: Value = serde_json::from_slice(&view.input).ok()?;
    Some((input.get("of")?.as_u64()?, input.get("at")?.as_str()?.to_owned()))
}

/// Formats a time as started jobs receive it; later times compare as greater.
fn shown(millis: i64) -> String {
    Schedule::new("* * * * *", "UTC").shown(millis).unwrap()
}

impl World {
    /// Creates a schedule, waits until all else has ended and for a while after that, and removes it.
    pub(crate) async fn schedule(self: &Arc<Self>, ork: &Ork, number: u64, minutely: Minutely, script: Script) {
        let name = format!("schedule {number}");
        let Minutely { missed, overlap } = minutely;
        let schedule =
            Schedule { missed, overlap, time_as: Some("at".to_owned()), ..Schedule::new("* * * * *", "UTC") };
        let input = json!({ "of": number, "script": script });
        let known = self.clients.scheduled.lock().unwrap().get(&number).copied();
        let made = if let Some(made) = known {
            made
        } else {
            while ork.schedules().add(&name, schedule.clone(), "ticked", input.clone()).await.is_err() {
                self.executor.sleep(500_000).await;
            }
            let made = self.executor.now();
            self.clients.scheduled.lock().unwrap().insert(number, made);
            made
        };
        let made = store_time(made);
        self.clients.others_ended().await;
        let (calm, removed) = (self.time(), self.executor.now() + LASTS * 1_000);
        self.executor.sleep(LASTS * 1_000).await;
        loop {
            match ork.schedules().remove(&name).await {
                Ok(()) | Err(ClientError::NoSchedule { .. }) => break,
                Err(_refused) => self.executor.sleep(500_000).await,
            }
        }
        if self.scenario.undoes() {
            return;
        }
        let is_complete = missed == Missed::All && overlap == Overlap::Allow && !self.scenario.pauses(number);
        let from = if is_complete { made } else { calm };
        let times = (from.as_millis() / MINUTE + 1..).map(|minute| minute * MINUTE);
        let is_past = |time: &i64| *time < store_time(removed).as_millis() - IN_TIME;
        let is_missing = |time: &i64| !self.ticks.lock().unwrap().started.contains_key(&(number, shown(*time)));
        let past: Vec<_> = times.take_while(is_past).collect();
        // The job of one time may not have ended at the next one, but no time is skipped for ever.
        let missing = match overlap {
            Overlap::Allow => past.iter().find(|time| is_missing(time)),
            Overlap::Skip => past.first().filter(|_| past.iter().all(is_missing)),
        };
        if let Some(time) = missing {
            let detail = format!("schedule {number}, {missed:?}, has started nothing for {}", shown(*time));
            self.oracle(|oracle| oracle.report(Property::Schedule, detail));
        }
    }

    /// Pauses a schedule for a while.
    pub(crate) async fn pause_schedule(self: &Arc<Self>, ork: &Ork, number: u64, lasts: u64) {
        let name = format!("schedule {number}");
        let mut is_paused = true;
        for pauses in [true, false] {
            loop {
                let done =
                    if pauses { ork.schedules().pause(&name).await } else { ork.schedules().resume(&name).await };
                match done {
                    Ok(_) => break,
                    Err(ClientError::NoSchedule { .. }) => {
                        is_paused = false;
                        break;
                    }
                    Err(_refused) => self.executor.sleep(500_000).await,
                }
            }
            let word = if pauses { "pauses" } else { "resumes" };
            self.note(self.executor.polled(), format_args!("client {word} schedule {number}"));
            if pauses {
                self.executor.sleep(lasts * 1_000).await;
            }
        }
        if is_paused {
            self.oracle(|oracle| oracle.reaches(Reached::Paused));
        }
    }

    /// Returns whether each schedule waits for a time in the future.
    pub(crate) fn schedules_wait(&self) -> bool {
        let states = JobState::ALL.into_iter().filter(|state| !state.is_final()).collect();
        let filter = Filter { limit: usize::MAX, task: Some(SCHEDULE.into()), states, ..Filter::default() };
        let now = self.time();
        self.truth(|tables| tables.jobs(&filter)).iter().all(|view| view.job.due.is_some_and(|due| due > now))
    }

    /// Checks a job that a schedule has started: it is the only one for its time, does not start before that time,
    /// and, with `Overlap::Skip`, no earlier one is open.
    pub(crate) fn check_tick(&self, id: JobId) {
        let Some(view) = self.truth(|tables| tables.job(id)) else { return };
        let Some((number, at)) = tick_of(&view) else { return };
        self.oracle(|oracle| oracle.reaches(Reached::StartedBySchedules));
        let report = |detail| self.oracle(|oracle| oracle.report(Property::Schedule, detail));
        if at > shown(self.time().as_millis() + AHEAD) {
            report(format!("{id} is started by schedule {number} before its time, {at}"));
        }
        let n_started = {
            let mut ticks = self.ticks.lock().unwrap();
            let n_started = ticks.started.entry((number, at.clone())).or_default();
            *n_started += 1;
            *n_started
        };
        if self.scenario.undoes() {
            return;
        }
        if n_started > 1 {
            report(format!("{id} is one of {n_started} that schedule {number} starts for {at}"));
        }
        let is_beside = |other: &JobView| other.job.id != id && tick_of(other).is_some_and(|(of, _)| of == number);
        if self.scenario.may_not_overlap(number) && self.open_ticked().iter().any(is_beside) {
            report(format!("{id} is started by schedule {number}, and what it started before has not ended"));
        }
    }

    fn open_ticked(&self) -> Vec<JobView> {
        let states = JobState::ALL.into_iter().filter(|state| !state.is_final()).collect();
        let filter = Filter { limit: usize::MAX, task: Some("ticked".into()), states, ..Filter::default() };
        self.truth(|tables| tables.jobs(&filter))
    }
}
