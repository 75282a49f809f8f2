//! The number of leases of a process.

use tokio::sync::watch;

/// The number of leases of this process. The broker does not count their deliveries any more, so the consumer must:
/// otherwise one worker would take all the work.
#[derive(Debug, Default)]
pub(crate) struct Leases(watch::Sender<usize>);

/// Counts one lease until it is dropped.
#[derive(Debug)]
pub(super) struct CountedLease(watch::Sender<usize>);

impl Leases {
    /// Returns the number of leases, now and whenever it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<usize> {
        self.0.subscribe()
    }

    /// Counts one more lease.
    pub(super) fn add(&self) -> CountedLease {
        self.0.send_modify(|n| *n += 1);
        CountedLease(self.0.clone())
    }
}

impl Drop for CountedLease {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n = n.saturating_sub(1));
    }
}
