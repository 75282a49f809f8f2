//! `Context`: what a running task knows about its job and may ask of ork.

mod split;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ork_workflow::{Form, Runs};
use tokio_util::sync::CancellationToken;

pub(crate) use self::split::{Data, Made, NoSplit, Split};
use crate::clock::Timestamp;
use crate::id::JobId;
use crate::job::{JobKind, Phase, UniqueKey};
use crate::metric::{NoMetric, Series};
use crate::task::{CallError, Error, Result, TaskMessage};

/// A job that a running task asks for.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    /// Its id; the same when the running task is run again.
    pub id: JobId,
    /// The task's name.
    pub task: &'static str,
    /// What it asks of the task.
    pub kind: JobKind,
    /// The input's JSON.
    pub body: Bytes,
    /// The job after whose end it begins; then it is no child, but a job of its own.
    pub after: Option<JobId>,
    /// The key that it takes; another job that has it stands for it.
    pub unique: Option<UniqueKey>,
}

/// What a context asks of the engine: the only call upward, declared here so that tasks know no engine.
#[async_trait]
pub(crate) trait Services: Send + Sync + fmt::Debug {
    /// Submits a job as a child of the running one.
    async fn submit(&self, about: &About, child: Child) -> Result<JobId>;

    /// Makes parts of the running job, which are in the store then.
    async fn split(&self, about: &About, data: &mut Data<'_>) -> Result<Made, NoSplit>;

    /// Notes how far the job has come.
    fn progress(&self, about: &About, progress: Progress);

    /// Adds a finite value to what the job has recorded.
    fn record(&self, about: &About, series: Series, value: f64);

    /// Runs the step of a workflow that is no function of this program.
    async fn execute(&self, context: Context, input: Bytes) -> Result<Bytes, CallError>;
}

/// How far a job has come.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// From 0 to 100.
    pub percent: f64,
    /// A word about what is going on.
    pub info: String,
}

/// What a context knows.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// The job.
    pub job: JobId,
    /// The job a client submitted, from which this one comes.
    pub root: JobId,
    /// The job that submitted this one.
    pub parent: Option<JobId>,
    /// The task's name.
    pub task: String,
    /// Which function runs.
    pub phase: Phase,
    /// Which attempt this is, as the task counts them, from 1.
    pub attempt: u32,
    /// The same as the store counts them.
    pub fence: u32,
    /// Whether it is a part of a set that others made.
    pub member: bool,
    /// Which part, from 0, if the job has parts.
    pub index: Option<u64>,
    /// How many parts there are, once that is known.
    pub count: Option<u64>,
    /// What a job that has split itself says of this part.
    pub data: Option<Bytes>,
    /// What it is to a workflow.
    pub step: Option<Arc<StepInfo>>,
    /// When the attempt times out.
    pub deadline: Option<Timestamp>,
}

/// A task of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepInfo {
    /// The workflow's name.
    pub workflow: String,
    /// The task's name in it.
    pub step: String,
    /// What runs for it, if it is no function of this program.
    pub external: Option<External>,
}

/// A task that is no function of this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct External {
    /// The file or the program.
    pub runs: Runs,
    /// Which form of its input a function gets.
    pub form: Form,
    /// The workflow's folder, as whoever has submitted it knows it.
    pub folder: Option<String>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// How long it may take, from when it begins to run.
    pub timeout: Option<Duration>,
}

impl About {
    /// The first attempt at a job of which nothing else is known.
    pub(crate) const fn new(job: JobId, root: JobId, task: String, phase: Phase) -> Self {
        Self {
            job,
            root,
            parent: None,
            task,
            phase,
            attempt: 1,
            fence: 1,
            member: false,
            index: None,
            count: None,
            data: None,
            step: None,
            deadline: None,
        }
    }
}

/// What a running task knows about its job, and what it may ask of ork.
///
/// It is cheap to clone and may be moved into other tasks and threads.
///
/// ```
/// use ork::Context;
///
/// async fn greet(name: String, context: Context) -> String {
///     context.progress(50.0, "thinking");
///     format!("hello {name}, this is attempt {}", context.attempt())
/// }
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// assert_eq!(greet("Ada".into(), Context::for_test()).await, "hello Ada, this is attempt 1");
/// # });
/// ```
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    about: About,
    cancelled: CancellationToken,
    services: Arc<dyn Services>,
    /// The ids of the jobs this attempt has asked for.
    submitted: Mutex<HashSet<JobId>>,
    /// What this attempt has made of its job.
    split: Mutex<Split>,
}

impl Context {
    pub(crate) fn new(about: About, cancelled: CancellationToken, services: Arc<dyn Services>) -> Self {
        Self(Arc::new(Inner { about, cancelled, services, submitted: Mutex::default(), split: Mutex::default() }))
    }

