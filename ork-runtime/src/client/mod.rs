//! The client: submits jobs, waits for them, watches, cancels and retries them, by typed messages or by task name.

mod error;
mod events;
mod handle;
mod hooks;
mod metrics;
mod retry;
mod runs;
#[cfg(feature = "workflow")]
mod schedules;
mod status;
mod submission;
mod tree;
mod unique;
pub(crate) mod waiters;
mod why;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _, TryStreamExt as _};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub use error::{ClientError, ClientErrorKind};
pub use handle::Handle;
pub use runs::Workflows;
#[cfg(feature = "workflow")]
pub use schedules::{ScheduleStatus, Schedules};
use status::watch;
pub use status::{JobOutcome, RunStatus, Status, StepStatus};
pub use submission::Submission;
pub use unique::Unique;
pub use why::{WaitsFor, Why};

use self::waiters::{Waiter, Waiters};
use crate::engine::Engine;
use crate::engine::large_outputs::OutputKey;
use crate::engine::submit;
#[doc(hidden)]
pub use crate::engine::submit::SubmitOptions;
use crate::id::JobId;
use crate::job::{JobKind, Phase, State};
use crate::store::{Filter, JobView, PartFilter, PartStatus};
use crate::task::def::TaskDef;
use crate::task::parts::SettledPart;
use crate::task::{CallError, TaskMessage};
use crate::tx::{ControlResult, NewJob};
use crate::worker::orphans::{self, OrphanError};
use crate::worker::retention;
use crate::worker::services::TTL;

/// The highest priority of a job.
const FIRST: u8 = 9;

/// The number of large outputs of parts that are read concurrently.
const READ_AHEAD: usize = 8;

/// The largest number of steps of a workflow run that [`Client::why`] reports on.
const MOST_BELOW: usize = 20;

/// A client: submits jobs, and reads and controls jobs in the store.
///
/// An [`Ork`](crate::app::Ork) dereferences to its client. A client is cheap to clone, and all clones share the
/// connections of the process that it comes from. It does not run jobs; that is what workers are for, in this process
/// or in others.
///
/// Jobs are submitted by the messages that `#[task]` generates, with [`submit`](Client::submit), or by the name of
/// the task and JSON, with [`submit_json`](Client::submit_json). Methods that read or control a job by its id need a
/// store.
///
/// ```
/// # #[ork::task] fn hello(name: String) -> String { format!("hello {name}") }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ork = ork::builder().store("memory:").build().await?;
/// # ork.spawn_worker();
/// let client: ork::Client = (*ork).clone();
/// let job = client.submit(hello { name: "Ada".into() }).await?;
/// assert_eq!(job.result().await?, "hello Ada");
///
/// let id = client.submit_json("hello", r#"{"name": "Grace"}"#.into()).await?;
/// let outcome = client.wait(id).await?;
/// assert_eq!(outcome.into_output::<String>()?, "hello Grace");
/// # ork.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) engine: Arc<Engine>,
    pub(crate) waiters: Waiters,
}

impl Client {
    pub(crate) fn new(engine: Arc<Engine>, waiters: Waiters) -> Self {
        Self { engine, waiters }
    }

    /// Submits a job. Await the returned [`Submission`] for a [`Handle`] to the job, or call [`Submission::result`]
    /// for its result.
    pub fn submit<M: TaskMessage>(&self, message: M) -> Submission<M> {
        Submission::new(self.clone(), message)
    }

    /// Submits many jobs at once, which is far cheaper than submitting them one by one. The handles are in the order
    /// of the messages.
    ///
    /// # Errors
    /// The first error. With a store, all jobs are written in one transaction, so that after an error none of them
    /// was submitted. Without a store the messages are published one by one, and some of them may be in their queues
    /// already. Several jobs of a task with a unique key are an error, because only one of them could hold the key.
    ///
    /// # Cancel safety
    /// If the future is dropped, either all jobs have been submitted or none; without a store some may have been.
    pub async fn submit_all<M: TaskMessage>(
        &self,
        messages: impl IntoIterator<Item = M>,
    ) -> Result<Vec<Handle<M>>, ClientError> {
        let new = |message: M| self.new_job(M::TASK, M::KIND, Input::Typed(encode(&message)?), None);
        let jobs = messages.into_iter().map(new).collect::<Result<Vec<_>, _>>()?;
        let handles = jobs.iter().map(|new| Handle::new(self.clone(), new.job.id)).collect();
        submit::submit_all(&self.engine, jobs).await?;
        Ok(handles)
    }

