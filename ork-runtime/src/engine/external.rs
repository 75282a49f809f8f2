//! Steps of a workflow that are not functions of this program: they are passed to the executor, with everything it
//! needs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ork_workflow::Runs;
use tracing::Level;

use super::Engine;
use crate::context::Context;
use crate::executor::{Call, CallObserver, Code, Crash, Ended, ExecutorError, Instance, Program, call_error};
use crate::task::json::check_depth;
use crate::task::{CallError, Error};

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// The longest delay with which this process receives a signal after a child process has received it.
const SIGNAL_DELAY: Duration = Duration::from_millis(500);

/// Runs an external step to its end. Its progress and its measurements are handled like those of a function.
pub(super) async fn execute(engine: &Engine, context: Context, input: Bytes) -> Result<Bytes, CallError> {
    let permanent = |detail: &str| CallError::Task(Error::permanent(detail));
    let Some(executor) = &engine.executor else {
        return Err(permanent(
            "this program was built without the feature `workflow`, which is required to run tasks in other languages",
        ));
    };
    let Some((step, external)) = context.external() else {
        return Err(permanent("this task can only run as a step of a workflow"));
    };
    let program = match &external.runs {
        Runs::Python { file } => Program::Python { file: file.clone() },
        Runs::Process { command } => Program::Process { command: command.clone() },
        Runs::Rust { task } => return Err(permanent(&format!("`{task}` is a function of this program"))),
    };
    let folder = engine.settings.workflows.clone().or_else(|| external.folder.as_ref().map(Into::into));
    let call = Call {
        code: Code { program, folder: folder.unwrap_or_else(|| ".".into()), env: external.env.clone() },
        input,
        form: external.form,
        instance: Instance {
            job: context.job_id(),
            root: context.root_id(),
            task: step.step.clone(),
            workflow: Some(step.workflow.clone()),
            attempt: context.attempt(),
            index: context.parallel_index(),
            count: context.parallel_count().unwrap_or(1),
            key: context.idempotency_key(),
        },
        timeout: external.timeout,
        cancelled: context.cancelled().clone(),
    };
    let listener: Arc<dyn CallObserver> = Arc::new(context);
    let called = executor.run(call, listener).await;
    if let Err(ExecutorError::Crashed(Crash { ended: Ended::Signal(SIGINT | SIGTERM), .. })) = &called {
        // Stopping a service, or Ctrl-C, may signal the child process before this one. In that case the step is
        // requeued, and has not failed.
        tokio::select! {
            biased;
            () = engine.force.cancelled() => return std::future::pending().await,
            () = engine.clock.pause(SIGNAL_DELAY) => {}
        }
    }
    match called.map_err(call_error) {
        Ok(output) => check_depth(&output).map(|()| output).map_err(CallError::Output),
        Err(Some(error)) => Err(error),
        // `invoke::guard` knows why the call was stopped, and ends it.
        Err(None) => std::future::pending().await,
    }
}

/// Reports of a task in another language are handled as if a Rust task had made them through its context.
impl CallObserver for Context {
    fn log(&self, level: Level, line: &str) {
        self.log_at(level, line);
    }

    fn metric(&self, name: &str, value: f64, labels: &BTreeMap<String, String>) {
        let labels: Vec<_> = labels.iter().map(|(key, label)| (key.as_str(), label.as_str())).collect();
        self.metrics().record(name, value, &labels);
    }

    fn progress(&self, percent: f64, info: &str) {
        Self::report_progress(self, percent, info);
    }
}
