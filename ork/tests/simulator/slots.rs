//! Checks that slots are used: each that is taken is that of a call, and each call has one.

use std::collections::BTreeMap;

use super::executor::Owner;
use super::process::Worker;
use super::world::World;

/// For how long a slot may be taken without a call, in microseconds: work is claimed under it before the call.
const LONGEST: u64 = 1_000_000;

/// The state of the checks so far.
#[derive(Debug, Default)]
pub(crate) struct UnusedSlots {
    /// The time of the last check.
    checked: u64,
    /// Since when a process has had more slots taken than calls running.
    since: BTreeMap<Owner, u64>,
}

impl World {
    /// Compares the slots that are taken with the calls that run. To be called when time has advanced: then the state
    /// of the processes has been the same since the last check. While work runs alone in a process, or waits for that,
    /// it may take all slots, so that nothing is compared.
    pub(crate) fn check_slots(&self) {
        let now = self.executor.now();
        let taken: BTreeMap<_, _> = self.workers.iter().filter_map(Worker::taken_slots).collect();
        let mut unused = self.unused_slots.lock().unwrap();
        let checked = std::mem::replace(&mut unused.checked, now);
        unused.since.retain(|owner, _| taken.contains_key(owner));
        for (owner, n_taken) in taken {
            let n_calls = self.oracle(|oracle| oracle.n_calls_of(owner));
            if n_taken <= n_calls {
                unused.since.remove(&owner);
                if n_taken < n_calls {
                    self.oracle(|oracle| oracle.has_no_slot(owner, n_taken, n_calls));
                }
                continue;
            }
            let since = unused.since.entry(owner).or_insert(checked);
            if now > *since + LONGEST {
                self.oracle(|oracle| oracle.keeps_slots(owner, (n_taken, n_calls), *since, now));
                *since = now;
            }
        }
    }
}
