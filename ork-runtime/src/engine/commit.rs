//! Committing operations: the only place that applies them to the store, and that sends the outbox rows which this
//! process holds because of them.

use super::Engine;
use super::outcome::Verdict;
use super::retry::store_failed;
use crate::broker::Disposition;
use crate::failure::{Failure, FailureKind};
use crate::store::{Committed, StoreError, StoreErrorKind};
use crate::tx::{Operation, SettleCalls, SettleResult};

/// The most letters of a store's error that a failure repeats.
const LONGEST_ERROR: usize = 500;

impl Engine {
    /// Commits one operation.
    ///
    /// # Errors
    /// Returns an error if the store cannot be used; then nothing has changed.
    ///
    /// # Cancel safety
    /// If the future is dropped, the operation is committed or not. Rows that were not sent stay in the outbox until
    /// this process has ended.
    pub(crate) async fn commit<O: Operation>(&self, operation: O) -> Result<O::Output, StoreError> {
        let Committed { output, rows } = self.store.apply(operation).await?;
        self.outbox.send(rows).await;
        Ok(output)
    }

    /// Commits operations in order, in one transaction.
    ///
    /// # Errors
    /// Returns an error if the store cannot be used; then nothing has changed.
    ///
    /// # Cancel safety
    /// As for [`Engine::commit`].
    pub(crate) async fn commit_all<O: Operation>(&self, operations: Vec<O>) -> Result<Vec<O::Output>, StoreError> {
        let mut outputs = Vec::with_capacity(operations.len());
        for Committed { output, rows } in self.store.apply_all(operations).await? {
            self.outbox.send(rows).await;
            outputs.push(output);
        }
        Ok(outputs)
    }

    /// Records how calls have ended, and retries until the store has it: the calls would otherwise run again. A call
    /// whose outcome the store cannot hold fails. Returns whether none of them was stale.
    ///
    /// # Errors
    /// Returns the disposition of the deliveries if the store cannot be used any more, or the worker has to stop.
    pub(super) async fn settle<O: SettleCalls>(&self, operations: Vec<O>) -> Result<bool, Disposition> {
        if let Ok(results) = self.settle_once(&operations).await? {
            return Ok(all_applied(&results));
        }
        // The store cannot hold one of them: it fails alone.
        let mut applied = true;
        for operation in operations.iter().flat_map(SettleCalls::each) {
            let results = match self.settle_once(std::slice::from_ref(&operation)).await? {
                Ok(results) => results,
                Err(error) => self.settle_as_failed(&operation, error).await?,
            };
            applied &= all_applied(&results);
        }
        Ok(applied)
    }

    /// Records a call as failed because the store cannot hold how it has ended.
    async fn settle_as_failed<O: SettleCalls>(
        &self,
        operation: &O,
        error: StoreError,
    ) -> Result<Vec<SettleResult>, Disposition> {
        tracing::warn!(job = %operation.job(), %error, "the store cannot record this outcome, failing the job");
        let message: String = error.to_string().chars().flat_map(char::escape_default).take(LONGEST_ERROR).collect();
        // The error of the store may contain what it cannot hold.
        for message in [message.as_str(), "see the log of the worker"] {
            let failure = Failure::new(FailureKind::Output, format!("the outcome cannot be stored: {message}"));
            let Some(failing) = operation.failing(failure) else { break };
            if let Ok(results) = self.settle_once(&[failing]).await? {
                return Ok(results);
            }
        }
        match store_failed(self, &error).await {
            Verdict::Settle(disposition) => Err(disposition),
            Verdict::Again => Err(Disposition::Requeue),
        }
    }

    /// Retries until the store has the operations, or cannot hold what one of them says.
    async fn settle_once<O: SettleCalls>(
        &self,
        operations: &[O],
    ) -> Result<Result<Vec<SettleResult>, StoreError>, Disposition> {
        loop {
            match self.commit_all(operations.to_vec()).await {
                Ok(results) => return Ok(Ok(results)),
                Err(error) if error.kind() == StoreErrorKind::Data => return Ok(Err(error)),
                Err(error) => {
                    if let Verdict::Settle(disposition) = store_failed(self, &error).await {
                        return Err(disposition);
                    }
                }
            }
        }
    }
}

fn all_applied(results: &[SettleResult]) -> bool {
    let applied = results.iter().all(|result| *result == SettleResult::Applied);
    if !applied {
        tracing::debug!("a stale settlement changed nothing");
    }
    applied
}