    /// Submits a job by the name of its task and its input as JSON. The input is checked against the task's schema
    /// first.
    ///
    /// # Errors
    /// Returns an error if this program has no such task, the input does not match the schema of the task, or the job
    /// cannot be written to the store or published.
    ///
    /// # Cancel safety
    /// If the future is dropped, the job may or may not have been submitted.
    pub async fn submit_json(&self, task: &str, body: Bytes) -> Result<JobId, ClientError> {
        self.submit_json_on(task, body, SubmitOptions::default()).await
    }

    /// Submits a job as [`Client::submit_json`] does, with options.
    #[doc(hidden)]
    pub async fn submit_json_on(&self, task: &str, body: Bytes, options: SubmitOptions) -> Result<JobId, ClientError> {
        self.send(task, JobKind::Job, Input::Json(body), options, None).await
    }

    /// Submits a job as [`Client::submit_json`] does, waits for it, and returns its result as JSON. This works
    /// without a store, too.
    ///
    /// # Errors
    /// As for [`Client::submit_json`]; [`Failed`](ClientError::Failed) or [`Cancelled`](ClientError::Cancelled) if
    /// the job ended in that state; [`Lost`](ClientError::Lost) if there is no store and the outcome did not arrive.
    ///
    /// # Cancel safety
    /// If the future is dropped, the job may or may not have been submitted; a submitted job continues.
    pub async fn submit_json_for_result(&self, task: &str, body: Bytes) -> Result<Box<RawValue>, ClientError> {
        self.send_and_wait(task, JobKind::Job, Input::Json(body), SubmitOptions::default()).await
    }

    /// Submits a job and waits for its result. The result comes as a reply if the broker has replies, otherwise from
    /// the store.
    async fn send_and_wait<T: DeserializeOwned>(
        &self,
        task: &str,
        kind: JobKind,
        input: Input,
        options: SubmitOptions,
    ) -> Result<T, ClientError> {
        let waiter = self.waiters.waiter();
        let id = self.send(task, kind, input, options, waiter.as_ref()).await?;
        match waiter {
            Some(waiter) => waiter.outcome(self, id).await,
            None => self.wait(id).await?.into_output(),
        }
    }

    /// Returns whether jobs are recorded in a store, so that they can be read later.
    pub fn has_store(&self) -> bool {
        self.engine.store.records_jobs()
    }

    /// Returns the current status of a job.
    ///
    /// # Errors
    /// Returns an error if the job does not exist, there is no store, or the store cannot be read.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it only reads.
    pub async fn status(&self, id: JobId) -> Result<Status, ClientError> {
        self.view(id).await.map(Status::new)
    }

    /// Waits until a job has ended, and returns its outcome, whether it succeeded or not.
    ///
    /// # Errors
    /// Returns an error if the job does not exist, there is no store, or the store or a large output cannot be read.
    ///
    /// # Cancel safety
    /// This method is cancel safe: the job continues if the future is dropped.
    pub async fn wait(&self, id: JobId) -> Result<JobOutcome, ClientError> {
        let mut changes = self.engine.store.notifier().of(id, false);
        loop {
            let mut view = self.view(id).await?;
            if view.job.state.is_final() {
                if let Some(row) = view.output.take() {
                    view.output = Some(self.engine.large.read(OutputKey { job: id, part: None }, row).await?);
                }
                return Ok(JobOutcome::new(view));
            }
            changes.changed().await;
        }
    }

    /// Returns a stream of the status of a job: the current one, then a new one after each change. The stream ends
    /// after the status in which the job has ended, or after an error.
    pub fn watch(&self, id: JobId) -> impl Stream<Item = Result<Status, ClientError>> + Send + use<> {
        watch(self.clone(), id)
    }

    /// Lists the jobs that match a filter, newest first.
    ///
    /// # Errors
    /// Returns an error if there is no store, or the store cannot be read.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it only reads.
    pub async fn jobs(&self, filter: Filter) -> Result<Vec<Status>, ClientError> {
        Ok(self.engine.store.jobs(filter).await?.into_iter().map(Status::new).collect())
    }

