//! Large outputs: written as objects before their settlement is recorded, and read back on demand.
//!
//! Every call of a function writes a new object. So a late call, whose settlement is stale, cannot change the object
//! that the valid settlement refers to.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::id::JobId;
use crate::message::{Message, WorkKind};
use crate::objects::{ObjectError, ObjectErrorKind, Objects};
use crate::output::OutputRef;

/// The place where large outputs are stored, and the size beyond which an output is large.
#[derive(Debug, Clone)]
pub(crate) struct LargeOutputs {
    /// The object storage; `None` if large outputs stay in their rows.
    objects: Option<Arc<dyn Objects>>,
    /// The prefix of the names of this store's objects; `None` without a store.
    home: Option<Arc<str>>,
    /// Outputs of more bytes than this are large.
    beyond: usize,
}

/// The object storage that this process writes to, and the prefix of the names of its store's objects.
#[derive(Debug, Clone)]
pub(crate) struct ObjectLocation {
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) home: Arc<str>,
}

/// Identifies an output: of a job, or of a part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutputKey {
    pub(crate) job: JobId,
    /// The index of the part; `None` for the output of the job itself.
    pub(crate) part: Option<u64>,
}

impl std::fmt::Display for OutputKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.part {
            None => write!(f, "the output of job {}", self.job),
            Some(part) => write!(f, "the output of part {part} of job {}", self.job),
        }
    }
}

impl LargeOutputs {
    /// Creates the settings. Outputs of more than `beyond` bytes become objects of this store, if `objects` is set.
    pub(crate) fn new(objects: Option<Arc<dyn Objects>>, store: Option<Uuid>, beyond: usize) -> Self {
        Self { objects, home: store.map(|store| store.to_string().into()), beyond }
    }

    /// Returns where large outputs are written; `None` if they stay in their rows.
    pub(crate) fn place(&self) -> Option<ObjectLocation> {
        Some(ObjectLocation { objects: Arc::clone(self.objects.as_ref()?), home: Arc::clone(self.home.as_ref()?) })
    }

    /// Returns whether an output of so many bytes is large.
    pub(crate) const fn is_large(&self, bytes: usize) -> bool {
        bytes > self.beyond
    }

    /// Returns the output that a row holds or refers to.
    pub(crate) async fn read(&self, key: OutputKey, row: Bytes) -> Result<Bytes, ObjectError> {
        match OutputRef::read(&row) {
            None => Ok(row),
            Some(Ok(reference)) => self.fetch(key, reference).await,
            Some(Err(error)) => {
                let detail = format!("{key} cannot be found");
                Err(ObjectError::new(ObjectErrorKind::Damaged, detail).with_source(error))
            }
        }
    }

    /// Returns the output that a reference points to.
    pub(crate) async fn fetch(&self, key: OutputKey, reference: OutputRef) -> Result<Bytes, ObjectError> {
        let OutputRef { bytes, object } = reference;
        let Some(object) = object else {
            let detail = format!("{key} ({bytes} bytes) is in another store, that of its job: set ORK_STORE to it");
            return Err(ObjectError::new(ObjectErrorKind::Config, detail));
        };
        let Some(objects) = &self.objects else {
            let detail = format!(
                "{key} ({bytes} bytes) is in the object `{object}`: set ORK_LARGE_OUTPUTS to the same value as its \
                 worker"
            );
            return Err(ObjectError::new(ObjectErrorKind::Config, detail));
        };
        let error = match objects.get(&object, bytes).await {
            Ok(output) if u64::try_from(output.len()) == Ok(bytes) => return Ok(output),
            Ok(output) => {
                let detail = format!(
                    "{key} is damaged: expected {bytes} bytes, but the object `{object}` in {} has {}",
                    objects.place(),
                    output.len()
                );
                return Err(ObjectError::new(ObjectErrorKind::Damaged, detail));
            }
            Err(error) => error,
        };
        let detail = match error.kind() {
            ObjectErrorKind::Missing => format!("{key} is lost"),
            _ => format!("{key} cannot be read"),
        };
        Err(ObjectError::new(error.kind(), detail).with_source(error))
    }
}

/// Returns the name of a new object: it contains the job, and is never used twice.
pub(super) fn name(place: &ObjectLocation, message: &Message, once: Uuid) -> String {
    let Message { job, attempt, .. } = message;
    let once = once.simple();
    match message.kind {
        WorkKind::Job | WorkKind::Single | WorkKind::Step | WorkKind::Hooks(_) => {
            format!("{}/{job}/job-{attempt}-{once}", place.home)
        }
        WorkKind::Join => format!("{}/{job}/join-{attempt}-{once}", place.home),
        WorkKind::Part { epoch, index } => format!("{}/{job}/part-{epoch}-{index}-{attempt}-{once}", place.home),
    }
}

/// Returns the job that an object of this store belongs to.
pub(crate) fn job_of(place: &ObjectLocation, name: &str) -> Option<JobId> {
    name.strip_prefix(&*place.home)?.strip_prefix('/')?.split('/').next()?.parse().ok()
}
