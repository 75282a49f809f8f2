//! Work whose claim or settlement the store cannot hold: it fails with the reason, as a retry would give the same
//! result.

use super::outcome::Verdict;
use super::{Engine, retry};
use crate::broker::{DeadLetterReason, Disposition};
use crate::failure::{Failure, FailureKind};
use crate::job::AttemptOutcome;
use crate::message::{Message, WorkKind};
use crate::store::StoreError;
use crate::tx::{PartAttemptOutcome, PartKey, RecordHookFailure, Settle, SettleParts};

/// Fails the work of a message, and returns the verdict on its delivery.
pub(super) async fn verdict(engine: &Engine, error: &StoreError, message: &Message) -> Verdict {
    let Message { job, kind, attempt, .. } = *message;
    tracing::warn!(%job, %error, "the store cannot record this job, failing it");
    let why = format!("the job cannot be stored: {error}");
    let failure = Failure::new(FailureKind::Output, why.clone());
    let settled = match kind {
        WorkKind::Hooks(_) => {
            return match engine.commit(RecordHookFailure { job, message: why }).await {
                Ok(()) => Verdict::Settle(Disposition::Ack),
                Err(error) => retry::store_failed(engine, &error).await,
            };
        }
        WorkKind::Part { epoch, index } => {
            let part = PartKey { job, epoch, index, attempt };
            let outcome = PartAttemptOutcome::Failed { failure, retry_at: None };
            engine.settle(vec![SettleParts::one(part, outcome, engine.actor())]).await
        }
        WorkKind::Job | WorkKind::Single | WorkKind::Step | WorkKind::Join => {
            let phase = kind.phase();
            let (outcome, actor) = (AttemptOutcome::Failed { failure, retry_at: None }, engine.actor());
            engine.settle(vec![Settle { job, phase, attempt, outcome, output: None, permit: None, actor }]).await
        }
    };
    match settled {
        Ok(true) => Verdict::Settle(Disposition::Ack),
        // The job has ended already, or does not exist.
        Ok(false) => match engine.store.existing_jobs(vec![job]).await {
            Ok(known) if known.contains(&job) => Verdict::Settle(Disposition::Ack),
            Ok(_) => Verdict::Settle(Disposition::DeadLetter(DeadLetterReason::Unstorable, why)),
            Err(error) => retry::store_failed(engine, &error).await,
        },
        Err(disposition) => Verdict::Settle(disposition),
    }
}
