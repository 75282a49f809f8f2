//! Retries: when the store, the broker or the storage of large outputs cannot do something now, it is tried again until
//! it is done, fails permanently, or the worker has to stop.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Engine;
use super::outcome::Verdict;
use crate::broker::{BrokerError, BrokerErrorKind, Disposition};
use crate::message::Outgoing;
use crate::mutant::{self, Mutant};
use crate::objects::{ObjectError, ObjectErrorKind};
use crate::retry::Backoff;
use crate::store::{StoreError, StoreErrorKind};

/// The pause between two tries while the broker or the store is unavailable, and nothing waits for the result.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// The time for which a delivery is kept when the store does not work, so that it is not redelivered at once.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// The first and the longest pause after objects could not be written or read.
const OBJECT_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The worker has to stop. Another process, or this one after a restart, does what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupted;

/// Tries an operation until it succeeds, or fails with an error that does not pass. Between two tries `stop` ends the
/// retries, as does the end of this process.
pub(crate) async fn retry<T, E, F>(
    engine: &Engine,
    stop: &CancellationToken,
    mut backoff: Backoff,
    may_pass: impl Fn(&E) -> bool,
    mut operation: impl FnMut() -> F,
) -> Result<Result<T, E>, Interrupted>
where
    F: Future<Output = Result<T, E>>,
{
    loop {
        match operation().await {
            Err(error) if may_pass(&error) => {}
            done => return Ok(done),
        }
        pause(engine, stop, backoff.next(0.0)).await?;
    }
}

/// Waits before the next try.
pub(crate) async fn pause(engine: &Engine, stop: &CancellationToken, pause: Duration) -> Result<(), Interrupted> {
    tokio::select! {
        biased;
        () = engine.force.cancelled() => Err(Interrupted),
        () = stop.cancelled() => Err(Interrupted),
        () = engine.clock.pause(pause) => Ok(()),
    }
}

/// Tries an operation of the broker until it succeeds or fails permanently.
pub(super) async fn broker<T, F>(
    engine: &Engine,
    operation: impl Fn() -> F + Send,
) -> Result<Result<T, BrokerError>, Interrupted>
where
    F: Future<Output = Result<T, BrokerError>> + Send,
{
    let may_pass = |error: &BrokerError| {
        tracing::debug!(%error, "the broker failed");
        !error.kind().is_permanent() && error.kind() != BrokerErrorKind::Closed
    };
    match retry(engine, &engine.force, Backoff::constant(PAUSE), may_pass, operation).await? {
        Err(error) if error.kind() == BrokerErrorKind::Closed => Err(Interrupted),
        done => Ok(done),
    }
}

/// Publishes a message that no outbox keeps.
pub(super) async fn publish(engine: &Engine, message: &Outgoing) -> Result<Result<(), BrokerError>, Interrupted> {
    broker(engine, || publish_once(engine, message.clone())).await
}

/// Publishes a message, and does not try again.
pub(super) async fn publish_once(engine: &Engine, message: Outgoing) -> Result<(), BrokerError> {
    engine.broker.publish(vec![message]).await.into_iter().collect()
}

/// Tries an operation of the object storage until it succeeds or fails permanently. Returns `None` if the worker has to
/// stop, or the result is not wanted any more.
pub(super) async fn objects<T, F: Future<Output = Result<T, ObjectError>>>(
    engine: &Engine,
    unwanted: &CancellationToken,
    may_pass: fn(ObjectErrorKind) -> bool,
    operation: impl FnMut() -> F,
) -> Option<Result<T, ObjectError>> {
    let may_pass = |error: &ObjectError| {
        let source = std::error::Error::source(error).map(ToString::to_string);
        let may_pass = may_pass(error.kind());
        if may_pass {
            tracing::warn!(%error, source, "the storage of large outputs is unavailable, holding the work");
        }
        may_pass
    };
    let retries = retry(engine, unwanted, Backoff::new(OBJECT_PAUSES.0, OBJECT_PAUSES.1), may_pass, operation);
    unwanted.run_until_cancelled(engine.force.run_until_cancelled(retries)).await??.ok()
}

/// Waits after an error of the store, which may work again soon. Until then the delivery stays here: requeued, it
/// would be redelivered at once, and the broker would count that as one more failed delivery. Returns the verdict on the
/// delivery.
pub(super) async fn store_failed(engine: &Engine, error: &StoreError) -> Verdict {
    let may_pass = match error.kind() {
        StoreErrorKind::Corrupt if mutant::is_on(Mutant::IgnoresDamage) => true,
        StoreErrorKind::ReadOnly if mutant::is_on(Mutant::RequeuesReadOnly) => false,
        StoreErrorKind::Unavailable if mutant::is_on(Mutant::RequeuesUnavailable) => false,
        StoreErrorKind::Corrupt | StoreErrorKind::TooNew => {
            tracing::error!(%error, "the store is damaged or too new, stopping");
            engine.fatal.cancel();
            return Verdict::Settle(Disposition::Requeue);
        }
        // A retry would give the same result.
        StoreErrorKind::Closed | StoreErrorKind::Data => false,
        StoreErrorKind::Unavailable
        | StoreErrorKind::ReadOnly
        | StoreErrorKind::Config
        | StoreErrorKind::NotFound
        | StoreErrorKind::NoStore => true,
    };
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(%error, source, "the store failed, holding the work");
    match pause(engine, &engine.force, STORE_PAUSE).await {
        Ok(()) if may_pass => Verdict::Again,
        Ok(()) | Err(Interrupted) => Verdict::Settle(Disposition::Requeue),
    }
}
