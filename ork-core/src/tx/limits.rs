//! Concurrency limits: a call starts only with a permit, and the transaction that settles it returns the permit.
//!
//! All processes that share a store share the permits of a limit. The permits of a process that has died are free
//! again. A call that finds no free permit waits as an outbox row, and each returned permit releases one such row.
//! Therefore no process polls, and no delivery stays unacknowledged while it waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::transaction::Transaction;
use super::types::Actor;
use crate::mutant::{self, Mutant};

/// A concurrency limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limit {
    /// The name of the limit: a task, or a task together with one value of its concurrency key.
    pub name: Arc<str>,
    /// The maximum number of calls that run at the same time.
    pub permits: u32,
}

/// How many permits of one limit each process holds, by its boot id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permits(BTreeMap<[u8; 16], u32>);

impl Permits {
    /// Creates the permits from what the store has recorded: how many each process holds.
    pub fn new(held: impl IntoIterator<Item = ([u8; 16], u32)>) -> Self {
        Self(held.into_iter().collect())
    }

    /// Takes up to `wanted` permits. Returns how many were taken.
    fn take(&mut self, limit: u32, boot: [u8; 16], wanted: u32) -> u32 {
        let used = self.0.values().fold(0, |sum: u32, held| sum.saturating_add(*held));
        let used = if mutant::is_on(Mutant::OverdrawsPermits) { 0 } else { used };
        let taken = limit.saturating_sub(used).min(wanted);
        *self.0.entry(boot).or_default() += taken;
        taken
    }

    /// Gives permits back. A process that was presumed dead has lost its permits, so it may hold fewer than it gives
    /// back.
    fn give(&mut self, boot: [u8; 16], given: u32) {
        let held = self.0.entry(boot).or_default();
        *held = held.saturating_sub(given);
    }

    fn held(&self, boot: [u8; 16]) -> u32 {
        self.0.get(&boot).copied().unwrap_or(0)
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

    /// Acquires permits for up to `wanted` calls. Returns how many calls can start; all of them if there is no limit.
    pub(super) fn acquire(&mut self, limit: Option<&Limit>, actor: &Actor, wanted: usize) -> usize {
        let Some(limit) = limit else { return wanted };
        let (boot, wanted) = (actor.worker.boot(), u32::try_from(wanted).unwrap_or(u32::MAX));
        let permits = self.permits.entry(Arc::clone(&limit.name)).or_default();
        let taken = permits.take(limit.permits, boot, wanted);
        let held = permits.held(boot);
        if taken > 0 {
            self.writes().permits.insert((Arc::clone(&limit.name), boot), held);
        }
        usize::try_from(taken).unwrap_or(usize::MAX)
    }

    /// Returns the permits of calls that have ended or did not start, and releases as many waiting rows.
    pub(super) fn release(&mut self, limit: Option<&Limit>, actor: &Actor, calls: usize) {
        let Some(limit) = limit.filter(|_| calls > 0 && !mutant::is_on(Mutant::KeepsPermit)) else { return };
        let (boot, given) = (actor.worker.boot(), u32::try_from(calls).unwrap_or(u32::MAX));
        let permits = self.permits.entry(Arc::clone(&limit.name)).or_default();
        permits.give(boot, given);
        let held = permits.held(boot);
        let writes = self.writes();
        writes.permits.insert((Arc::clone(&limit.name), boot), held);
        if mutant::is_on(Mutant::WakesNobody) {
            return;
        }
        *writes.woken.entry(Arc::clone(&limit.name)).or_default() += given;
    }
}
