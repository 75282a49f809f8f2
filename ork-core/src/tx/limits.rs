//! Concurrency limits: a call starts only with a permit, and the transaction that settles it returns the permit.
//!
//! All processes that share a store share the permits of a limit. The permits of a process that has died are free
//! again. A call that finds no free permit waits as an outbox row, and each returned permit releases one such row.
//! Therefore no process polls, and no delivery stays unacknowledged while it waits.

use std::sync::Arc;

use super::permits::{Limit, Permit, Permits};
use super::transaction::Transaction;
use super::types::Actor;
use crate::mutant::{self, Mutant};

impl Transaction {
    /// Whether the permits of this limit are loaded.
    pub fn knows_permits(&self, limit: &str) -> bool {
        self.permits.contains_key(limit)
    }

    /// Loads the permits of a limit, as the store has recorded them.
    pub fn open_permits(&mut self, limit: Arc<str>, permits: Permits) {
        self.permits.insert(limit, permits);
    }

    /// Acquires permits for up to `wanted` calls. Returns how many calls can start, all of them if there is no limit;
    /// and the permit of each.
    pub(super) fn acquire(&mut self, limit: Option<&Limit>, actor: &Actor, wanted: usize) -> (usize, Option<Permit>) {
        let Some(limit) = limit else { return (wanted, None) };
        let (boot, wanted) = (actor.worker.boot(), u32::try_from(wanted).unwrap_or(u32::MAX));
        let permits = self.permits.entry(Arc::clone(&limit.name)).or_default();
        let taken = permits.take(limit.permits, boot, wanted, actor.now);
        let held = permits.held(boot);
        if taken > 0 {
            self.writes().permits.insert((Arc::clone(&limit.name), boot), held);
        }
        (usize::try_from(taken).unwrap_or(usize::MAX), Some(Permit { limit: limit.clone(), since: held.since }))
    }

    /// Returns the permits of calls that have ended or did not start, and releases as many waiting rows.
    pub(super) fn release(&mut self, permit: Option<&Permit>, actor: &Actor, calls: usize) {
        let Some(permit) = permit.filter(|_| calls > 0 && !mutant::is_on(Mutant::KeepsPermit)) else { return };
        let Permit { limit, since } = permit;
        let (boot, given) = (actor.worker.boot(), u32::try_from(calls).unwrap_or(u32::MAX));
        let permits = self.permits.entry(Arc::clone(&limit.name)).or_default();
        // Permits that the process has lost were given to waiting rows at that time.
        if !permits.give(boot, given, *since) {
            return;
        }
        let held = permits.held(boot);
        let writes = self.writes();
        writes.permits.insert((Arc::clone(&limit.name), boot), held);
        if mutant::is_on(Mutant::WakesNoWaiter) {
            return;
        }
        *writes.woken.entry(Arc::clone(&limit.name)).or_default() += given;
    }
}
