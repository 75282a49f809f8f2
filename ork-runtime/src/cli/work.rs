//! The arguments of `run` and `submit`: a task with its input, or a workflow file with its parameters.

use bytes::Bytes;

use super::input::Input;
use super::{Failure, Output};
use crate::app::Ork;
use crate::client::ClientError;
use crate::engine::submit::SubmitOptions;
use crate::id::JobId;

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// The name of a task, or a workflow file
    #[arg(value_name = "TASK|FILE.yaml")]
    task: String,
    #[command(flatten)]
    input: Input,
}

/// The work to submit, read and checked.
#[derive(Debug)]
pub(super) enum Work {
    /// A job of a task.
    Task {
        /// The name of the task.
        name: String,
        /// The input as JSON.
        input: Bytes,
    },
    /// A workflow run.
    #[cfg(feature = "workflow")]
    Run(Box<ork_workflow::Plan>),
}

impl Work {
    /// Reads and checks what the arguments name.
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

    /// Submits the work.
    pub(super) async fn submit(&self, ork: &Ork, terms: SubmitOptions) -> Result<JobId, ClientError> {
        match self {
            Self::Task { name, input } => ork.submit_json_on(name, input.clone(), terms).await,
            #[cfg(feature = "workflow")]
            Self::Run(plan) => Ok(ork.submit_plan_on(plan, terms).await?.id()),
        }
    }
}
