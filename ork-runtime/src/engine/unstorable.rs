//! Work for which something must be written that the store cannot hold: it fails in words, as the same again would come
//! to the same.

use super::{Engine, permits, refuse};
use crate::accounting::{HookFailed, PartAttempt, PartKey, Settle, SettleParts};
use crate::broker::{DeadReason, Settlement};
use crate::failure::{Failure, FailureKind};
use crate::job::{Attempt, Phase};
use crate::message::{Ask, Message};
use crate::store::StoreError;

/// Fails what a message asks for. `None` if that cannot be written now, and is worth another try.
pub(super) async fn settlement(engine: &Engine, error: &StoreError, message: &Message) -> Option<Settlement> {
    let Message { job, ask, attempt, .. } = *message;
    tracing::warn!(%job, %error, "the store cannot hold what is to be written: it fails");
    let why = format!("what is to be written of it cannot be stored: {error}");
    let failure = Failure::new(FailureKind::Output, why.clone());
    let settled = match ask {
        Ask::Hooks(_) => {
            return match engine.store.apply(HookFailed { job, why }).await {
                Ok(()) => Some(Settlement::Ack),
                Err(error) => refuse::store_failed(engine, &error).await,
            };
        }
        Ask::Part { epoch, index } => {
            let part = PartKey { job, epoch, index, attempt };
            let how = PartAttempt::Failed { failure, again: None };
            permits::settle(engine, None, vec![SettleParts::one(part, how, engine.by())]).await
        }
        Ask::Whole | Ask::Item | Ask::Step | Ask::Join => {
            let phase = if ask == Ask::Join { Phase::Join } else { Phase::Start };
            let how = Attempt::Failed { failure, again: None };
            permits::settle(engine, None, vec![Settle { job, phase, attempt, how, output: None, by: engine.by() }])
                .await
        }
    };
    match settled {
        Ok(true) => Some(Settlement::Ack),
        // It has ended already, or it is not even there.
        Ok(false) => match engine.store.known(vec![job]).await {
            Ok(known) if known.contains(&job) => Some(Settlement::Ack),
            Ok(_) => Some(Settlement::Dead(DeadReason::Unstorable, why)),
            Err(error) => refuse::store_failed(engine, &error).await,
        },
        Err(settlement) => Some(settlement),
    }
}
