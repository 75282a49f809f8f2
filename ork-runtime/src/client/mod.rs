//! The client: submit, wait, watch, cancel, retry; typed by the messages of tasks, or by name for programs.

mod error;
mod events;
mod handle;
mod hooks;
mod metrics;
mod retry;
mod runs;
#[cfg(feature = "workflow")]
mod schedules;
mod submission;
mod tree;
pub(crate) mod waiters;
mod why;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _, TryStreamExt as _};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub use error::ClientError;
use handle::follow;
pub use handle::{Handle, JobOutcome, Status};
pub use runs::{RunStatus, TaskStatus};
#[cfg(feature = "workflow")]
pub use schedules::ScheduleStatus;
pub use submission::Submission;
pub use why::{WaitsFor, Why};

use self::waiters::{Waiter, Waiters};
use crate::engine::large_outputs::Whose;
use crate::engine::services::Terms;
use crate::engine::{Engine, services};
use crate::id::JobId;
use crate::job::{JobKind, Phase, State};
use crate::store::{Filter, JobView, PartFilter, PartStatus, StoreError, StoreErrorKind};
use crate::task::def::TaskDef;
use crate::task::parts::SettledPart;
use crate::task::{CallError, TaskMessage};
use crate::tx::{ControlResult, NewJob};
use crate::worker::orphans::{self, OrphanError};
use crate::worker::retention;
use crate::worker::services::TTL;

/// The highest priority.
const FIRST: u8 = 9;

/// How many large outputs of parts are read at once.
const READ_AHEAD: usize = 8;

/// Of so many tasks of a run it is said what they wait for.
const MOST_BELOW: usize = 20;

/// Speaks to the store and the broker for a program that wants work done.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) engine: Arc<Engine>,
    pub(crate) waiters: Waiters,
}

impl Client {
    pub(crate) fn new(engine: Arc<Engine>, waiters: Waiters) -> Self {
        Self { engine, waiters }
    }

    /// Submits a job. Await the [`Submission`] for its [`Handle`], or [`Submission::and_wait`] for its result.
    pub fn submit<M: TaskMessage>(&self, message: M) -> Submission<M> {
        Submission::new(self.clone(), message)
    }

    /// Submits many jobs at once, which costs far less than one by one; the handles come in the same order.
    ///
    /// # Errors
    /// The first error. With a store then none of the jobs was submitted: all are written in one transaction. Without one
    /// their messages are published one by one, and some of them may be in their queue already. Several jobs of a task that
    /// takes a unique key are an error: only one of them could have it.
    ///
    /// # Cancel safety
    /// With a store all of the jobs are submitted or none is, if the future is dropped; without one some may be.
    pub async fn submit_all<M: TaskMessage>(
        &self,
        messages: impl IntoIterator<Item = M>,
    ) -> Result<Vec<Handle<M>>, ClientError> {
        let new = |message: M| self.new_job(M::TASK, M::KIND, encode(&message)?, None);
        let jobs = messages.into_iter().map(new).collect::<Result<Vec<_>, _>>()?;
        let handles = jobs.iter().map(|new| Handle::new(self.clone(), new.job.id)).collect();
        services::send_all(&self.engine, jobs).await?;
        Ok(handles)
    }

    /// Submits a job by the name of its task, with the JSON of its input, which is checked first.
    ///
    /// # Errors
    /// When the task is unknown, the input is not what it takes, or neither store nor broker takes the job.
    ///
    /// # Cancel safety
    /// The job may or may not have been submitted if the future is dropped.
    pub async fn submit_json(&self, task: &str, body: Bytes) -> Result<JobId, ClientError> {
        self.submit_json_on(task, body, Terms::default()).await
    }

    /// The same, on these terms.
    pub(crate) async fn submit_json_on(&self, task: &str, body: Bytes, terms: Terms) -> Result<JobId, ClientError> {
        self.check(task, &body)?;
        self.send(task, JobKind::Full, body, terms, None).await
    }

    /// Submits a job as [`Client::submit_json`] does, and waits for the JSON of its result; this works without a store.
    ///
    /// # Errors
    /// When it cannot be submitted; `Failed` or `Cancelled` if it ended so.
    ///
    /// # Cancel safety
    /// The job goes on if the future is dropped.
    pub async fn submit_json_and_wait(&self, task: &str, body: Bytes) -> Result<Box<RawValue>, ClientError> {
        self.check(task, &body)?;
        self.send_and_wait((task, JobKind::Full), body, Terms::default()).await
    }

    /// Submits a job and waits for its result, by reply where there are replies.
    async fn send_and_wait<T: DeserializeOwned>(
        &self,
        (task, kind): (&str, JobKind),
        body: Bytes,
        terms: Terms,
    ) -> Result<T, ClientError> {
        let waiter = self.waiters.waiter();
        let id = self.send(task, kind, body, terms, waiter.as_ref()).await?;
        match waiter {
            Some(waiter) => waiter.outcome(self, id).await,
            None => self.wait(id).await?.into_output(),
        }
    }

