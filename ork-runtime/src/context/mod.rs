//! The [`Context`] of a running task: what it knows about its job, and what it can ask ork to do.

mod split;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ork_workflow::{Form, Runs};
use tokio_util::sync::CancellationToken;

pub(crate) use self::split::{Data, MadeParts, SplitError, SplitState};
pub use ork_core::progress::Progress;

use crate::clock::Timestamp;
use crate::id::JobId;
use crate::job::{JobKind, Phase, UniqueKey};
use crate::metric::{NoMetric, Series};
use crate::task::{CallError, Error, Result, TaskMessage};

/// A job that a running task submits.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    /// The id of the job. It is the same if the submitting task runs again.
    pub id: JobId,
    /// The name of the task.
    pub task: &'static str,
    /// Whether the job runs the whole task or its function alone.
    pub kind: JobKind,
    /// The input as JSON.
    pub body: Bytes,
    /// The job after whose end this one starts. If set, the new job is a follower and not a child.
    pub after: Option<JobId>,
    /// The unique key of the job. If another job holds the key, that job is returned instead.
    pub unique: Option<UniqueKey>,
}

/// The services that a context needs from the engine. They are declared here so that tasks do not depend on the
/// engine.
#[async_trait]
pub(crate) trait Services: Send + Sync + fmt::Debug {
    /// Submits a job as a child of the running one, or as a follower.
    async fn submit(&self, info: &CallInfo, child: Child) -> Result<JobId>;

    /// Splits the running job into parts. They are in the store when this returns.
    async fn split(&self, info: &CallInfo, data: &mut Data<'_>) -> Result<MadeParts, SplitError>;

    /// Reports the progress of the job.
    fn progress(&self, info: &CallInfo, progress: Progress);

    /// Adds a finite value to the metrics of the job.
    fn record(&self, info: &CallInfo, series: Series, value: f64);

    /// Runs a step of a workflow that is not a function of this program.
    async fn execute(&self, context: Context, input: Bytes) -> Result<Bytes, CallError>;
}

/// The information that a context has about its job.
#[derive(Debug, Clone)]
pub(crate) struct CallInfo {
    /// The id of the job.
    pub job: JobId,
    /// The id of the job at the top of the tree, which a client submitted.
    pub root: JobId,
    /// The id of the job that submitted this one. `None` for the root of a tree.
    pub parent: Option<JobId>,
    /// The name of the task.
    pub task: String,
    /// The function that runs: the first one, or the join.
    pub phase: Phase,
    /// The number of the attempt as the task sees it: within its phase, and starting at 1.
    pub attempt: u32,
    /// The number of the attempt as the store counts it, over all phases. It identifies stale attempts.
    pub fence: u32,
    /// Whether the job is one of a set of parts that its sender made and that a part queue counts.
    pub member: bool,
    /// The index of the part, starting at 0. `None` if the call is not for a part.
    pub index: Option<u64>,
    /// The number of parts. `None` until the split has yielded the last one.
    pub count: Option<u64>,
    /// The data of the part, if the job was split dynamically.
    pub data: Option<Bytes>,
    /// The step of a workflow that the job runs, if it runs one.
    pub step: Option<Arc<StepInfo>>,
    /// The time at which the attempt times out. `None` if it has no timeout.
    pub deadline: Option<Timestamp>,
}

/// A step of a workflow, as its context knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepInfo {
    /// The name of the workflow.
    pub workflow: String,
    /// The name of the step in the workflow.
    pub step: String,
    /// The program or file that the step runs, if it is not a function of this program.
    pub external: Option<External>,
}

/// The program or file that a step runs instead of a function of this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct External {
    /// The file or program to run.
    pub runs: Runs,
    /// The form in which a function receives the input.
    pub form: Form,
    /// The path of the workflow's folder, as the client that submitted the run sees it.
    pub folder: Option<String>,
    /// Additional environment variables for the process.
    pub env: BTreeMap<String, String>,
    /// The time limit, measured from the start of the process. `None` if there is none.
    pub timeout: Option<Duration>,
}

impl CallInfo {
    /// Creates the information about the first attempt of a job without parts.
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

/// The context of a running task: what it knows about its job, and what it can ask ork to do.
///
/// It is cheap to clone and may be moved into other tasks and threads.
///
/// ```
/// use ork::Context;
///
/// async fn greet(name: String, context: Context) -> String {
///     context.report_progress(50.0, "thinking");
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
    info: CallInfo,
    cancelled: CancellationToken,
    services: Arc<dyn Services>,
    /// The ids of the jobs that this attempt has submitted.
    submitted: Mutex<HashSet<JobId>>,
    /// Whether this attempt has split its job.
    split: Mutex<SplitState>,
}

impl Context {
    pub(crate) fn new(info: CallInfo, cancelled: CancellationToken, services: Arc<dyn Services>) -> Self {
        Self(Arc::new(Inner { info, cancelled, services, submitted: Mutex::default(), split: Mutex::default() }))
    }

