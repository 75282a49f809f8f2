//! Runs of workflows: submitting one, how its tasks stand, and what they have returned.

use ork_workflow::{Plan, Step};
use serde::Serialize;
use serde_json::Value;

use super::{Client, ClientError, Handle};
use crate::engine::services::Terms;
use crate::id::JobId;
use crate::job::{JobKind, State};
use crate::store::{JobView, StoreError, StoreErrorKind};
use crate::workflow_run::{RUN, StepState, WorkflowRun};

/// So many parts are read at once.
const PAGE: usize = 1_000;

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunStatus {
    /// The workflow's name.
    pub workflow: String,
    /// Its tasks, each after those it needs.
    pub tasks: Vec<TaskStatus>,
}

/// How a task of a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TaskStatus {
    /// Its name in the workflow.
    pub name: String,
    /// How far it is.
    pub stage: StepState,
    /// Its job, which is there once it has begun.
    pub job: JobId,
}

impl RunStatus {
    /// The share of its tasks that have ended, from 0 to 100.
    pub(super) fn percent(&self) -> f64 {
        let ended = self.tasks.iter().filter(|task| task.stage.is_final()).count();
        #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "a workflow has at most 1,000 tasks")]
        let share = ended as f64 * 100.0 / self.tasks.len().max(1) as f64;
        share
    }

    pub(super) fn of(run: JobId, flow: &WorkflowRun) -> Self {
        let task = |step: &crate::workflow_run::RunStep| TaskStatus {
            name: step.name.clone(),
            stage: step.state,
            job: step.job(run),
        };
        Self { workflow: flow.workflow.clone(), tasks: flow.steps.iter().map(task).collect() }
    }
}

impl Client {
    /// Submits a run of a checked workflow.
    ///
    /// # Errors
    /// When there is no store, or the run cannot be handed over.
    ///
    /// # Cancel safety
    /// The run may or may not have been submitted if the future is dropped.
    pub async fn submit_plan(&self, plan: &Plan) -> Result<Handle<Plan>, ClientError> {
        self.submit_plan_on(plan, Terms::default()).await
    }

    /// The same on these terms.
    pub(crate) async fn submit_plan_on(&self, plan: &Plan, terms: Terms) -> Result<Handle<Plan>, ClientError> {
        if !self.engine.store.is_durable() {
            let words = "the tasks of a workflow are kept in a store, and this process has none, so set ORK_STORE";
            return Err(ClientError::Store(StoreError::new(StoreErrorKind::NoStore, words)));
        }
        let body = serde_json::to_vec(plan).map_err(|source| ClientError::Input { task: RUN, source })?;
        let id = self.send(RUN, JobKind::Full, body.into(), terms, None).await?;
        Ok(Handle::new(self.clone(), id))
    }

    /// What a task of a run has returned: a list in the order of its instances, with `null` for each that failed, if there
    /// are many; `None` if it has not ended well.
    ///
    /// # Errors
    /// When there is no such run or task, or what it returned cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn task_output(&self, run: JobId, task: &str) -> Result<Option<Value>, ClientError> {
        let view = self.view(run).await?;
        let plan = plan(&view)?;
        let step = plan.tasks.iter().find(|step| step.name == task).ok_or_else(|| {
            let words = format!("the workflow `{}` has no task `{task}`", plan.name);
            ClientError::Store(StoreError::new(StoreErrorKind::NotFound, words))
        })?;
        let begun = view.job.workflow_run().and_then(|flow| flow.steps.iter().find(|step| step.name == task));
        let Some(begun) = begun else { return Ok(None) };
        match self.engine.store.job(begun.job(run)).await? {
            Some(view) => self.output_of(step, view).await,
            None => Ok(None),
        }
    }

    /// The plan of a run.
    #[cfg(feature = "cli")]
    pub(crate) async fn plan_of(&self, run: JobId) -> Result<Plan, ClientError> {
        plan(&self.view(run).await?)
    }

    async fn output_of(&self, step: &Step, view: JobView) -> Result<Option<Value>, ClientError> {
        if !view.job.state.is_final() || (step.fan.is_none() && view.job.state != State::Succeeded) {
            return Ok(None);
        }
        if step.fan.is_none() {
            return Ok(Some(self.wait(view.job.id).await?.into_output()?));
        }
        let mut list = Vec::new();
        loop {
            let from = u64::try_from(list.len()).unwrap_or(u64::MAX);
            let page = self.parts(view.job.id, from, PAGE).await?;
            if page.is_empty() {
                return Ok(Some(Value::Array(list)));
            }
            for part in page {
                let at = usize::try_from(part.index).unwrap_or(usize::MAX);
                list.resize(at, Value::Null);
                let id = view.job.id;
                let output = part.output.unwrap_or_else(|| "null".into());
                list.push(serde_json::from_slice(&output).map_err(|source| ClientError::Output { id, source })?);
            }
        }
    }
}

fn plan(view: &JobView) -> Result<Plan, ClientError> {
    let plan = Some(view).filter(|view| view.job.task == RUN).and_then(|view| serde_json::from_slice(&view.input).ok());
    plan.ok_or_else(|| {
        let words = format!("job {} is no run of a workflow", view.job.id);
        ClientError::Store(StoreError::new(StoreErrorKind::NotFound, words))
    })
}
