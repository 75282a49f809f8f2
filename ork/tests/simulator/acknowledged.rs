//! Checks that long work is acknowledged: a broker waits for that only for a limited time.

use super::executor::Owner;
use super::process::Worker;
use super::world::World;

/// The pause after which a failed lease is requested again, and what a request may take, in microseconds.
const LEASES_WITHIN: u64 = 12_000_000;

impl World {
    /// Checks that the deliveries of a call that is made, and of others of the same work that wait for it, are
    /// acknowledged in time. With a store, a lease replaces them after `ack_timeout`. A call may have waited for as long
    /// before.
    pub(crate) fn check_acknowledged(&self) {
        let Some(server) = self.server.as_ref().filter(|_| self.has_store()) else { return };
        let now = self.executor.now();
        let workers: Vec<(Owner, &Worker)> =
            self.workers.iter().filter_map(|worker| Some((worker.owner()?, worker))).collect();
        for (owner, worker) in workers {
            let longest = 2 * worker.ack_timeout() + LEASES_WITHIN;
            for (message, delivered) in server.unacknowledged(owner, now.saturating_sub(longest)) {
                self.oracle(|oracle| oracle.keeps_delivery(owner, &message, (delivered, longest), now));
            }
        }
    }
}
