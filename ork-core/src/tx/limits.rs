//! Concurrency limits: a call starts only with a permit, and the transaction that settles it returns the permit.
//!
//! All processes that share a store share the permits of a limit. The permits of a process that has died are free
//! again. A call that finds no free permit waits as an outbox row, and each returned permit releases one such row.
//! Therefore no process polls, and no delivery stays unacknowledged while it waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::transaction::Transaction;
use super::types::Actor;
use crate::clock::Timestamp;
use crate::mutant::{self, Mutant};

/// A concurrency limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limit {
    /// The name of the limit: a task, or a task together with one value of its concurrency key.
    pub name: Arc<str>,
    /// The maximum number of calls that run at the same time.
    pub permits: u32,
}

/// The permit of a call, which the transaction that ends the call gives back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Permit {
    /// The limit.
    pub limit: Limit,
    /// The [`Held::since`] of the process when it took the permit.
    pub since: Timestamp,
}

/// The permits of one limit that a process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// How many it holds.
    pub count: u32,
    /// When it took the first of them. A process that was presumed dead has lost its permits; if it is alive and takes
    /// new ones, this tells them apart from those of its earlier calls.
    pub since: Timestamp,
}

/// The permits of one limit that each process holds, by its boot id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permits(BTreeMap<[u8; 16], Held>);

impl Permits {
    /// Creates the permits from what the store has recorded.
    pub fn new(held: impl IntoIterator<Item = ([u8; 16], Held)>) -> Self {
        Self(held.into_iter().collect())
    }

    /// Takes up to `wanted` permits. Returns how many were taken.
    fn take(&mut self, limit: u32, boot: [u8; 16], wanted: u32, now: Timestamp) -> u32 {
        let used = self.0.values().fold(0, |sum: u32, held| sum.saturating_add(held.count));
        let used = if mutant::is_on(Mutant::OverdrawsPermits) { 0 } else { used };
        let taken = limit.saturating_sub(used).min(wanted);
        let held = self.0.entry(boot).or_insert(Held { count: 0, since: now });
        held.count += taken;
        taken
    }

    /// Gives permits back. Returns `false` if the process lost them when it was presumed dead.
    fn give(&mut self, boot: [u8; 16], given: u32, since: Timestamp) -> bool {
        let is_same = |held: &&mut Held| held.since == since || mutant::is_on(Mutant::ReturnsLostPermits);
        let Some(held) = self.0.get_mut(&boot).filter(is_same) else { return false };
        held.count = held.count.saturating_sub(given);
        true
    }

    fn held(&self, boot: [u8; 16]) -> Held {
        self.0.get(&boot).copied().unwrap_or_default()
    }
}

impl Transaction {
    /// Whether the permits of this limit are loaded.
    pub fn knows_permits(&self, limit: &str) -> bool {
        self.permits.contains_key(limit)
    }

    /// Loads the permits of a limit, as the store has recorded them.
    pub fn open_permits(&mut self, limit: Arc<str>, permits: Permits) {
        self.permits.insert(limit, permits);
    }

    /// Acquires permits for up to `wanted` calls. Returns how many calls can start, all of them if there is no limit; and
    /// the permit of each.
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
        if mutant::is_on(Mutant::WakesNobody) {
            return;
        }
        *writes.woken.entry(Arc::clone(&limit.name)).or_default() += given;
    }
}
