//! A clock that a test advances, and that knows how many timers wait for which moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ork_core::clock::Timestamp;
use ork_core::clock::{Clock, Pause};
use tokio::sync::watch;

/// The number of timers that wait for each moment.
type Sleepers = Arc<watch::Sender<BTreeMap<Timestamp, usize>>>;

/// A clock that stands still until it is advanced.
#[derive(Debug)]
pub struct Manual {
    now: watch::Sender<Timestamp>,
    sleepers: Sleepers,
}

impl Manual {
    pub fn new(now: Timestamp) -> Arc<Self> {
        Arc::new(Self { now: watch::channel(now).0, sleepers: Arc::default() })
    }

    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = *now + by);
    }

    /// Waits until a timer waits for this moment.
    pub async fn wait_for_timer(&self, moment: Timestamp) {
        self.wait_for_timers(moment, 1).await;
    }

    /// Waits until `n` timers wait for this moment.
    pub async fn wait_for_timers(&self, moment: Timestamp, n: usize) {
        let waits = |sleepers: &BTreeMap<_, usize>| sleepers.get(&moment).is_some_and(|waiting| *waiting >= n);
        self.sleepers.subscribe().wait_for(waits).await.unwrap();
    }

    /// Waits until `n` timers wait for one of these moments, and returns how many wait for each.
    pub async fn wait_for_timers_at(&self, moments: [Timestamp; 2], n: usize) -> [usize; 2] {
        let each = |sleepers: &BTreeMap<_, usize>| moments.map(|moment| sleepers.get(&moment).copied().unwrap_or(0));
        let mut sleepers = self.sleepers.subscribe();
        let waiting = sleepers.wait_for(|sleepers| each(sleepers).iter().sum::<usize>() >= n).await.unwrap();
        each(&waiting)
    }
}

impl Clock for Manual {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    fn pause(&self, duration: Duration) -> Pause {
        self.pause_until(self.now() + duration)
    }

    fn pause_until(&self, moment: Timestamp) -> Pause {
        let (mut now, sleep) = (self.now.subscribe(), Sleep::new(&self.sleepers, moment));
        Box::pin(async move {
            // The clock outlives its timers.
            let _turned = now.wait_for(|now| *now >= moment).await;
            drop(sleep);
        })
    }
}

/// A timer that waits.
struct Sleep(Sleepers, Timestamp);

impl Sleep {
    fn new(sleepers: &Sleepers, until: Timestamp) -> Self {
        sleepers.send_modify(|sleepers| *sleepers.entry(until).or_default() += 1);
        Self(Arc::clone(sleepers), until)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.0.send_modify(|sleepers| {
            if let Some(n) = sleepers.get_mut(&self.1).filter(|n| **n > 1) {
                *n -= 1;
            } else {
                sleepers.remove(&self.1);
            }
        });
    }
}