    /// Creates a context for a unit test that calls a task as a plain function. It belongs to a new job in its first
    /// attempt.
    pub fn for_test() -> Self {
        let job = JobId::new();
        let info = CallInfo::new(job, job, "test".into(), Phase::Start);
        Self::new(info, CancellationToken::new(), Arc::new(NoServices))
    }

    /// The id of the job; for a part, the job that it belongs to.
    pub fn job_id(&self) -> JobId {
        self.0.info.job
    }

    /// The id of the job at the top of the tree, which a client submitted.
    pub fn root_id(&self) -> JobId {
        self.0.info.root
    }

    /// The name of the task.
    pub fn task_name(&self) -> &str {
        &self.0.info.task
    }

    /// The name of the workflow to which the job belongs, if there is one.
    pub fn workflow_name(&self) -> Option<&str> {
        self.0.info.step.as_ref().map(|step| &*step.workflow)
    }

    /// The step and what it runs, if the job is a step that is not a function of this program.
    pub(crate) fn external(&self) -> Option<(Arc<StepInfo>, External)> {
        let step = self.0.info.step.as_ref()?;
        Some((Arc::clone(step), step.external.clone()?))
    }

    /// Runs a step that is not a function of this program.
    pub(crate) async fn execute(self, input: Bytes) -> Result<Bytes, CallError> {
        let services = Arc::clone(&self.0.services);
        services.execute(self, input).await
    }

    /// The name of the step of the workflow that the job runs, if it runs one.
    pub fn step_name(&self) -> Option<&str> {
        self.0.info.step.as_ref().map(|step| &*step.step)
    }

    /// The name of the task in the log. A step that is not a function of this program uses the name of the step.
    fn known_as(&self) -> &str {
        let step = self.0.info.step.as_ref().filter(|step| step.external.is_some());
        step.map_or(&self.0.info.task, |step| &step.step)
    }

    /// The number of the attempt, starting at 1.
    pub fn attempt(&self) -> u32 {
        self.0.info.attempt
    }

    /// The index of the part, starting at 0. It is 0 for a job without parts.
    pub fn parallel_index(&self) -> u64 {
        self.0.info.index.unwrap_or(0)
    }

    /// The number of parts of the job. It is 1 for a job without parts, and `None` until the split has yielded the
    /// last part.
    pub fn parallel_count(&self) -> Option<u64> {
        match self.0.info.index {
            None => Some(1),
            Some(_) => self.0.info.count,
        }
    }

    /// A key that is the same for every attempt of this piece of work, and different for any other: `JOB`,
    /// `JOB.INDEX` for a part, `JOB.join` for a join.
    ///
    /// A function is executed at least once. Pass this key to an external system that can discard repeated requests,
    /// and the effect there happens once.
    pub fn idempotency_key(&self) -> String {
        let info = &self.0.info;
        match (info.index, info.phase) {
            (Some(index), _) => format!("{}.{index}", info.job),
            (None, Phase::Join) => format!("{}.join", info.job),
            (None, Phase::Start) => info.job.to_string(),
        }
    }

