//! Work whose claim or settlement the store cannot hold: it fails with the reason, as a retry would give the same
//! result.

use super::{Engine, retry};
use crate::broker::{DeadLetterReason, Disposition};
use crate::failure::{Failure, FailureKind};
use crate::job::AttemptOutcome;
use crate::message::{Message, WorkKind};
use crate::store::StoreError;
use crate::tx::{PartAttemptOutcome, PartKey, RecordHookFailure, Settle, SettleParts};

/// Fails the work of a message. Returns `None` if the failure cannot be written now, and is worth another try.
pub(super) async fn settlement(engine: &Engine, error: &StoreError, message: &Message) -> Option<Disposition> {
    let Message { job, kind, attempt, .. } = *message;
    tracing::warn!(%job, %error, "the store cannot record this job, failing it");
    let why = format!("the job cannot be stored: {error}");
    let failure = Failure::new(FailureKind::Output, why.clone());
    let settled = match kind {
        WorkKind::Hooks(_) => {
            return match engine.commit(RecordHookFailure { job, message: why }).await {
                Ok(()) => Some(Disposition::Ack),
                Err(error) => retry::store_failed(engine, &error).await,
            };
        }
        WorkKind::Part { epoch, index } => {
            let part = PartKey { job, epoch, index, attempt };
            let how = PartAttemptOutcome::Failed { failure, retry_at: None };
            engine.settle(vec![SettleParts::one(part, how, engine.actor())]).await
        }
        WorkKind::Job | WorkKind::Single | WorkKind::Step | WorkKind::Join => {
            let phase = kind.phase();
            let (outcome, actor) = (AttemptOutcome::Failed { failure, retry_at: None }, engine.actor());
            engine.settle(vec![Settle { job, phase, attempt, outcome, output: None, permit: None, actor }]).await
        }
    };
    match settled {
        Ok(true) => Some(Disposition::Ack),
        // The job has ended already, or does not exist.
        Ok(false) => match engine.store.existing_jobs(vec![job]).await {
            Ok(known) if known.contains(&job) => Some(Disposition::Ack),
            Ok(_) => Some(Disposition::DeadLetter(DeadLetterReason::Unstorable, why)),
            Err(error) => retry::store_failed(engine, &error).await,
        },
        Err(settlement) => Some(settlement),
    }
}