    /// Returns at most `limit` parts of a job that have ended, with their outputs, in order of their index from
    /// `from` on.
    ///
    /// # Errors
    /// Returns an error if there is no store, or the store or a large output cannot be read.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it only reads.
    pub async fn part_outputs(&self, id: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, ClientError> {
        let parts = self.engine.store.parts(id, from, limit).await?;
        let whole = parts.into_iter().map(|mut part| async {
            if let Some(row) = part.output.take() {
                part.output = Some(self.engine.large.read(OutputKey { job: id, part: Some(part.index) }, row).await?);
            }
            Ok(part)
        });
        futures_util::stream::iter(whole).buffered(READ_AHEAD).try_collect().await
    }

    /// Lists the parts that the split of a job has yielded so far, each with its state, in order of their index. The
    /// filter selects a page of them.
    ///
    /// ```
    /// # use ork::{Client, ClientError, JobId, PartFilter, PartState};
    /// # async fn example(client: Client, id: JobId) -> Result<(), ClientError> {
    /// let busy = vec![PartState::Running, PartState::Retrying];
    /// for part in client.parts(id, PartFilter { states: busy, from: 0, limit: 20 }).await? {
    ///     println!("part {} is {} in attempt {}", part.index, part.state, part.attempts);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the job does not exist, there is no store, or the store cannot be read.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it only reads.
    pub async fn parts(&self, id: JobId, filter: PartFilter) -> Result<Vec<PartStatus>, ClientError> {
        let parts = self.engine.store.list_parts(id, filter).await?;
        if parts.is_empty() {
            self.view(id).await?;
        }
        Ok(parts)
    }

    /// Explains what a job waits for, in one sentence with numbers and times. For a workflow run it also explains
    /// what the steps that have started wait for.
    ///
    /// ```
    /// # use ork::{Client, ClientError, JobId, WaitsFor};
    /// # async fn example(client: Client, id: JobId) -> Result<(), ClientError> {
    /// let why = client.why(id).await?;
    /// if why.waits_for == WaitsFor::Worker {
    ///     eprintln!("job {id} is {}: {why}", why.state);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the job does not exist, there is no store, or the store cannot be read.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it only reads.
    pub async fn why(&self, id: JobId) -> Result<Why, ClientError> {
        let (mut why, started) = self.why_one(id).await?;
        for task in started.into_iter().take(MOST_BELOW) {
            match self.why_one(task).await {
                Ok((task, _)) => why.below.push(task),
                // The job was removed in the meantime.
                Err(ClientError::JobNotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(why)
    }

    /// Explains what one job waits for. If it is a workflow run, the jobs of its started steps are returned, too.
    async fn why_one(&self, id: JobId) -> Result<(Why, Vec<JobId>), ClientError> {
        let engine = &self.engine;
        // The job is read last, so that its state is at least as new as everything else.
        let diagnostics = engine.store.diagnostics(id).await?;
        let view = self.view(id).await?;
        let task = engine.registry.get(&view.job.task).ok();
        let def = task.and_then(|task| match (view.job.phase, view.job.kind) {
            (Phase::Join, _) => task.join.as_ref(),
            (Phase::Start, JobKind::Single) => Some(&task.work),
            (Phase::Start, JobKind::Job | JobKind::Step) => Some(task.entry()),
        });
        let limits = |def: &TaskDef| why::Limits { attempts: def.options.retries + 1, timeout: def.options.timeout };
        let queue = task.map_or_else(|| view.job.task.clone(), |task| task.queue().to_owned());
        let with_broker =
            !view.job.state.is_final() && diagnostics.outbox.free == 0 && diagnostics.outbox.held.is_empty();
        // An unreachable broker is no error here: the number of queued messages is then unknown.
        let in_queue = if with_broker { engine.broker.waiting(&queue).await.ok().flatten() } else { None };
        let started = view.job.workflow_run().map(|run| run.started_jobs(id)).unwrap_or_default();
        let why = why::why(&why::Facts {
            now: engine.clock.now(),
            diagnostics,
            own_boot: engine.worker.boot(),
            ttl: TTL,
            queue: engine.broker.needs_relay().then(|| engine.broker.queue(&queue)),
            in_queue,
            options: def.map(limits),
            view,
        });
        Ok((why, started))
    }

    /// Removes jobs that ended at least `older_than` ago, with their parts and all jobs below them, and returns how
    /// many jobs were removed. A tree of jobs is removed only once all jobs in it have ended.
    ///
    /// If a queue of the broker still holds a message of a removed job, that message starts the job again. Large
    /// outputs outside of the store are removed with their jobs, once they are more than an hour old.
    ///
    /// # Errors
    /// Returns an error if there is no store, or the store cannot be written; some jobs may have been removed then.
    /// It also fails if the large outputs of removed jobs cannot be removed; a later call, or a worker with the
    /// setting `retention`, removes them then.
    ///
    /// # Cancel safety
    /// If the future is dropped, no further job is removed. Jobs are removed one after the other, each as a whole;
    /// only of a job with many parts, some of the parts may have been removed.
    pub async fn prune(&self, older_than: Duration) -> Result<u64, ClientError> {
        let now = self.engine.clock.now();
        let jobs = retention::sweep(&*self.engine.store, now - older_than).await?.jobs;
        if let Some(place) = self.engine.large.place() {
            match orphans::collect(&*self.engine.store, &place, now).await {
                Ok(_) => {}
                Err(OrphanError::Store(error)) => return Err(error.into()),
                Err(OrphanError::Objects(error)) => return Err(error.into()),
            }
        }
        Ok(jobs)
    }

    fn checked(id: JobId, verb: &'static str, result: ControlResult) -> Result<(), ClientError> {
        match result {
            ControlResult::Done
            // Only a retry returns these, and it has handled them before.
            | ControlResult::OnlyBelow
            | ControlResult::PartNotRetryable(_)
            | ControlResult::KeyTaken(_) => Ok(()),
            ControlResult::AncestorCancelled(ancestor) => Err(ClientError::AncestorCancelled { id, ancestor }),
            ControlResult::Superseded(counts) => Err(ClientError::Superseded { id, counts }),
            ControlResult::InvalidState(state) => Err(ClientError::InvalidState { id, verb, state }),
            ControlResult::NotFound => Err(ClientError::JobNotFound { id }),
        }
    }

    async fn view(&self, id: JobId) -> Result<JobView, ClientError> {
        self.engine.store.job(id).await?.ok_or_else(|| ClientError::JobNotFound { id })
    }

    /// Checks an input, creates a job with it, and submits the job.
    pub(crate) async fn send(
        &self,
        task: &str,
        kind: JobKind,
        input: Input,
        mut options: SubmitOptions,
        waiter: Option<&Waiter>,
    ) -> Result<JobId, ClientError> {
        let mut new = self.new_job(task, kind, input, waiter)?;
        new.job.hooks = options.hooks.take();
        if options.first {
            new.job.priority = FIRST;
        }
        let id = new.job.id;
        submit::submit(&self.engine, new, options).await?;
        Ok(id)
    }

    /// Checks an input, and creates a job with it.
    fn new_job(&self, task: &str, kind: JobKind, input: Input, waiter: Option<&Waiter>) -> Result<NewJob, ClientError> {
        let task = Arc::clone(self.engine.registry.get(task)?);
        let (Input::Typed(body) | Input::Json(body)) = &input;
        self.engine.settings.limits.check(body)?;
        let def = if kind == JobKind::Single { &task.work } else { task.entry() };
        let checked = match &input {
            Input::Typed(body) => def.check_rules(body).map_err(CallError::Input),
            Input::Json(body) => def.check(body),
        };
        if let Err(CallError::Input(error)) = checked {
            return Err(ClientError::InvalidInput { task: task.name(), error });
        }
        let (Input::Typed(body) | Input::Json(body)) = input;
        let mut job = submit::new_job(&self.engine, &task, kind);
        job.reply = waiter.map(|waiter| waiter.expect(job.id));
        Ok(NewJob { job, input: body })
    }

    /// Returns the definition of the function that receives the input of a job of this task: the split if the task
    /// has one, otherwise the task's own function.
    ///
    /// # Errors
    /// Returns an error if this program has no such task.
    pub fn entry(&self, task: &str) -> Result<&TaskDef, ClientError> {
        Ok(self.engine.registry.get(task)?.entry())
    }
}

/// The input of a new job.
pub(crate) enum Input {
    /// Serialized from the type that the task takes.
    Typed(Bytes),
    /// JSON of the caller, whose types are checked.
    Json(Bytes),
}

fn encode<M: TaskMessage>(message: &M) -> Result<Bytes, ClientError> {
    message.to_json().map_err(|source| ClientError::Serialize { task: M::TASK, source })
}

/// Returns whether a job in this state has a result.
pub(crate) const fn is_success(state: State) -> bool {
    matches!(state, State::Succeeded)
}