    /// The time at which this attempt times out. `None` if it has no timeout.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.0.info.deadline
    }

    /// A token that is cancelled when the result is no longer needed: the job was cancelled, the attempt has timed
    /// out, or the worker has to stop.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.0.cancelled
    }

    /// Reports the progress of the job: a percentage from 0 to 100, and a short text about what it is doing.
    pub fn report_progress(&self, percent: f64, info: impl Into<String>) {
        let percent = if percent.is_finite() { percent.clamp(0.0, 100.0) } else { 0.0 };
        self.0.services.progress(&self.0.info, Progress { percent, info: info.into() });
    }

    /// Writes a line to the log, with the job, the task, the part and the attempt as fields, and with the names of
    /// the workflow and the step if the job belongs to a workflow.
    pub fn log(&self, line: impl fmt::Display) {
        self.log_at(tracing::Level::INFO, line);
    }

    /// Writes a line to the log at this level, as [`Context::log`] does.
    pub(crate) fn log_at(&self, level: tracing::Level, line: impl fmt::Display) {
        let info = &self.0.info;
        macro_rules! write_line {
            ($level:ident) => {
                tracing::$level!(
                    target: "ork::task",
                    job = %info.job,
                    task = self.known_as(),
                    workflow = self.workflow_name(),
                    step = self.step_name(),
                    part = info.index,
                    attempt = info.attempt,
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

    /// The recorder for the metrics of the task.
    pub const fn metrics(&self) -> Metrics<'_> {
        Metrics(self)
    }

    /// Submits a job as a child of this one and returns its id. When this returns, the job is in the store, or
    /// confirmed by the broker.
    ///
    /// This job ends when its own work and all of its children have ended. It fails if one of them failed. With a
    /// store, a later attempt that submits the same children again gets the same jobs: those that succeeded are left
    /// as they are, and those that failed or were cancelled are resumed.
    ///
    /// # Errors
    /// If the input cannot be written as JSON, the task is unknown, this job was cancelled, or neither the store nor
    /// the broker accepts the job.
    ///
    /// # Cancel safety
    /// If the future is dropped, the child may or may not have been submitted.
    pub async fn submit<M: TaskMessage>(&self, message: M) -> Result<JobId> {
        self.send(message, None, None).await
    }

    /// Submits a job that starts when the whole tree of this job has ended, in whichever state. It is not part of the
    /// tree.
    ///
    /// # Errors
    /// As for [`Context::submit`], and if there is no store.
    ///
    /// # Cancel safety
    /// If the future is dropped, the job may or may not have been submitted.
    pub async fn submit_after<M: TaskMessage>(&self, message: M) -> Result<JobId> {
        self.send(message, Some(self.root_id()), None).await
    }

    /// Submits a job as a child of this one, unless another active job holds this key. In that case it returns the id
    /// of the other job, and this job does not wait for it.
    ///
    /// # Errors
    /// As for [`Context::submit`], and if there is no store, or the key is empty or longer than 512 bytes.
    ///
    /// # Cancel safety
    /// If the future is dropped, the child may or may not have been submitted.
    pub async fn submit_unique<M: TaskMessage>(&self, key: impl Into<Arc<str>>, message: M) -> Result<JobId> {
        let unique = UniqueKey { key: key.into(), stale_after: None };
        self.send(message, None, Some(unique)).await
    }

    async fn send<M: TaskMessage>(&self, message: M, after: Option<JobId>, unique: Option<UniqueKey>) -> Result<JobId> {
        let body = message.to_json()?;
        let id = self.name(M::TASK, M::KIND, &body, after);
        let child = Child { id, task: M::TASK, kind: M::KIND, body, after, unique };
        self.0.services.submit(&self.0.info, child).await
    }

    /// Derives the id of a submitted job from what it is: its task, its input, and how many equal jobs this attempt
    /// has submitted before it. A later attempt thus derives the same ids.
    fn name(&self, task: &str, kind: JobKind, body: &[u8], after: Option<JobId>) -> JobId {
        let Inner { info, submitted, .. } = &*self.0;
        let after = if after.is_some() { "after" } else { "below" };
        let prefix = [&self.idempotency_key(), info.phase.as_str(), after, task, kind.as_str()].join("\n");
        let mut submitted = submitted.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = (0_u64..).map(|n| info.job.below(&[format!("{prefix}\n{n}\n").as_bytes(), body].concat()));
        // The search always ends: the attempt has submitted a finite number of jobs, so one of the ids is unused.
        ids.into_iter().find(|id| submitted.insert(*id)).unwrap_or_else(JobId::new)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Context").field(&self.0.info).finish()
    }
}

/// Records the metrics of a task. Returned by [`Context::metrics`].
#[derive(Debug)]
pub struct Metrics<'a>(&'a Context);

impl Metrics<'_> {
    /// Records one value: as a `tracing` event with target `ork::metrics` and the job as a field, and in the metrics
    /// of the job. There, all values with the same name and labels are added up, including those of its parts and of
    /// all attempts. [`Client::metrics`](crate::client::Client::metrics) returns them.
    ///
    /// The call returns immediately. Recorded values are written about once a second, and soon after the job has
    /// ended. A job keeps up to 1,000 different names with labels. A value is only logged, with a warning, if it is
    /// not finite, if its name is empty or longer than 200 bytes, or if it has more than 16 labels or more than 2,000
    /// bytes of labels.
    pub fn record(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        let Self(context) = self;
        let info = &context.0.info;
        let (workflow, step) = (context.workflow_name(), context.step_name());
        tracing::info!(
            target: "ork::metrics",
            job = %info.job,
            task = context.known_as(),
            workflow,
            step,
            part = info.index,
            attempt = info.attempt,
            name,
            value,
            ?labels
        );
        let finite = if value.is_finite() { Ok(()) } else { Err(NoMetric::Value) };
        match finite.and_then(|()| Series::new(name, labels)) {
            Ok(series) => context.0.services.record(info, series, value),
            Err(error) => {
                // The full name could fill the log.
                let name: String = name.chars().take(40).collect();
                tracing::warn!(job = %info.job, task = info.task, step, name, %error, "dropping a measurement");
            }
        }
    }
}

/// The services of a unit test: nothing is stored, and no job can be submitted.
#[derive(Debug)]
struct NoServices;

#[async_trait]
impl Services for NoServices {
    async fn submit(&self, _about: &CallInfo, child: Child) -> Result<JobId> {
        Err(Error::permanent(format!("a context for tests cannot submit `{}`", child.task)))
    }

    async fn split(&self, _about: &CallInfo, _data: &mut Data<'_>) -> Result<MadeParts, SplitError> {
        Err(SplitError::Rejected(Error::permanent("a context for tests cannot split its job")))
    }

    fn progress(&self, _about: &CallInfo, _progress: Progress) {}

    fn record(&self, _about: &CallInfo, _series: Series, _value: f64) {}

    async fn execute(&self, _context: Context, _input: Bytes) -> Result<Bytes, CallError> {
        Err(CallError::Task(Error::permanent("a context for tests cannot run anything")))
    }
}

#[cfg(test)]
mod tests;
