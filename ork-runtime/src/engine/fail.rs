//! Failing work that never reaches a worker.

use super::Engine;
use super::claim::new_job;
use super::inflight::part_key;
use crate::failure::Failure;
use crate::job::AttemptOutcome;
use crate::message::{Message, WorkKind};
use crate::store::StoreError;
use crate::tx::{Claim, Claimed, PartAttemptOutcome, Settle, SettleParts};

/// Fails the job or the part of a message that no queue of the broker takes.
pub(crate) async fn undeliverable(engine: &Engine, message: &Message, failure: Failure) -> Result<(), StoreError> {
    let attempt = message.attempt;
    if let Some(part) = part_key(message) {
        let outcome = PartAttemptOutcome::Failed { failure, retry_at: None };
        engine.commit(SettleParts::one(part, outcome, engine.actor())).await?;
        return Ok(());
    }
    if let WorkKind::Hooks(_) = message.kind {
        return Ok(());
    }
    let phase = message.kind.phase();
    let claim = Claim { durable: true, ..Claim::new(new_job(engine, message), phase, attempt, engine.actor()) };
    if let Claimed::Granted { job, .. } = engine.commit(claim).await? {
        let (outcome, actor) = (AttemptOutcome::Failed { failure, retry_at: None }, engine.actor());
        engine.commit(Settle { job: job.id, phase, attempt, outcome, output: None, permit: None, actor }).await?;
    }
    Ok(())
}
