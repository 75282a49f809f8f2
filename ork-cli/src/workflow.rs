//! Workflow files: reading and checking them for other commands, and the commands `check` and `graph`, which run
//! nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;
use ork_workflow::{Checked, Drawing, Given, Parameters, Plan, Report, Style, Workflow, draw};

use super::{Failure, Output};
use ork_ports::executor::Executor;
use ork_runtime::app::workflows::{self, CheckedFile, Purpose, WorkflowError};
use ork_runtime::app::{Ork, OrkBuilder};

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// The workflow files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Graph {
    /// The workflow file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The format of a graph.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Plain text
    Text,
    /// Mermaid, e.g. for Markdown
    Mermaid,
    /// DOT, for Graphviz
    Dot,
}

/// Whether a name is that of a workflow file, and not of a task.
pub(super) fn is_file(name: &str) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|word| word.eq_ignore_ascii_case("yaml") || word.eq_ignore_ascii_case("yml"))
}

/// Reads the parameters of a run: `KEY=VALUE` pairs, a JSON object, or `@FILE` with one.
pub(super) fn parameters(pairs: &[String], inputs: &[String]) -> Result<Parameters, Failure> {
    let mut parameters = Parameters::new();
    for text in pairs.iter().chain(inputs) {
        let json = match text.strip_prefix('@') {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|error| Failure::user(format!("the input file {path} cannot be read: {error}")))?,
            ),
            None => text.trim_start().starts_with('{').then(|| text.clone()),
        };
        match (json, text.split_once('=')) {
            (Some(json), _) => {
                let object = serde_json::from_str::<serde_json::Map<_, _>>(&json)
                    .map_err(|error| Failure::user(format!("the input is not a JSON object: {error}")))?;
                parameters.extend(object.into_iter().map(|(name, value)| (name, Given::Value(value))));
            }
            (None, Some((name, value))) => {
                parameters.insert(name.to_owned(), Given::Text(value.to_owned()));
            }
            (None, None) => return Err(Failure::user(format!("invalid input `{text}`: expected NAME=VALUE"))),
        }
    }
    Ok(parameters)
}

pub(super) async fn check(builder: &OrkBuilder, args: &Check, output: &Output) -> Result<ExitCode, Failure> {
    let (registry, executor) = (builder.tasks()?, builder.executor()?);
    let (mut reports, mut errors) = (Vec::new(), 0);
    for path in &args.files {
        let CheckedFile { workflow, checked } =
            workflows::check(&registry, executor.as_ref(), path, Purpose::Check).await?;
        errors += usize::from(checked.has_errors());
        reports.extend(checked.diagnostics.iter().map(|found| Report::new(workflow.file(), found)));
        if !output.is_json() {
            show(&workflow, &checked, output);
            if let Some(plan) = &checked.plan {
                let tasks = if plan.steps.len() == 1 { "task" } else { "tasks" };
                output.line(format!("{}: {} {tasks}, ok", path.display(), plan.steps.len()));
            }
        }
    }
    end(executor).await;
    if output.is_json() {
        output.json(&reports);
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// Stops the interpreters that the check has started.
async fn end(executor: Option<Arc<dyn Executor>>) {
    if let Some(executor) = executor {
        executor.shutdown().await;
    }
}

/// Prints the errors and warnings of a workflow.
fn show(workflow: &Workflow, checked: &Checked, output: &Output) {
    if !checked.diagnostics.is_empty() {
        let style = if output.is_coloured() { Style::Coloured } else { Style::Plain };
        output.note(checked.render(workflow.file(), style).trim_end());
    }
}

pub(super) async fn graph(builder: &OrkBuilder, args: &Graph, output: &Output) -> Result<ExitCode, Failure> {
    let (registry, executor) = (builder.tasks()?, builder.executor()?);
    let CheckedFile { workflow, checked } =
        workflows::check(&registry, executor.as_ref(), &args.file, Purpose::Check).await?;
    end(executor).await;
    let plan = plan(&workflow, checked, output)?;
    if output.is_json() {
        output.json(&plan);
        return Ok(ExitCode::SUCCESS);
    }
    let drawing = match args.format {
        Format::Text => Drawing::Text,
        Format::Mermaid => Drawing::Mermaid,
        Format::Dot => Drawing::Dot,
    };
    output.line(draw(&plan, drawing).trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Reads a workflow file, and returns the plan of a run with these parameters.
pub(super) async fn read(ork: &Ork, path: &Path, parameters: &Parameters, output: &Output) -> Result<Plan, Failure> {
    let CheckedFile { workflow, checked } =
        workflows::check(ork.registry(), ork.executor(), path, Purpose::Run(parameters)).await?;
    plan(&workflow, checked, output)
}

/// Prints the errors and warnings of a checked workflow, and returns its plan.
pub(super) fn plan(workflow: &Workflow, checked: Checked, output: &Output) -> Result<Plan, Failure> {
    if output.is_json() && checked.has_errors() {
        output.json(&checked.diagnostics.iter().map(|found| Report::new(workflow.file(), found)).collect::<Vec<_>>());
    } else {
        show(workflow, &checked, output);
    }
    let path = workflow.file().path().to_owned();
    checked.plan.ok_or_else(|| Failure::user(format!("the workflow {path} has errors; nothing was started")))
}

impl From<WorkflowError> for Failure {
    fn from(error: WorkflowError) -> Self {
        Self::user(super::failure::chain(&error))
    }
}
