//! Finds the files of a workflow, and ensures that they are inside of its folder even if symbolic links are involved.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use ork_ports::executor::ExecutorError;

/// A file in the folder of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WorkflowFile {
    /// The folder, as an absolute path without symbolic links.
    pub folder: PathBuf,
    /// The file, relative to the folder.
    pub file: PathBuf,
}

impl WorkflowFile {
    /// Returns the full path of the file.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.file)
    }

    /// Finds a file. This reads the file system, so it may block.
    pub(super) fn find(folder: &Path, file: &str) -> Result<Self, ExecutorError> {
        let unfit = |message: &str| ExecutorError::Unfit(format!("`{file}` {message}"));
        if file.is_empty() {
            return Err(ExecutorError::Unfit("no file is given".into()));
        }
        let steps = Path::new(file).components();
        if steps.clone().any(|step| !matches!(step, Component::Normal(_) | Component::CurDir)) {
            return Err(unfit("is outside the workflow's folder: use a path relative to that folder, without `..`"));
        }
        let folder = root(folder)?;
        let file: PathBuf = steps.filter(|step| matches!(step, Component::Normal(_))).collect();
        match folder.join(&file).canonicalize() {
            Ok(real) if !real.starts_with(&folder) => {
                Err(unfit("is a link to a file outside the workflow's folder: copy that file into the folder"))
            }
            Ok(real) if !real.is_file() => Err(unfit("is not a file")),
            Ok(_) => Ok(Self { folder, file }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let message =
                    format!("there is no `{}` in the workflow's folder `{}`", file.display(), folder.display());
                Err(ExecutorError::Unavailable(message))
            }
            Err(error) => Err(ExecutorError::Unavailable(format!("`{}` cannot be read: {error}", file.display()))),
        }
    }
}

/// Returns the folder of a workflow as an absolute path without symbolic links.
pub(super) fn root(folder: &Path) -> Result<PathBuf, ExecutorError> {
    folder.canonicalize().map_err(|error| {
        ExecutorError::Unavailable(format!(
            "cannot find the workflow's folder `{}`: {error}; set ORK_WORKFLOWS to the folder of the workflows",
            folder.display()
        ))
    })
}

/// Runs work that reads the file system on a thread where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExecutorError> + Send + 'static,
) -> Result<T, ExecutorError> {
    let lost = |error| ExecutorError::Unavailable(format!("a file cannot be accessed: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}
