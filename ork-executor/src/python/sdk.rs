//! The Python package `ork`. It is embedded in this program, and written to a private folder when it is first needed.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::super::guard::Guard;
use ork_ports::executor::ExecutorError;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../python/", $name)))),*]
    };
}

/// The files of the package, and the script that interpreters are started with.
const FILES: [(&str, &str); 14] = files![
    "__main__.py",
    "ork/__init__.py",
    "ork/_channel.py",
    "ork/_context.py",
    "ork/_function.py",
    "ork/_load.py",
    "ork/_output.py",
    "ork/_records.py",
    "ork/_shapes.py",
    "ork/_task.py",
    "ork/_trace.py",
    "ork/_types.py",
    "ork/_worker.py",
    "ork/py.typed",
];

/// The package on disk. Its folder has a name that cannot be guessed, and only this user has access to it, so no other
/// user can put code there. Dropping this removes the folder.
#[derive(Debug)]
pub(super) struct Sdk {
    scratch: PathBuf,
    guard: Arc<Guard>,
    folder: Mutex<Option<PathBuf>>,
}

impl Sdk {
    pub(super) const fn new(scratch: PathBuf, guard: Arc<Guard>) -> Self {
        Self { scratch, guard, folder: Mutex::new(None) }
    }

    /// Returns the folder with the package. Writes the files if this is the first call, or if they were removed in the
    /// meantime. May block.
    pub(super) fn folder(&self) -> Result<PathBuf, ExecutorError> {
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = folder.as_ref().filter(|folder| is_complete(folder)) {
            return Ok(folder.clone());
        }
        let written = write(&self.scratch).map_err(|error| {
            let scratch = self.scratch.display();
            ExecutorError::Unavailable(format!("the Python package of ork cannot be written to `{scratch}`: {error}"))
        })?;
        self.guard.remove(&written);
        *folder = Some(written.clone());
        drop(folder);
        Ok(written)
    }
}

fn is_complete(folder: &Path) -> bool {
    FILES.iter().all(|(name, _)| folder.join(name).is_file())
}

fn write(scratch: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(scratch)?;
    let folder = scratch.canonicalize()?.join(format!("python-{}", Uuid::new_v4().simple()));
    let mut private = DirBuilder::new();
    private.mode(0o700);
    private.create(&folder)?;
    private.create(folder.join("ork"))?;
    FILES.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text))?;
    Ok(folder)
}

impl Drop for Sdk {
    fn drop(&mut self) {
        let folder = self.folder.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = folder.take()
            && let Err(error) = fs::remove_dir_all(&folder)
        {
            tracing::debug!(folder = %folder.display(), %error, "cannot remove a folder");
        }
    }
}
