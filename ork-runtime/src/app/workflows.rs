//! Reads workflow files and checks them against the tasks of this program.

use std::collections::{BTreeMap, HashMap};
use std::fs::FileType;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ork_workflow::{Answer, Catalog, Checked, File, Parameters, Plan, Signature, Style, Unavailable, Workflow};
use schemars::SchemaGenerator;
use serde_json::{Value, json};

use crate::app::Ork;
use crate::clock::{Clock as _, system::SystemClock};
use crate::executor::{Code, Executor, ExecutorError, Program};
use crate::registry::{Registry, Task};
use crate::task::schema::{self, WHOLE};

/// The reason why a workflow has no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkflowError {
    /// The workflow file cannot be read.
    #[error("the workflow {} cannot be read", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The I/O error.
        source: std::io::Error,
    },
    /// The path is no regular file.
    #[error("the workflow {} is {found}: expected a YAML file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// The kind of thing that was found there, such as `a folder`.
        found: &'static str,
    },
    /// The workflow has errors. The text has all of them, with their positions in the file.
    #[error("the workflow has errors:\n{0}")]
    Wrong(String),
}

/// A workflow file and the result of its check.
#[derive(Debug)]
pub struct CheckedFile {
    /// The file.
    pub workflow: Workflow,
    /// The result of its check: the problems that were found, and its plan if it has no errors.
    pub checked: Checked,
}

impl Ork {
    /// Reads a workflow file, checks it against the tasks of this program, and returns the plan of a run with these
    /// parameters, for [`Workflows::submit`](crate::client::Workflows::submit).
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or the workflow has errors; all of them are reported together.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it only reads.
    pub async fn plan(&self, path: &Path, parameters: &Parameters) -> Result<Plan, WorkflowError> {
        let file = check(self.registry(), self.executor(), path, Purpose::Run(parameters)).await?;
        match file.checked.plan {
            Some(plan) => Ok(plan),
            None => Err(WorkflowError::Wrong(file.checked.render(file.workflow.file(), Style::Plain))),
        }
    }
}

/// A workflow that is embedded in the program. Made by `workflow!`.
///
/// ```
/// use ork::{Ork, task, workflow::Parameters};
///
/// #[task]
/// fn names() -> Vec<String> {
///     vec!["Ada".into(), "Grace".into()]
/// }
///
/// #[task]
/// fn greet(item: String) -> String {
///     format!("hello {item}")
/// }
///
/// ork::workflow!(GREETINGS = "../../../ork/tests/greetings.yaml");
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ork = ork::builder().store("memory:").build().await?;
/// ork.spawn_worker();
/// let run = ork.workflows().submit(&GREETINGS.plan(ork.registry(), &Parameters::new())?).await?;
/// run.wait().await?;
/// assert_eq!(ork.workflows().step_output(run.id(), "all").await?.unwrap()[1], "hello Grace");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedWorkflow {
    path: &'static str,
    text: &'static str,
}

impl EmbeddedWorkflow {
    #[doc(hidden)]
    pub const fn new(path: &'static str, text: &'static str) -> Self {
        Self { path, text }
    }

    /// Checks the workflow against these tasks, and returns the plan of a run with these parameters. A worker
    /// resolves the files that the workflow names in its current directory.
    ///
    /// # Errors
    /// [`WorkflowError::Wrong`], with all errors of the workflow.
    pub fn plan(&self, registry: &Registry, parameters: &Parameters) -> Result<Plan, WorkflowError> {
        self.checked(registry, Some(parameters))?.ok_or_else(|| WorkflowError::Wrong("it has no plan".into()))
    }

    fn checked(&self, registry: &Registry, parameters: Option<&Parameters>) -> Result<Option<Plan>, WorkflowError> {
        let workflow = Workflow::read(File::new(self.path, self.text));
        let catalog = ProgramCatalog { registry, folder: Path::new("."), python: HashMap::new() };
        let checked = workflow.check(&catalog, parameters);
        if checked.has_errors() {
            return Err(WorkflowError::Wrong(checked.render(workflow.file(), Style::Plain)));
        }
        Ok(checked.plan)
    }

