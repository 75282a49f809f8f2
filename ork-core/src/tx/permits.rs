//! The permits of concurrency limits, and how many each process holds.

use std::collections::BTreeMap;
use std::sync::Arc;

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

/// The permit of a call, which the transaction that ends the call releases.
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
    /// The number of permits that the process holds.
    pub count: u32,
    /// The time at which it took the first of them. A process that was presumed dead has lost its permits; if it is
    /// alive and takes new ones, this tells them apart from those of its earlier calls.
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
    pub(super) fn take(&mut self, limit: u32, boot: [u8; 16], wanted: u32, now: Timestamp) -> u32 {
        let used = self.0.values().fold(0, |sum: u32, held| sum.saturating_add(held.count));
        let used = if mutant::is_on(Mutant::OverdrawsPermits) { 0 } else { used };
        let taken = limit.saturating_sub(used).min(wanted);
        let held = self.0.entry(boot).or_insert(Held { count: 0, since: now });
        held.count += taken;
        taken
    }

    /// Gives permits back. Returns `false` if the process lost them when it was presumed dead.
    pub(super) fn give(&mut self, boot: [u8; 16], given: u32, since: Timestamp) -> bool {
        let is_same = |held: &&mut Held| held.since == since || mutant::is_on(Mutant::ReturnsLostPermits);
        let Some(held) = self.0.get_mut(&boot).filter(is_same) else { return false };
        held.count = held.count.saturating_sub(given);
        true
    }

    pub(super) fn held(&self, boot: [u8; 16]) -> Held {
        self.0.get(&boot).copied().unwrap_or_default()
    }
}
