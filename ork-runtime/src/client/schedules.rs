//! Schedules: making one, how they stand, pausing, going on, starting one by hand, removing.

use ork_workflow::Schedule;
use serde::Serialize;
use serde_json::Value;

use super::{Client, ClientError};
use crate::clock::Timestamp;
use crate::engine::scheduler::ScheduleSpec;
use crate::engine::services::{self, SendError, Terms};
use crate::id::JobId;
use crate::job::{JobKind, State, UniqueKey};
use crate::store::{Filter, JobView, StoreError, StoreErrorKind};
use crate::tx::{PauseResult, PauseSchedule};
use crate::workflow_run::SCHEDULE;

/// More schedules than this are not listed.
const MOST: usize = 10_000;

/// How a schedule stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ScheduleStatus {
    /// Its name.
    pub name: String,
    /// Its job, which never ends.
    pub job: JobId,
    /// When it starts something.
    #[serde(flatten)]
    pub schedule: Schedule,
    /// The task that it starts.
    pub task: String,
    /// Whether it starts nothing.
    pub paused: bool,
    /// The next time.
    pub next: Option<Timestamp>,
    /// The job that it started last.
    pub last: Option<JobId>,
}

impl Client {
    /// Lets a task be started by the clock; takes the place of the schedule of this name, if there is one.
    ///
    /// # Errors
    /// When there is no such task, it does not take this input, the schedule never comes, or the store cannot be written.
    ///
    /// # Cancel safety
    /// There may or may not be a schedule of this name if the future is dropped.
    pub async fn schedule(
        &self,
        name: &str,
        schedule: Schedule,
        task: &str,
        input: Value,
    ) -> Result<ScheduleStatus, ClientError> {
        let table = ScheduleSpec { name: name.to_owned(), schedule, task: task.to_owned(), input };
        let now = self.engine.clock.now();
        let body = table.input_at(now).map_err(|source| ClientError::Input { task: SCHEDULE, source })?;
        drop(self.new_job(task, JobKind::Full, body, None)?);
        if table.after(now).is_none() {
            let words = format!("the schedule `{}` never comes", table.schedule.cron);
            return Err(ClientError::Store(StoreError::new(StoreErrorKind::Config, words)));
        }
        let body = serde_json::to_vec(&table).map_err(|source| ClientError::Input { task: SCHEDULE, source })?;
        let key = UniqueKey { key: format!("{SCHEDULE} {name}").into(), stale_after: None };
        loop {
            let terms = Terms { unique: Some(key.clone()), ..Terms::default() };
            let new = self.new_job(SCHEDULE, JobKind::Full, body.clone().into(), None)?;
            let id = new.job.id;
            match services::send(&self.engine, new, terms).await {
                Ok(_) => return Ok(status(table, &self.view(id).await?)),
                Err(SendError::Taken { job, .. }) => self.end(job).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Every schedule, by name.
    ///
    /// # Errors
    /// When there is no store, or it cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn schedules(&self) -> Result<Vec<ScheduleStatus>, ClientError> {
        let states = State::ALL.into_iter().filter(|state| !state.is_final()).collect();
        let filter = Filter { states, task: Some(SCHEDULE.into()), limit: MOST, ..Filter::default() };
        let views = self.engine.store.jobs(filter).await?;
        // What another program wrote under this task's name is no schedule, and fails when it is read.
        let read = |view: JobView| Some(status(serde_json::from_slice(&view.input).ok()?, &view));
        let mut all: Vec<_> = views.into_iter().filter_map(read).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Lets a schedule start nothing until it is resumed. Answers whether it was not so before.
    ///
    /// # Errors
    /// When there is no such schedule, or the store cannot be written.
    ///
    /// # Cancel safety
    /// The schedule may or may not be paused if the future is dropped.
    pub async fn pause_schedule(&self, name: &str) -> Result<bool, ClientError> {
        let (found, _) = self.find_schedule(name).await?;
        self.pause_or_resume(name, found.job, None).await
    }

    /// Lets a paused schedule go on at its next time. Answers whether it was paused.
    ///
    /// # Errors
    /// When there is no such schedule, or the store cannot be written.
    ///
    /// # Cancel safety
    /// The schedule may or may not go on if the future is dropped.
    pub async fn resume_schedule(&self, name: &str) -> Result<bool, ClientError> {
        let (found, table) = self.find_schedule(name).await?;
        let next = table.after(self.engine.clock.now());
        self.pause_or_resume(name, found.job, next).await
    }

    /// Starts now what a schedule starts, whether it is paused or not. Answers the job.
    ///
    /// # Errors
    /// When there is no such schedule, or its job cannot be handed over.
    ///
    /// # Cancel safety
    /// The job may or may not have been submitted if the future is dropped.
    pub async fn trigger_schedule(&self, name: &str) -> Result<JobId, ClientError> {
        let (_, table) = self.find_schedule(name).await?;
        let body = table.input_at(self.engine.clock.now());
        let body = body.map_err(|source| ClientError::Input { task: SCHEDULE, source })?;
        self.send(&table.task, JobKind::Full, body, Terms::default(), None).await
    }

    /// Removes a schedule. What it has started goes on.
    ///
    /// # Errors
    /// When there is no such schedule, or the store cannot be written.
    ///
    /// # Cancel safety
    /// The schedule may or may not be gone if the future is dropped.
    pub async fn remove_schedule(&self, name: &str) -> Result<(), ClientError> {
        let (found, _) = self.find_schedule(name).await?;
        self.end(found.job).await
    }

    /// Ends the job of a schedule; it may have ended.
    async fn end(&self, job: JobId) -> Result<(), ClientError> {
        match self.cancel(job).await {
            Err(ClientError::WrongState { .. }) => Ok(()),
            ended => ended,
        }
    }

    async fn pause_or_resume(&self, name: &str, job: JobId, next: Option<Timestamp>) -> Result<bool, ClientError> {
        match self.engine.commit(PauseSchedule { job, next, actor: self.engine.actor() }).await? {
            PauseResult::Done => Ok(true),
            PauseResult::Already => Ok(false),
            PauseResult::NotFound => Err(no_schedule(name, &[])),
        }
    }

    async fn find_schedule(&self, name: &str) -> Result<(ScheduleStatus, ScheduleSpec), ClientError> {
        let all = self.schedules().await?;
        let Some(found) = all.iter().find(|schedule| schedule.name == name) else {
            return Err(no_schedule(name, &all));
        };
        let view = self.view(found.job).await?;
        let table =
            serde_json::from_slice(&view.input).map_err(|source| ClientError::Output { id: found.job, source })?;
        Ok((found.clone(), table))
    }
}

fn status(table: ScheduleSpec, view: &JobView) -> ScheduleStatus {
    let ticks = view.job.schedule_state().copied().unwrap_or_default();
    let ScheduleSpec { name, schedule, task, .. } = table;
    ScheduleStatus { name, job: view.job.id, schedule, task, paused: ticks.paused, next: ticks.next, last: ticks.last }
}

fn no_schedule(name: &str, all: &[ScheduleStatus]) -> ClientError {
    let known: Vec<_> = all.iter().map(|schedule| format!("`{}`", schedule.name)).collect();
    let known = if known.is_empty() { "there are none".to_owned() } else { format!("there are {}", known.join(", ")) };
    ClientError::NoSchedule { name: name.to_owned(), known }
}
