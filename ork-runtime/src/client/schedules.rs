//! Schedules: adding, listing, pausing, resuming, triggering and removing them.

use ork_workflow::Schedule;
use serde::Serialize;
use serde_json::Value;

use super::{Client, ClientError, Input};
use crate::clock::Timestamp;
use crate::engine::scheduler::ScheduleSpec;
use crate::engine::submit::{self, SubmitError, SubmitOptions};
use crate::id::JobId;
use crate::job::{JobKind, State, UniqueKey};
use crate::store::{Filter, JobView, StoreError, StoreErrorKind};
use crate::tree::CancelMode;
use crate::tx::{PauseResult, PauseSchedule};
use crate::workflow_run::SCHEDULE;

/// The largest number of schedules that are listed.
const MOST: usize = 10_000;

/// The status of a schedule.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ScheduleStatus {
    /// The name of the schedule, which is unique.
    pub name: String,
    /// The job of the schedule, which has not ended as long as the schedule exists.
    pub job: JobId,
    /// The cron expression, the time zone, and how missed and overlapping times are handled.
    #[serde(flatten)]
    pub schedule: Schedule,
    /// The name of the task that the schedule starts a job of at each of its times.
    pub task: String,
    /// Whether the schedule is paused: it starts no jobs until it is resumed.
    pub paused: bool,
    /// The time at which the schedule fires next. `None` while it is paused, and before a worker has seen it for the
    /// first time.
    pub next: Option<Timestamp>,
    /// The job that the schedule started last; `None` if it has started none.
    pub last: Option<JobId>,
}

/// The operations on schedules. Made by [`Client::schedules`].
///
/// ```
/// # #[ork::task] fn report(day: String) {}
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ork = ork::builder().store("memory:").build().await?;
/// use ork::workflow::Schedule;
///
/// let each_morning: Schedule = serde_json::from_str(r#"{"cron": "0 6 * * *"}"#)?;
/// let added = ork.schedules().add("morning", each_morning, "report", serde_json::json!({ "day": "today" })).await?;
/// assert_eq!(ork.schedules().list().await?, [added]);
/// ork.schedules().remove("morning").await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Schedules<'a>(&'a Client);

impl Client {
    /// Returns the operations on schedules.
    pub const fn schedules(&self) -> Schedules<'_> {
        Schedules(self)
    }
}

