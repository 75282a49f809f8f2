//! The parts that a join receives, read from the store a page at a time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::large_outputs::OutputKey;
use super::{Engine, ProcessError, retry};
use crate::id::JobId;
use crate::job::Job;
use crate::objects::ObjectErrorKind;
use crate::store::StoreError;
use crate::task::parts::{PartSource, RawParts, SettledPart};
use crate::task::{Error, Result};

/// The time that a join that has to stop waits before its read fails.
const STOP_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct FromStore {
    engine: Arc<Engine>,
    job: JobId,
    /// Cancelled when the result of the join is no longer wanted.
    unwanted: CancellationToken,
}

#[async_trait]
impl PartSource for FromStore {
    async fn page(&self, from: u64, limit: usize) -> Result<Vec<SettledPart>> {
        Ok(self.engine.store.parts(self.job, from, limit).await?)
    }

    async fn whole(&self, part: SettledPart) -> Result<SettledPart> {
        let Some(row) = part.output else { return Ok(part) };
        let (large, key) = (&self.engine.large, OutputKey { job: self.job, part: Some(part.index) });
        let may_pass = |kind| kind == ObjectErrorKind::Unavailable;
        match retry::objects(&self.engine, &self.unwanted, may_pass, || large.read(key, row.clone())).await {
            Some(Ok(output)) => Ok(SettledPart { output: Some(output), ..part }),
            // A lost output stays lost, but an output that only this program cannot find may be found by another one.
            Some(Err(error)) if error.kind() == ObjectErrorKind::Config => Err(Error::new(error)),
            Some(Err(error)) => Err(Error::permanent(error)),
            None => {
                // A join that can be dropped is dropped during this pause. If it received the error first, its
                // attempt would fail.
                self.engine.clock.pause(STOP_PAUSE).await;
                Err(Error::new(format!("{key} was not read: the join is being stopped")))
            }
        }
    }
}

/// Returns the parts of a job, for its join.
pub(super) async fn parts(
    engine: &Arc<Engine>,
    job: &Job,
    unwanted: &CancellationToken,
) -> Result<RawParts, ProcessError> {
    let view = engine.store.job(job.id).await?.ok_or_else(|| StoreError::no_job(job.id))?;
    let source = FromStore { engine: Arc::clone(engine), job: job.id, unwanted: unwanted.clone() };
    Ok(RawParts::new(view.counts, Arc::new(source)))
}
