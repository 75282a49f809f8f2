//! The tasks that every program has. Workflow runs and schedules consist of them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use super::call::{BoxFuture, Call};
use super::def::{Location, Options, Param, Role, Run, Task, TaskDef};
use super::error::CallError;
use super::rules::Rules;
use crate::workflow_run::{PROCESS, PYTHON, RUN, SCHEDULE};

/// The name of the task that cancels a job.
pub(crate) const CANCEL: &str = "ork.cancel";

static RULES: Rules = Rules::new();

static TASKS: LazyLock<BTreeMap<&'static str, Arc<Task>>> = LazyLock::new(|| {
    let cancel = def(CANCEL, "Cancels a job and all its descendants.", never_called);
    let run = def(RUN, "Starts a workflow run; its input is the plan.", never_called);
    let schedule = def(SCHEDULE, "Starts another task on a schedule.", never_called);
    let python = def(PYTHON, "Runs the function in a Python file, as a step of a workflow.", external);
    let process = def(PROCESS, "Runs a program, as a step of a workflow.", external);
    [cancel, run, schedule, python, process]
        .map(|work| (work.name, Arc::new(Task { work, split: None, join: None })))
        .into()
});

/// All built-in tasks, by name.
pub(crate) fn tasks() -> &'static BTreeMap<&'static str, Arc<Task>> {
    &TASKS
}

/// Whether the task of this name has no function, because the engine processes its jobs itself.
pub(crate) fn is_done_by_engine(name: &str) -> bool {
    matches!(name, CANCEL | RUN | SCHEDULE)
}

fn external(call: Call) -> BoxFuture<Result<Bytes, CallError>> {
    let Call { body, context, .. } = call;
    Box::pin(async move { context.execute(body).await })
}

/// The function of a task that the engine processes itself. It is never called.
fn never_called(_: Call) -> BoxFuture<Result<Bytes, CallError>> {
    Box::pin(async { Err(CallError::Panicked("this task has no function".into())) })
}

fn def(name: &'static str, docs: &'static str, run: fn(Call) -> BoxFuture<Result<Bytes, CallError>>) -> TaskDef {
    TaskDef {
        name,
        role: Role::Work,
        function: name,
        location: Location { file: file!(), line: line!() },
        docs,
        options: Options::DEFAULT,
        params: &[Param::Body { schema: |_| schemars::json_schema!({ "type": "object" }), check: |_| Ok(()) }],
        output: |_| schemars::json_schema!({ "type": "null" }),
        run: Run::Async(run),
        rules: &RULES,
    }
}
