//! The parts a join is given: read from the store, a page at a time.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Engine, ProcessError};
use crate::id::JobId;
use crate::job::{Job, Phase};
use crate::store::{Store, StoreError};
use crate::task::Result;
use crate::task::parts::{PartSource, RawParts, SettledPart};

#[derive(Debug)]
struct FromStore {
    store: Arc<dyn Store>,
    job: JobId,
}

#[async_trait]
impl PartSource for FromStore {
    async fn page(&self, from: u64, limit: usize) -> Result<Vec<SettledPart>> {
        Ok(self.store.parts(self.job, from, limit).await?)
    }
}

/// The parts of a job, if it is its join that runs.
pub(super) async fn parts(engine: &Engine, job: &Job, phase: Phase) -> Result<Option<RawParts>, ProcessError> {
    if phase != Phase::Join {
        return Ok(None);
    }
    let view = engine.store.job(job.id).await?.ok_or_else(|| StoreError::no_job(job.id))?;
    let source = FromStore { store: Arc::clone(&engine.store), job: job.id };
    Ok(Some(RawParts::new(view.counts, Arc::new(source))))
}