    /// A context for a unit test that calls a task as a plain function: a new job, its first attempt.
    pub fn for_test() -> Self {
        let job = JobId::new();
        let about = About::new(job, job, "test".into(), Phase::Start);
        Self::new(about, CancellationToken::new(), Arc::new(NoServices))
    }

    /// The job; for a part, the job it is a part of.
    pub fn job_id(&self) -> JobId {
        self.0.about.job
    }

    /// The job a client submitted, from which this one comes.
    pub fn root_id(&self) -> JobId {
        self.0.about.root
    }

    /// The task's name.
    pub fn task_name(&self) -> &str {
        &self.0.about.task
    }

    /// The name of the workflow this job belongs to, if it belongs to one.
    pub fn workflow_name(&self) -> Option<&str> {
        self.0.about.step.as_ref().map(|step| &*step.workflow)
    }

    /// What runs for it, if it is a step of a workflow and no function of this program.
    pub(crate) fn external(&self) -> Option<(Arc<StepInfo>, External)> {
        let step = self.0.about.step.as_ref()?;
        Some((Arc::clone(step), step.external.clone()?))
    }

    /// Runs what is no function of this program.
    pub(crate) async fn execute(self, input: Bytes) -> Result<Bytes, CallError> {
        let services = Arc::clone(&self.0.services);
        services.execute(self, input).await
    }

    /// The name that the workflow has for this task, if the job belongs to one.
    pub fn step_name(&self) -> Option<&str> {
        self.0.about.step.as_ref().map(|step| &*step.step)
    }

    /// What its task is called in the log: a step that is no function of this program goes by its own name.
    fn known_as(&self) -> &str {
        let step = self.0.about.step.as_ref().filter(|step| step.external.is_some());
        step.map_or(&self.0.about.task, |step| &step.step)
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.0.about.attempt
    }

    /// Which part this is, from 0; 0 for a job without parts.
    pub fn parallel_index(&self) -> u64 {
        self.0.about.index.unwrap_or(0)
    }

    /// How many parts the job has: 1 for a job without parts, `None` while its split still yields.
    pub fn parallel_count(&self) -> Option<u64> {
        match self.0.about.index {
            None => Some(1),
            Some(_) => self.0.about.count,
        }
    }

    /// The same text for every attempt at this piece of work and for no other: `JOB`, `JOB.INDEX` for a part, `JOB.join`
    /// for a join.
    ///
    /// A function is executed at least once. What it hands this key to can make its effect happen once.
    pub fn idempotency_key(&self) -> String {
        let about = &self.0.about;
        match (about.index, about.phase) {
            (Some(index), _) => format!("{}.{index}", about.job),
            (None, Phase::Join) => format!("{}.join", about.job),
            (None, Phase::Start) => about.job.to_string(),
        }
    }

