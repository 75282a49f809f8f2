//! Workflow runs: submitting them, the status of their steps, and the outputs of the steps.

use ork_workflow::{Plan, Step};
use serde_json::Value;

use super::{Client, ClientError, Handle, Input};
use crate::engine::submit::SubmitOptions;
use crate::id::JobId;
use crate::job::{JobKind, State};
use crate::store::{JobView, StoreError, StoreErrorKind};
use crate::workflow_run::RUN;

/// The number of parts read at once.
const PAGE: usize = 1_000;

/// The operations on workflow runs. Made by [`Client::workflows`].
#[derive(Debug, Clone, Copy)]
pub struct Workflows<'a>(&'a Client);

impl Client {
    /// Returns the operations on workflow runs.
    pub const fn workflows(&self) -> Workflows<'_> {
        Workflows(self)
    }
}

impl Workflows<'_> {
    /// Submits a workflow run: one job that runs the steps of a plan. A plan comes from a checked workflow;
    /// `Ork::plan` makes one from a file.
    ///
    /// # Errors
    /// Returns an error if there is no store, or the run cannot be written to it.
    ///
    /// # Cancel safety
    /// If the future is dropped, the run may or may not have been submitted.
    pub async fn submit(self, plan: &Plan) -> Result<Handle<Plan>, ClientError> {
        self.submit_with(plan, SubmitOptions::default()).await
    }

    /// Submits a workflow run as [`Workflows::submit`] does, with options.
    #[doc(hidden)]
    pub async fn submit_with(self, plan: &Plan, options: SubmitOptions) -> Result<Handle<Plan>, ClientError> {
        if !self.0.engine.store.records_jobs() {
            let message = "workflows require a store, and this process has none: set ORK_STORE";
            return Err(ClientError::Store(StoreError::new(StoreErrorKind::NoStore, message)));
        }
        let body = serde_json::to_vec(plan).map_err(|source| ClientError::Serialize { task: RUN, source })?;
        let id = self.0.send(RUN, JobKind::Job, Input::Typed(body.into()), options, None).await?;
        Ok(Handle::new(self.0.clone(), id))
    }

    /// Returns the output of a step of a workflow run; `None` if the step has not succeeded.
    ///
    /// The output of a fan-out step is a list in the order of its instances, with `null` for each that failed. It is
    /// there once the step has ended, even if some instances failed.
    ///
    /// # Errors
    /// Returns an error if there is no such run or step, or the output cannot be read.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it only reads.
    pub async fn step_output(self, run: JobId, name: &str) -> Result<Option<Value>, ClientError> {
        let view = self.0.view(run).await?;
        let plan = plan(&view)?;
        let step = plan
            .steps
            .iter()
            .find(|step| step.name == name)
            .ok_or_else(|| ClientError::StepNotFound { workflow: plan.name.clone(), step: name.to_owned() })?;
        let started = view.job.workflow_run().and_then(|run| run.steps.iter().find(|step| step.name == name));
        let Some(started) = started else { return Ok(None) };
        match self.0.engine.store.job(started.job(run)).await? {
            Some(view) => self.output_of(step, view).await,
            None => Ok(None),
        }
    }

    /// Returns the plan of a workflow run.
    #[doc(hidden)]
    pub async fn plan_of(self, run: JobId) -> Result<Plan, ClientError> {
        plan(&self.0.view(run).await?)
    }

    async fn output_of(self, step: &Step, view: JobView) -> Result<Option<Value>, ClientError> {
        if !view.job.state.is_final() || (step.fan_out.is_none() && view.job.state != State::Succeeded) {
            return Ok(None);
        }
        if step.fan_out.is_none() {
            return Ok(Some(self.0.wait(view.job.id).await?.into_output()?));
        }
        let mut list = Vec::new();
        loop {
            let from = u64::try_from(list.len()).unwrap_or(u64::MAX);
            let page = self.0.part_outputs(view.job.id, from, PAGE).await?;
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
    plan.ok_or(ClientError::NotARun { id: view.job.id })
}