    /// Whether jobs are kept, so that they can be asked for later.
    pub fn keeps_jobs(&self) -> bool {
        self.engine.store.is_durable()
    }

    fn check(&self, task: &str, body: &[u8]) -> Result<(), ClientError> {
        self.engine.settings.limits.check(body)?;
        let entry = self.entry(task)?;
        match entry.check(body) {
            Err(CallError::Input(error)) => Err(ClientError::WrongInput { task: entry.name, error }),
            Err(_) | Ok(()) => Ok(()),
        }
    }

    /// How a job stands.
    ///
    /// # Errors
    /// When there is no such job, no store, or the store cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn status(&self, id: JobId) -> Result<Status, ClientError> {
        self.view(id).await.map(Status::new)
    }

    /// Waits for a job to end.
    ///
    /// # Errors
    /// When there is no such job, no store, or the store or a large output cannot be read.
    ///
    /// # Cancel safety
    /// The job goes on if the future is dropped.
    pub async fn wait(&self, id: JobId) -> Result<JobOutcome, ClientError> {
        let mut changes = self.engine.store.notifier().of(id, false);
        loop {
            let mut view = self.view(id).await?;
            if view.job.state.is_final() {
                if let Some(row) = view.output.take() {
                    view.output = Some(self.engine.large.read(Whose { job: id, part: None }, row).await?);
                }
                return Ok(JobOutcome::new(view));
            }
            changes.changed().await;
        }
    }

    /// How a job stands, now and whenever that changes, until it has ended.
    pub fn follow(&self, id: JobId) -> impl Stream<Item = Result<Status, ClientError>> + Send + use<> {
        follow(self.clone(), id)
    }

    /// Jobs, newest first.
    ///
    /// # Errors
    /// When there is no store, or it cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn jobs(&self, filter: Filter) -> Result<Vec<Status>, ClientError> {
        Ok(self.engine.store.jobs(filter).await?.into_iter().map(Status::new).collect())
    }

    /// At most `limit` settled parts of a job from index `from` on, in order.
    ///
    /// # Errors
    /// When there is no store, or it or a large output cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn parts(&self, id: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, ClientError> {
        let parts = self.engine.store.parts(id, from, limit).await?;
        let whole = parts.into_iter().map(|mut part| async {
            if let Some(row) = part.output.take() {
                part.output = Some(self.engine.large.read(Whose { job: id, part: Some(part.index) }, row).await?);
            }
            Ok(part)
        });
        futures_util::stream::iter(whole).buffered(READ_AHEAD).try_collect().await
    }

    /// How the parts of a job stand that its split has yielded: a page of them, in order of their index.
    ///
    /// ```
    /// # use ork::{Client, ClientError, JobId, PartFilter, PartState};
    /// # async fn example(client: Client, id: JobId) -> Result<(), ClientError> {
    /// let busy = vec![PartState::Running, PartState::Retrying];
    /// for part in client.list_parts(id, PartFilter { states: busy, from: 0, limit: 20 }).await? {
    ///     println!("part {} is {} in attempt {}", part.index, part.state, part.attempts);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When there is no such job, no store, or the store cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn list_parts(&self, id: JobId, filter: PartFilter) -> Result<Vec<PartStatus>, ClientError> {
        let parts = self.engine.store.list_parts(id, filter).await?;
        if parts.is_empty() {
            self.view(id).await?;
        }
        Ok(parts)
    }

    /// What a job waits for, in one sentence with numbers and times; of a run of a workflow also what its tasks wait for.
    ///
    /// # Errors
    /// When there is no such job, or the store cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn why(&self, id: JobId) -> Result<Why, ClientError> {
        let (mut why, begun) = self.why_one(id).await?;
        for task in begun.into_iter().take(MOST_BELOW) {
            match self.why_one(task).await {
                Ok((task, _)) => why.below.push(task),
                // It was removed in the meantime.
                Err(ClientError::Store(error)) if error.kind() == StoreErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(why)
    }

    /// The same of the job alone, and the jobs of its tasks that have begun, if it is a run.
    async fn why_one(&self, id: JobId) -> Result<(Why, Vec<JobId>), ClientError> {
        let engine = &self.engine;
        // The job comes last: its state is the newest that is known.
        let situation = engine.store.diagnostics(id).await?;
        let view = self.view(id).await?;
        let task = engine.registry.get(&view.job.task).ok();
        let def = task.and_then(|task| match (view.job.phase, view.job.kind) {
            (Phase::Join, _) => task.join.as_ref(),
            (Phase::Start, JobKind::Single) => Some(&task.work),
            (Phase::Start, JobKind::Full | JobKind::Step) => Some(task.entry()),
        });
        let limits = |def: &TaskDef| why::Limits { attempts: def.options.retries + 1, timeout: def.options.timeout };
        let queue = task.map_or_else(|| view.job.task.clone(), |task| task.queue().to_owned());
        let with_broker =
            !view.job.state.is_final() && situation.to_send.free == 0 && situation.to_send.held.is_empty();
        // A broker that is away says nothing.
        let in_queue = if with_broker { engine.broker.waiting(&queue).await.ok().flatten() } else { None };
        let begun = view.job.workflow_run().map(|flow| flow.begun(id)).unwrap_or_default();
        let why = why::why(&why::Facts {
            now: engine.clock.now(),
            situation,
            me: engine.worker.boot(),
            ttl: TTL,
            queue: engine.broker.needs_relay().then(|| engine.broker.queue(&queue)),
            in_queue,
            options: def.map(limits),
            view,
        });
        Ok((why, begun))
    }

    /// Removes the jobs that ended so long ago, with their parts and all jobs below them; a tree in which one job has not
    /// ended stays. Answers how many jobs are gone.
    ///
    /// A message of such a job that is still in a queue of a broker begins it anew. Large outputs that are kept elsewhere
    /// and were written more than an hour ago go once their jobs are gone.
    ///
    /// # Errors
    /// When there is no store, or it cannot be written; some jobs may have been removed then. When the large outputs of
    /// jobs that are gone cannot be removed; a later call, or a worker with `retention`, does it then.
    ///
    /// # Cancel safety
    /// Jobs are removed whole, one after the other, until the future is dropped; of one with many parts, some may be gone.
    pub async fn prune(&self, older_than: Duration) -> Result<u64, ClientError> {
        let now = self.engine.clock.now();
        let jobs = retention::sweep(&*self.engine.store, retention::earlier(now, older_than)).await?.jobs;
        if let Some(place) = self.engine.large.place() {
            match orphans::collect(&*self.engine.store, &place, now).await {
                Ok(_) => {}
                Err(OrphanError::Store(error)) => return Err(error.into()),
                Err(OrphanError::Objects(error)) => return Err(error.into()),
            }
        }
        Ok(jobs)
    }

    fn steered(id: JobId, verb: &'static str, steered: ControlResult) -> Result<(), ClientError> {
        match steered {
            ControlResult::Done
            // Only a retry can find these, and it looks at them.
            | ControlResult::OnlyBelow
            | ControlResult::PartNotRetryable(_) | ControlResult::KeyTaken(_) => Ok(()),
            ControlResult::AncestorCancelled(above) => Err(ClientError::Interrupted { id, above }),
            ControlResult::Superseded(counts) => Err(ClientError::Replaced { id, counts }),
            ControlResult::InvalidState(state) => Err(ClientError::WrongState { id, verb, state }),
            ControlResult::NotFound => Err(ClientError::Store(StoreError::no_job(id))),
        }
    }

    async fn view(&self, id: JobId) -> Result<JobView, ClientError> {
        self.engine.store.job(id).await?.ok_or_else(|| ClientError::Store(StoreError::no_job(id)))
    }

    /// Checks an input, makes a job of it, and hands it over.
    pub(crate) async fn send(
        &self,
        task: &str,
        kind: JobKind,
        body: Bytes,
        mut terms: Terms,
        waiter: Option<&Waiter>,
    ) -> Result<JobId, ClientError> {
        let mut new = self.new_job(task, kind, body, waiter)?;
        new.job.hooks = terms.hooks.take();
        if terms.first {
            new.job.priority = FIRST;
        }
        let id = new.job.id;
        services::send(&self.engine, new, terms).await?;
        Ok(id)
    }

    fn new_job(&self, task: &str, kind: JobKind, body: Bytes, waiter: Option<&Waiter>) -> Result<NewJob, ClientError> {
        let task = Arc::clone(self.engine.registry.get(task)?);
        self.engine.settings.limits.check(&body)?;
        let def = if kind == JobKind::Single { &task.work } else { task.entry() };
        def.check_rules(&body).map_err(|error| ClientError::WrongInput { task: task.name(), error })?;
        let mut job = services::new_job(&self.engine, &task, kind);
        job.reply = waiter.map(|waiter| waiter.expect(job.id));
        Ok(NewJob { job, input: body })
    }

    /// The function that takes the input of a whole job of this task.
    ///
    /// # Errors
    /// When there is no such task.
    pub fn entry(&self, task: &str) -> Result<&TaskDef, ClientError> {
        Ok(self.engine.registry.get(task)?.entry())
    }
}

fn encode<M: TaskMessage>(message: &M) -> Result<Bytes, ClientError> {
    message.to_json().map_err(|source| ClientError::Input { task: M::TASK, source })
}

/// Whether a job in this state has a result.
pub(crate) const fn is_success(state: State) -> bool {
    matches!(state, State::Succeeded)
}
