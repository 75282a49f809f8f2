//! Calls in flight: within a process, deliveries of the same piece of work run one at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::id::JobId;
use crate::message::{Message, WorkKind};
use crate::mutant::{self, Mutant};

/// The work of a message and its attempt. The attempt is part of the key so that the next attempt does not wait until
/// the call of the previous one has cleaned up.
pub(super) type What = (JobId, WorkKind, u32);

/// Returns the key of the work that a message requests. A job may arrive as `Job` from its sender and as `Single`
/// from the outbox: that is the same call.
pub(super) fn what(message: &Message) -> What {
    let ask = match message.kind {
        WorkKind::Single | WorkKind::Step if !mutant::is_on(Mutant::TellsItemsFromWholes) => WorkKind::Job,
        ask => ask,
    };
    (message.job, ask, message.attempt)
}

/// The calls in flight. Most entries are never waited for, so they hold no token until a second delivery waits.
#[derive(Debug, Default, Clone)]
pub(super) struct InFlight(Arc<Mutex<HashMap<What, Option<CancellationToken>>>>);

/// An entry of the calls in flight, removed on drop.
#[derive(Debug)]
pub(super) struct Turn {
    turns: InFlight,
    what: What,
}

impl InFlight {
    fn taken(&self) -> MutexGuard<'_, HashMap<What, Option<CancellationToken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the work, unless it is in flight.
    pub(super) fn try_take(&self, what: What) -> Option<Turn> {
        if mutant::is_on(Mutant::TakesNoTurn) {
            return Some(Turn { turns: Self::default(), what });
        }
        let mut taken = self.taken();
        let std::collections::hash_map::Entry::Vacant(free) = taken.entry(what) else { return None };
        free.insert(None);
        Some(Turn { turns: self.clone(), what })
    }

    /// Waits until the work is not in flight, and enters it.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing is entered.
    pub(super) async fn take(&self, what: What) -> Turn {
        if mutant::is_on(Mutant::TakesNoTurn) {
            return Turn { turns: Self::default(), what };
        }
        loop {
            let ended = match self.taken().entry(what) {
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(None);
                    return Turn { turns: self.clone(), what };
                }
                std::collections::hash_map::Entry::Occupied(mut taken) => {
                    taken.get_mut().get_or_insert_with(CancellationToken::new).clone()
                }
            };
            ended.cancelled().await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let waited_for = self.turns.taken().remove(&self.what).flatten();
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
    fn the_same_work_waits_and_other_work_does_not() {
        let (turns, job) = (InFlight::default(), JobId::new());
        let first = turns.take((job, WorkKind::Job, 1)).now_or_never().unwrap();
        let other = turns.take((job, WorkKind::Part { epoch: 1, index: 0 }, 1)).now_or_never().unwrap();
        drop(turns.take((job, WorkKind::Job, 2)).now_or_never().unwrap());
        let mut second = Box::pin(turns.take((job, WorkKind::Job, 1)));
        assert!(second.as_mut().now_or_never().is_none());
        drop(other);
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        drop(second.now_or_never().unwrap());
        assert!(turns.taken().is_empty());
    }
}
