//! The arguments of `run` and `submit`: a task with its input, or a workflow file with its parameters.

use bytes::Bytes;

use super::input::Input;
use super::{Failure, Output};
use ork_core::id::JobId;
use ork_runtime::app::Ork;
use ork_runtime::client::ClientError;
use ork_runtime::client::SubmitOptions;

#[derive(Debug, clap::Args)]
pub(super) struct WorkArgs {
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
    pub(super) async fn read(ork: &Ork, work_args: WorkArgs, output: &Output) -> Result<Self, Failure> {
        #[cfg(feature = "workflow")]
        if super::workflow::is_file(&work_args.task) {
            let plan =
                super::workflow::read(ork, work_args.task.as_ref(), &work_args.input.parameters()?, output).await?;
            return Ok(Self::Run(Box::new(plan)));
        }
        let input = work_args.input.read(ork.entry(&work_args.task)?)?;
        Ok(Self::Task { name: work_args.task, input })
    }

    /// Submits the work.
    pub(super) async fn submit(&self, ork: &Ork, options: SubmitOptions) -> Result<JobId, ClientError> {
        match self {
            Self::Task { name, input } => ork.submit_json_on(name, input.clone(), options).await,
            #[cfg(feature = "workflow")]
            Self::Run(plan) => Ok(ork.workflows().submit_with(plan, options).await?.id()),
        }
    }
}