    /// Checks the workflow against the tasks that are linked into this program.
    ///
    /// # Panics
    /// Panics if the workflow has errors, with all of them.
    #[doc(hidden)]
    #[expect(clippy::panic, reason = "it is the body of a test")]
    pub fn assert_fits(&self) {
        let registry = Registry::collect().unwrap_or_else(|problems| panic!("{problems:?}"));
        if let Err(error) = self.checked(&registry, None) {
            panic!("{error}");
        }
    }
}

/// The purpose of a check, with the parameters that were given.
#[derive(Debug, Clone, Copy)]
pub enum Purpose<'a> {
    /// The workflow alone, without a run.
    Check,
    /// A run of the workflow.
    Run(&'a Parameters),
    /// The runs that the schedule of the workflow starts.
    Schedule(&'a Parameters),
}

impl Purpose<'_> {
    fn parameters(self, workflow: &Workflow) -> Option<Parameters> {
        match self {
            Self::Check => None,
            Self::Run(given) => Some(given.clone()),
            Self::Schedule(given) => {
                let mut all = workflow.schedule_parameters();
                all.extend(given.clone());
                Some(all)
            }
        }
    }
}

/// Reads a workflow file and checks it.
///
/// # Errors
/// Returns an error if the file cannot be read. What is wrong with the workflow is part of the result.
pub async fn check(
    registry: &Registry,
    executor: Option<&Arc<dyn Executor>>,
    path: &Path,
    purpose: Purpose<'_>,
) -> Result<CheckedFile, WorkflowError> {
    let unreadable = |source| WorkflowError::Unreadable { path: path.to_owned(), source };
    // Checked before reading, because reading a pipe would block.
    let what = tokio::fs::metadata(path).await.map_err(unreadable)?.file_type();
    if let Some(found) = other_than_a_file(what) {
        return Err(WorkflowError::NotAFile { path: path.to_owned(), found });
    }
    let bytes = tokio::fs::read(path).await.map_err(unreadable)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = tokio::fs::canonicalize(folder).await.map_err(unreadable)?;
    let workflow = Workflow::read(File::from_bytes(path.display().to_string(), &bytes));
    let catalog = ProgramCatalog::of(registry, executor, &folder, &workflow).await;
    let mut checked = workflow.check(&catalog, purpose.parameters(&workflow).as_ref());
    if let Some(plan) = &mut checked.plan {
        plan.folder = Some(folder.display().to_string());
    }
    Ok(CheckedFile { workflow, checked })
}

/// Names the type of something that is no regular file, because reading it may block forever.
fn other_than_a_file(what: FileType) -> Option<&'static str> {
    match what {
        _ if what.is_file() => None,
        _ if what.is_dir() => Some("a folder"),
        _ if what.is_fifo() => Some("a named pipe"),
        _ if what.is_socket() => Some("a socket"),
        _ => Some("a device"),
    }
}

/// The data of this program and of the workflow's folder that the check of a workflow needs.
struct ProgramCatalog<'a> {
    registry: &'a Registry,
    folder: &'a Path,
    /// The signatures of the Python files, by their names in the workflow.
    python: HashMap<String, Answer>,
}

impl<'a> ProgramCatalog<'a> {
    /// Collects what the check needs. The signatures of the Python files are read by importing the files.
    async fn of(
        registry: &'a Registry,
        executor: Option<&Arc<dyn Executor>>,
        folder: &'a Path,
        workflow: &Workflow,
    ) -> Self {
        let mut catalog = Self { registry, folder, python: HashMap::new() };
        let lookups = workflow.python_files().into_iter().map(|file| {
            let unavailable = catalog.unavailable(file);
            async move {
                let answer = match (unavailable, executor) {
                    (Some(unavailable), _) => Answer::Unavailable(unavailable),
                    (None, Some(executor)) => describe_python(executor, folder, file).await,
                    (None, None) => Answer::Unknown,
                };
                (file.to_owned(), answer)
            }
        });
        let answers = join_all(lookups).await;
        catalog.python.extend(answers);
        catalog
    }

