//! Calls in flight: within a process, deliveries of the same piece of work run one at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::id::JobId;
use crate::message::{Message, WorkKind};
use crate::mutant::{self, Mutant};
use crate::tx::PartKey;

/// The work of a message and its attempt. The attempt is part of the key so that the next attempt does not wait until
/// the call of the previous one has cleaned up.
pub(super) type CallKey = (JobId, WorkKind, u32);

/// Returns the key of the work that a message requests. A job may arrive as `Job` from its sender and as `Single`
/// from the outbox: that is the same call.
pub(super) fn call_key(message: &Message) -> CallKey {
    let kind = match message.kind {
        WorkKind::Single | WorkKind::Step if !mutant::is_on(Mutant::SeparatesItemsFromJobs) => WorkKind::Job,
        kind => kind,
    };
    (message.job, kind, message.attempt)
}

/// Returns the part that a message asks for; `None` if it asks for no part.
pub(super) fn part_key(message: &Message) -> Option<PartKey> {
    match message.kind {
        WorkKind::Part { epoch, index } => Some(PartKey { job: message.job, epoch, index, attempt: message.attempt }),
        WorkKind::Job | WorkKind::Single | WorkKind::Step | WorkKind::Join | WorkKind::Hooks(_) => None,
    }
}

/// The calls in flight. Most entries are never waited for, so they hold no token until a second delivery waits.
#[derive(Debug, Default, Clone)]
pub(super) struct InFlight(Arc<Mutex<HashMap<CallKey, Option<CancellationToken>>>>);

/// An entry of the calls in flight, removed on drop.
#[derive(Debug)]
pub(super) struct InflightGuard {
    inflight: InFlight,
    call_key: CallKey,
}

impl InFlight {
    fn taken(&self) -> MutexGuard<'_, HashMap<CallKey, Option<CancellationToken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the work, unless it is in flight.
    pub(super) fn try_take(&self, call_key: CallKey) -> Option<InflightGuard> {
        if mutant::is_on(Mutant::StartsWorkInFlight) {
            return Some(InflightGuard { inflight: Self::default(), call_key });
        }
        let mut taken = self.taken();
        let std::collections::hash_map::Entry::Vacant(free) = taken.entry(call_key) else { return None };
        free.insert(None);
        Some(InflightGuard { inflight: self.clone(), call_key })
    }

    /// Waits until the work is not in flight, and enters it.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing is entered.
    pub(super) async fn take(&self, call_key: CallKey) -> InflightGuard {
        if mutant::is_on(Mutant::StartsWorkInFlight) {
            return InflightGuard { inflight: Self::default(), call_key };
        }
        loop {
            let ended = match self.taken().entry(call_key) {
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(None);
                    return InflightGuard { inflight: self.clone(), call_key };
                }
                std::collections::hash_map::Entry::Occupied(mut taken) => {
                    taken.get_mut().get_or_insert_with(CancellationToken::new).clone()
                }
            };
            ended.cancelled().await;
        }
    }
}

impl Drop for InflightGuard {
    fn drop(&mut self) {
        let waited_for = self.inflight.taken().remove(&self.call_key).flatten();
        if let Some(ended) = waited_for {
            ended.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn same_work_waits_and_other_work_does_not() {
        let (inflight, job) = (InFlight::default(), JobId::new());
        let first = inflight.take((job, WorkKind::Job, 1)).now_or_never().unwrap();
        let other = inflight.take((job, WorkKind::Part { epoch: 1, index: 0 }, 1)).now_or_never().unwrap();
        drop(inflight.take((job, WorkKind::Job, 2)).now_or_never().unwrap());
        let mut second = Box::pin(inflight.take((job, WorkKind::Job, 1)));
        assert!(second.as_mut().now_or_never().is_none());
        drop(other);
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        drop(second.now_or_never().unwrap());
        assert!(inflight.taken().is_empty());
    }
}