impl Schedules<'_> {
    /// Adds a schedule, which submits a job of a task at each of its times. It replaces the schedule of the same
    /// name, if there is one.
    ///
    /// # Errors
    /// Returns an error if this program has no such task, the input does not match the schema of the task, the
    /// schedule has no future time, or the store cannot be written.
    ///
    /// # Cancel safety
    /// If the future is dropped, the old schedule may or may not have been removed, and the new one may or may not
    /// have been added.
    pub async fn add(
        self,
        name: &str,
        schedule: Schedule,
        task: &str,
        input: Value,
    ) -> Result<ScheduleStatus, ClientError> {
        let table = ScheduleSpec { name: name.to_owned(), schedule, task: task.to_owned(), input };
        let now = self.0.engine.clock.now();
        let body = table.input_at(now).map_err(|source| ClientError::Serialize { task: SCHEDULE, source })?;
        drop(self.0.new_job(task, JobKind::Job, Input::Json(body), None)?);
        if table.after(now).is_none() {
            let message = format!("the schedule `{}` never fires", table.schedule.cron);
            return Err(ClientError::Store(StoreError::new(StoreErrorKind::Config, message)));
        }
        let body = serde_json::to_vec(&table).map_err(|source| ClientError::Serialize { task: SCHEDULE, source })?;
        let key = UniqueKey { key: format!("{SCHEDULE} {name}").into(), stale_after: None };
        loop {
            let options = SubmitOptions { unique: Some(key.clone()), ..SubmitOptions::default() };
            let new = self.0.new_job(SCHEDULE, JobKind::Job, Input::Typed(body.clone().into()), None)?;
            let id = new.job.id;
            match submit::submit(&self.0.engine, new, options).await {
                Ok(_) => return Ok(status(table, &self.0.view(id).await?)),
                Err(SubmitError::Taken { job, .. }) => self.end(job).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Lists all schedules, sorted by name.
    ///
    /// # Errors
    /// Returns an error if there is no store, or the store cannot be read.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it only reads.
    pub async fn list(self) -> Result<Vec<ScheduleStatus>, ClientError> {
        let states = State::ALL.into_iter().filter(|state| !state.is_final()).collect();
        let filter = Filter { states, task: Some(SCHEDULE.into()), limit: MOST, ..Filter::default() };
        let views = self.0.engine.store.jobs(filter).await?;
        // A job of this task that another program submitted may be no schedule; it fails when a worker reads it.
        let read = |view: JobView| Some(status(serde_json::from_slice(&view.input).ok()?, &view));
        let mut all: Vec<_> = views.into_iter().filter_map(read).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Pauses a schedule: it starts no jobs until it is resumed. Returns `false` if it was paused already.
    ///
    /// # Errors
    /// Returns an error if there is no such schedule, or the store cannot be written.
    ///
    /// # Cancel safety
    /// If the future is dropped, the schedule may or may not have been paused.
    pub async fn pause(self, name: &str) -> Result<bool, ClientError> {
        let (found, _) = self.find(name).await?;
        self.pause_or_resume(name, found.job, None).await
    }

    /// Resumes a paused schedule, which fires again at its next time. Returns `false` if it was not paused.
    ///
    /// # Errors
    /// Returns an error if there is no such schedule, or the store cannot be written.
    ///
    /// # Cancel safety
    /// If the future is dropped, the schedule may or may not have been resumed.
    pub async fn resume(self, name: &str) -> Result<bool, ClientError> {
        let (found, table) = self.find(name).await?;
        let next = table.after(self.0.engine.clock.now());
        self.pause_or_resume(name, found.job, next).await
    }

    /// Submits the job of a schedule now, whether the schedule is paused or not, and returns the id of the job. The
    /// times of the schedule do not change.
    ///
    /// # Errors
    /// Returns an error if there is no such schedule, or the job cannot be submitted.
    ///
    /// # Cancel safety
    /// If the future is dropped, the job may or may not have been submitted.
    pub async fn trigger(self, name: &str) -> Result<JobId, ClientError> {
        let (_, table) = self.find(name).await?;
        let body = table.input_at(self.0.engine.clock.now());
        let body = body.map_err(|source| ClientError::Serialize { task: SCHEDULE, source })?;
        self.0.send(&table.task, JobKind::Job, Input::Json(body), SubmitOptions::default(), None).await
    }

    /// Removes a schedule. The jobs that it has started continue.
    ///
    /// # Errors
    /// Returns an error if there is no such schedule, or the store cannot be written.
    ///
    /// # Cancel safety
    /// If the future is dropped, the schedule may or may not have been removed.
    pub async fn remove(self, name: &str) -> Result<(), ClientError> {
        let (found, _) = self.find(name).await?;
        self.end(found.job).await
    }

    /// Cancels the job of a schedule, unless it has ended.
    async fn end(self, job: JobId) -> Result<(), ClientError> {
        match self.0.cancel(job, CancelMode::Immediate).await {
            Err(ClientError::InvalidState { .. }) => Ok(()),
            ended => ended,
        }
    }

    async fn pause_or_resume(self, name: &str, job: JobId, next: Option<Timestamp>) -> Result<bool, ClientError> {
        match self.0.engine.commit(PauseSchedule { job, next, actor: self.0.engine.actor() }).await? {
            PauseResult::Done => Ok(true),
            PauseResult::Already => Ok(false),
            PauseResult::NotFound => Err(no_schedule(name, &[])),
        }
    }

    async fn find(self, name: &str) -> Result<(ScheduleStatus, ScheduleSpec), ClientError> {
        let all = self.list().await?;
        let Some(found) = all.iter().find(|schedule| schedule.name == name) else {
            return Err(no_schedule(name, &all));
        };
        let view = self.0.view(found.job).await?;
        let table =
            serde_json::from_slice(&view.input).map_err(|source| ClientError::Output { id: found.job, source })?;
        Ok((found.clone(), table))
    }
}

fn status(table: ScheduleSpec, view: &JobView) -> ScheduleStatus {
    let state = view.job.schedule_state().copied().unwrap_or_default();
    let ScheduleSpec { name, schedule, task, .. } = table;
    ScheduleStatus { name, job: view.job.id, schedule, task, paused: state.paused, next: state.next, last: state.last }
}

fn no_schedule(name: &str, all: &[ScheduleStatus]) -> ClientError {
    let known: Vec<_> = all.iter().map(|schedule| format!("`{}`", schedule.name)).collect();
    let known = if known.is_empty() {
        "there are no schedules".to_owned()
    } else {
        format!("existing schedules: {}", known.join(", "))
    };
    ClientError::NoSchedule { name: name.to_owned(), known }
}
