//! The command `tasks`: lists the tasks of this program.

use std::process::ExitCode;

use schemars::SchemaGenerator;
use serde_json::{Value, json};

use super::{Failure, Output};
use ork_runtime::registry::{Registry, Task};
use ork_runtime::task::def::{Param, TaskDef};
use ork_runtime::task::schema;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show only this task, with its schemas and options
    task: Option<String>,
}

pub(super) fn tasks(registry: &Registry, args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let tasks: Vec<_> = match &args.task {
        Some(name) => vec![&**registry.get(name)?],
        None => registry.tasks().collect(),
    };
    if output.is_json() {
        output.json(&tasks.iter().map(|task| describe(task)).collect::<Vec<_>>());
    } else if args.task.is_some() {
        for task in tasks {
            output.line(serde_json::to_string_pretty(&describe(task)).unwrap_or_default());
        }
    } else if tasks.is_empty() {
        output.note(
            "this program has no tasks: annotate a function with #[task], and reference its crate, \
             e.g. `use my_tasks as _;`",
        );
    } else {
        let row = |task: &&Task| vec![task.name().to_owned(), inputs(task.entry()), shape(task), first_line(task)];
        output.table(&["task", "inputs", "kind", "description"], tasks.iter().map(row));
    }
    Ok(ExitCode::SUCCESS)
}

fn shape(task: &Task) -> String {
    match (task.split, task.join) {
        (None, None) => "single".into(),
        // Whether a task without a join makes a dynamic split is known only when it runs.
        (None, Some(_)) => "dynamic split, join".into(),
        (Some(_), None) => "split".into(),
        (Some(_), Some(_)) => "split, join".into(),
    }
}

/// Returns the first line of the documentation: that of the split, or else that of the task's function.
fn first_line(task: &Task) -> String {
    let docs = if task.entry().docs.is_empty() { task.work.docs } else { task.entry().docs };
    docs.lines().next().unwrap_or_default().to_owned()
}

fn inputs(def: &TaskDef) -> String {
    let mut generator = SchemaGenerator::default();
    let mut inputs = Vec::new();
    for param in def.params {
        match param {
            Param::Field { name, optional, .. } => inputs.push(format!("{name}{}", if optional() { "?" } else { "" })),
            Param::Body { schema, .. } => {
                let name = schema(&mut generator).to_value();
                let name = name.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
                inputs.push(name.unwrap_or("input").to_owned());
            }
            Param::State { .. } | Param::Context | Param::Parts => {}
        }
    }
    inputs.join(" ")
}

/// Describes a task as JSON, with the schemas of its input and output.
fn describe(task: &Task) -> Value {
    let mut generator = SchemaGenerator::default();
    let input = schema::input(task.entry(), &mut generator);
    let item = task.split.map(|_| schema::input(&task.work, &mut generator));
    let output = (task.join.as_ref().unwrap_or(&task.work).output)(&mut generator).to_value();
    let options = task.work.options;
    let duration = |time: std::time::Duration| humantime::format_duration(time).to_string();
    json!({
        "name": task.name(),
        "description": task.entry().docs,
        "location": task.work.location.to_string(),
        "queue": task.queue(),
        "kind": shape(task),
        "input": input,
        "part_input": item,
        "output": output,
        "definitions": generator.take_definitions(true),
        "retries": options.retries,
        "backoff": options.backoff.map(duration),
        "timeout": options.timeout.map(duration),
        "priority": options.priority,
        "concurrency": options.concurrency.map(|limit| json!({ "calls": limit.calls, "key": limit.key })),
    })
}