    /// Returns why a named file cannot be used, judged by its path and type alone.
    fn unavailable(&self, name: &str) -> Option<Unavailable> {
        match self.folder.join(name).canonicalize() {
            Ok(path) if !path.starts_with(self.folder) => Some(Unavailable::Outside),
            Ok(path) => match path.metadata().map(|found| other_than_a_file(found.file_type())) {
                Ok(found) => found.map(|found| Unavailable::NotAFile { found: found.into() }),
                Err(error) => Some(Unavailable::Broken { message: format!("it cannot be accessed: {error}") }),
            },
            Err(_) => Some(Unavailable::NoSuchFile { nearest: self.nearest(name) }),
        }
    }

    /// Returns why a program cannot be used: as for a file, and it must be executable.
    fn unavailable_program(&self, name: &str) -> Option<Unavailable> {
        self.unavailable(name).or_else(|| {
            let mode = self.folder.join(name).metadata().ok()?.permissions().mode();
            (mode & 0o111 == 0).then_some(Unavailable::NotExecutable)
        })
    }

    /// Returns the file with the most similar name: in the folder of the named file, in the workflow's folder, or in
    /// `tasks`.
    fn nearest(&self, name: &str) -> Option<String> {
        let parent = Path::new(name).parent().unwrap_or(Path::new(""));
        let candidates = [parent, Path::new(""), Path::new("tasks")].into_iter().flat_map(|place| {
            let entries = std::fs::read_dir(self.folder.join(place)).into_iter().flatten().flatten();
            entries
                .filter(|entry| entry.path().is_file())
                .map(|entry| place.join(entry.file_name()).display().to_string())
        });
        let similarity = |other: &String| strsim::jaro_winkler(other, name);
        candidates.filter(|other| similarity(other) > 0.8).max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
    }
}

/// The time that the import of a Python file may take.
const IMPORT: Duration = Duration::from_mins(1);

/// Reads the signature of a Python file from the executor.
async fn describe_python(executor: &Arc<dyn Executor>, folder: &Path, file: &str) -> Answer {
    let program = Program::Python { file: file.to_owned() };
    let code = Code { program, folder: folder.to_owned(), env: BTreeMap::new() };
    let signature = tokio::select! {
        biased;
        signature = executor.describe(code) => signature,
        () = SystemClock.pause(IMPORT) => {
            let message = format!("its import did not finish within {}", humantime::format_duration(IMPORT));
            return Answer::Unavailable(Unavailable::Broken { message });
        }
    };
    match signature {
        Ok(signature) => Answer::Known(Signature {
            input: signature.input.clone(),
            by_name: signature.by_name.clone(),
            output: signature.output.clone(),
            place: format!("{file}:{}", signature.line),
            splits: false,
        }),
        Err(ExecutorError::Unavailable(message)) => Answer::Unavailable(Unavailable::NoExecutor { message }),
        Err(error) => Answer::Unavailable(Unavailable::Broken { message: error.to_string() }),
    }
}

impl Catalog for ProgramCatalog<'_> {
    fn rust(&self, name: &str) -> Answer {
        match self.registry.tasks().find(|task| task.name() == name) {
            Some(task) => Answer::Known(signature(task)),
            None => Answer::Unavailable(Unavailable::NoSuchTask),
        }
    }

    fn rust_names(&self) -> Vec<String> {
        self.registry.names().into_iter().map(str::to_owned).collect()
    }

    fn python(&self, file: &str) -> Answer {
        self.python.get(file).cloned().unwrap_or(Answer::Unknown)
    }

    fn program(&self, name: &str) -> Answer {
        let unavailable = name.contains('/').then(|| self.unavailable_program(name)).flatten();
        unavailable.map_or(Answer::Unknown, Answer::Unavailable)
    }
}

fn signature(task: &Task) -> Signature {
    let returns = task.join.as_ref().unwrap_or(&task.work);
    Signature {
        input: schema::whole(|generator| schema::input(task.entry(), generator)),
        by_name: schema::takes_whole(task.entry()).then(|| schema::whole(|generator| by_name(task, generator))),
        output: schema::whole(|generator| (returns.output)(generator).to_value()),
        place: task.entry().location.to_string(),
        splits: task.split.is_some(),
    }
}

/// Returns the schema of the input of a task that takes one value, written as an object with a field of the
/// parameter's name.
fn by_name(task: &Task, generator: &mut SchemaGenerator) -> Value {
    let value = schema::input(task.entry(), generator);
    json!({ "type": "object", "properties": { WHOLE: value }, "required": [WHOLE], "additionalProperties": false })
}
