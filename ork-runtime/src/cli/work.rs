//! What `run` and `submit` are given: a task with its input, or the file of a workflow with its parameters.

use bytes::Bytes;

use super::input::Input;
use super::{Failure, Output};
use crate::app::Ork;
use crate::client::ClientError;
use crate::engine::services::Terms;
use crate::id::JobId;

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// The task, or the file of a workflow
    #[arg(value_name = "TASK|FILE.yaml")]
    task: String,
    #[command(flatten)]
    input: Input,
}

/// What is to be done, read and checked.
#[derive(Debug)]
pub(super) enum Work {
    /// A job of this task.
    Task {
        /// The task's name.
        name: String,
        /// Its input.
        input: Bytes,
    },
    /// A run of a workflow.
    #[cfg(feature = "workflow")]
    Run(Box<ork_workflow::Plan>),
}

impl Work {
    /// Reads what is asked for.
    #[cfg_attr(
        not(feature = "workflow"),
        expect(unused_variables, clippy::unused_async, reason = "it reads no workflows without that feature")
    )]
    pub(super) async fn read(ork: &Ork, asked: Asked, output: &Output) -> Result<Self, Failure> {
        #[cfg(feature = "workflow")]
        if super::workflow::is_file(&asked.task) {
            let plan = super::workflow::read(ork, asked.task.as_ref(), &asked.input.parameters()?, output).await?;
            return Ok(Self::Run(Box::new(plan)));
        }
        let input = asked.input.read(ork.entry(&asked.task)?)?;
        Ok(Self::Task { name: asked.task, input })
    }

    /// Hands it over.
    pub(super) async fn submit(&self, ork: &Ork, terms: Terms) -> Result<JobId, ClientError> {
        match self {
            Self::Task { name, input } => ork.submit_json_on(name, input.clone(), terms).await,
            #[cfg(feature = "workflow")]
            Self::Run(plan) => Ok(ork.submit_plan_on(plan, terms).await?.id()),
        }
    }
}
