//! What a process holds because of a transaction, and how it is released if no caller in that process knows of it:
//! the reply to the commit was lost. Only tests lose replies of this store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::tables::Tables;
use crate::tx::{Held, OutboxId, StoreNotice};

/// The rows of the outbox and the permits that a process holds.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    rows: BTreeSet<OutboxId>,
    permits: BTreeMap<Arc<str>, Held>,
}

impl Tables {
    /// Returns what a process holds.
    pub fn held_by(&self, boot: [u8; 16]) -> Holdings {
        let rows = self.outbox.values().filter(|row| row.holder == Some(boot)).map(|row| row.id);
        let held = self.permits.iter().filter_map(|(limit, held)| Some((Arc::clone(limit), *held.get(&boot)?)));
        Holdings { rows: rows.collect(), permits: held.collect() }
    }

    /// Reverts what a transaction has changed of what a process holds: releases the rows that it has acquired, and
    /// takes back its permits. A process that was presumed dead in the meantime no longer holds them.
    pub fn let_go(&mut self, boot: [u8; 16], before: &Holdings, after: &Holdings) -> Vec<StoreNotice> {
        let rows: Vec<_> = after.rows.difference(&before.rows).copied().collect();
        let limits: BTreeSet<_> = before.permits.keys().chain(after.permits.keys()).cloned().collect();
        for limit in limits {
            let (had, has) = (before.permits.get(&limit), after.permits.get(&limit));
            let count = |held: Option<&Held>| held.map_or(0, |held| held.count);
            let Some(since) = has.or(had).map(|held| held.since) else { continue };
            let lives = self.workers.contains_key(&boot);
            let holders = self.permits.entry(limit).or_default();
            let held = match holders.get_mut(&boot) {
                Some(held) if held.since == since => held,
                None if lives && count(had) > count(has) => holders.entry(boot).or_insert(Held { count: 0, since }),
                _ => continue,
            };
            held.count = (held.count + count(had)).saturating_sub(count(has));
            holders.retain(|_, held| held.count > 0);
        }
        self.release(&rows, boot)
    }
}