    /// When this attempt times out, if it does.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.0.about.deadline
    }

    /// A token that fires when nobody wants the result any more: the job was cancelled, the attempt timed out, or the
    /// worker has to stop.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.0.cancelled
    }

    /// Notes how far the job has come, from 0 to 100, with a word about what is going on.
    pub fn progress(&self, percent: f64, info: impl Into<String>) {
        let percent = if percent.is_finite() { percent.clamp(0.0, 100.0) } else { 0.0 };
        self.0.services.progress(&self.0.about, Progress { percent, info: info.into() });
    }

    /// Writes a line to the log, with the job, the task, the part and the attempt beside it, and
    /// the workflow and its name for the task, if the job belongs to one.
    pub fn log(&self, line: impl fmt::Display) {
        self.log_at(tracing::Level::INFO, line);
    }

    /// The same, as more or less important.
    pub(crate) fn log_at(&self, level: tracing::Level, line: impl fmt::Display) {
        let about = &self.0.about;
        macro_rules! write_line {
            ($level:ident) => {
                tracing::$level!(
                    target: "ork::task",
                    job = %about.job,
                    task = self.known_as(),
                    workflow = self.workflow_name(),
                    step = self.step_name(),
                    index = about.index,
                    attempt = about.attempt,
                    "{line}"
                )
            };
        }
        match level {
            tracing::Level::ERROR => write_line!(error),
            tracing::Level::WARN => write_line!(warn),
            tracing::Level::INFO => write_line!(info),
            tracing::Level::DEBUG => write_line!(debug),
            tracing::Level::TRACE => write_line!(trace),
        }
    }

    /// Where a task records its measurements.
    pub const fn metrics(&self) -> Metrics<'_> {
        Metrics(self)
    }

    /// Submits a job as a child of this one and answers its id; it is safe in the store, or confirmed by the broker.
    ///
    /// This job ends when its own work and all of its children have ended: failed, if one of them failed. With a store,
    /// an attempt that asks for the same children again gets the same jobs: those that ended well stay as they are, and
    /// those that did not are taken up.
    ///
    /// # Errors
    /// When the input cannot be written as JSON, the task is unknown, this job was cancelled, or neither store nor broker
    /// takes it.
    ///
    /// # Cancel safety
    /// If the future is dropped the child may or may not exist.
    pub async fn submit<M: TaskMessage>(&self, message: M) -> Result<JobId> {
        self.send(message, None, None).await
    }

    /// Submits a job that begins when the whole tree of this one has ended, however it has. It is no part of the tree.
    ///
    /// # Errors
    /// As [`Context::submit`]; and when there is no store.
    ///
    /// # Cancel safety
    /// If the future is dropped the job may or may not exist.
    pub async fn submit_after<M: TaskMessage>(&self, message: M) -> Result<JobId> {
        self.send(message, Some(self.root_id()), None).await
    }

    /// Submits a job as a child of this one, unless another job has taken this key and has not ended: then it answers the
    /// id of that one, of which nothing here waits.
    ///
    /// # Errors
    /// As [`Context::submit`]; and when there is no store, or the key is empty or longer than 512 bytes.
    ///
    /// # Cancel safety
    /// If the future is dropped the child may or may not exist.
    pub async fn submit_unique<M: TaskMessage>(&self, key: impl Into<Arc<str>>, message: M) -> Result<JobId> {
        let unique = UniqueKey { key: key.into(), stale_after: None };
        self.send(message, None, Some(unique)).await
    }

    async fn send<M: TaskMessage>(&self, message: M, after: Option<JobId>, unique: Option<UniqueKey>) -> Result<JobId> {
        let body = message.to_json()?;
        let id = self.name(M::TASK, M::KIND, &body, after);
        let child = Child { id, task: M::TASK, kind: M::KIND, body, after, unique };
        self.0.services.submit(&self.0.about, child).await
    }

    /// The id of what is asked for, by what it is: the first one of its kind, the second, ..
    fn name(&self, task: &str, kind: JobKind, body: &[u8], after: Option<JobId>) -> JobId {
        let Inner { about, submitted, .. } = &*self.0;
        let after = if after.is_some() { "after" } else { "below" };
        let who = [&self.idempotency_key(), about.phase.as_str(), after, task, kind.as_str()].join("\n");
        let mut submitted = submitted.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = (0_u64..).map(|n| about.job.below(&[format!("{who}\n{n}\n").as_bytes(), body].concat()));
        // One of them is new: an attempt asks for no more than it has made.
        ids.into_iter().find(|id| submitted.insert(*id)).unwrap_or_else(JobId::new)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Context").field(&self.0.about).finish()
    }
}

/// Records the measurements of a task; made by [`Context::metrics`].
#[derive(Debug)]
pub struct Metrics<'a>(&'a Context);

impl Metrics<'_> {
    /// Records one value: as a `tracing` event of target `ork::metrics` with the job beside it, and in the record of the
    /// job, where all values with this name and these labels are added up, those of its parts and of all its attempts,
    /// too. [`Client::metrics`](crate::Client::metrics) shows it.
    ///
    /// It returns at once; what was recorded is written about once a second, and soon after the job has ended. A job
    /// keeps 1,000 different names with labels. A value that is not finite, a name that is empty or longer than 200 bytes,
    /// more than 16 labels and labels of more than 2,000 bytes are only logged, with a warning.
    pub fn record(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        let Self(context) = self;
        let about = &context.0.about;
        let (workflow, step) = (context.workflow_name(), context.step_name());
        tracing::info!(
            target: "ork::metrics",
            job = %about.job,
            task = context.known_as(),
            workflow,
            step,
            index = about.index,
            attempt = about.attempt,
            name,
            value,
            ?labels
        );
        let finite = if value.is_finite() { Ok(()) } else { Err(NoMetric::Value) };
        match finite.and_then(|()| Series::new(name, labels)) {
            Ok(series) => context.0.services.record(about, series, value),
            Err(error) => {
                // As it is, it could fill the log.
                let name: String = name.chars().take(40).collect();
                tracing::warn!(job = %about.job, task = about.task, step, name, %error, "a measurement is not kept");
            }
        }
    }
}

/// The services of a unit test: nothing is kept, nothing can be submitted.
#[derive(Debug)]
struct NoServices;

#[async_trait]
impl Services for NoServices {
    async fn submit(&self, _about: &About, child: Child) -> Result<JobId> {
        Err(Error::permanent(format!("a context for tests cannot submit `{}`", child.task)))
    }

    async fn split(&self, _about: &About, _data: &mut Data<'_>) -> Result<Made, NoSplit> {
        Err(NoSplit::Refused(Error::permanent("a context for tests cannot split its job")))
    }

    fn progress(&self, _about: &About, _progress: Progress) {}

    fn record(&self, _about: &About, _series: Series, _value: f64) {}

    async fn execute(&self, _context: Context, _input: Bytes) -> Result<Bytes, CallError> {
        Err(CallError::Task(Error::permanent("a context for tests runs nothing")))
    }
}

#[cfg(test)]
mod tests;
