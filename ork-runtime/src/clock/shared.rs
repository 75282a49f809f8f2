//! The clock that the processes of one store share: the own clock of each, set right by the store's.
//!
//! Leases, due times and signs of life are compared by other processes than those that wrote them. By the clock of each
//! computer, one whose clock is ahead would take living processes for dead, and let others wait for what it retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::{Clock, Pause, Timestamp};

/// A clock that is further off than this is worth a warning.
const WORTH_SAYING: Duration = Duration::from_secs(2);

/// A measurement that took longer says too little.
const LONGEST: Duration = Duration::from_secs(2);

/// How many seconds so many milliseconds are, about.
pub(crate) const fn seconds(millis: i64) -> u64 {
    (millis.unsigned_abs() + 500) / 1_000
}

/// A clock that is set right by measuring how far it is ahead of another one.
#[derive(Debug)]
pub(crate) struct SharedClock {
    own: Arc<dyn Clock>,
    /// By how many milliseconds the own clock is ahead.
    ahead: AtomicI64,
    /// What the last warning said.
    said: AtomicI64,
}

impl SharedClock {
    /// A clock that is not set yet: it shows the time of `own`.
    pub(crate) fn new(own: Arc<dyn Clock>) -> Self {
        Self { own, ahead: AtomicI64::new(0), said: AtomicI64::new(0) }
    }

    /// The own clock of this process.
    pub(crate) fn own(&self) -> &dyn Clock {
        &*self.own
    }

    /// By how many milliseconds the own clock is ahead of the store's, as far as that was measured.
    pub(crate) fn ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// Sets it right: the other clock showed `shown`, between two moments of the own one. Answers by how many
    /// milliseconds the own clock is ahead if that is worth a warning, once for each change.
    pub(crate) fn set(&self, shown: Timestamp, [asked, answered]: [Timestamp; 2]) -> Option<i64> {
        let took = answered - asked;
        if !self.own.is_wall() || took > LONGEST {
            return None;
        }
        let half = i64::try_from(took.as_millis()).unwrap_or(0) / 2;
        let ahead = asked.as_millis() + half - shown.as_millis();
        // What lies within the error of the measurement would only make the clock tremble.
        if (ahead - self.ahead()).abs() > half.max(5) {
            self.ahead.store(ahead, Ordering::Relaxed);
        }
        let far = |apart: i64| apart.unsigned_abs() >= u64::try_from(WORTH_SAYING.as_millis()).unwrap_or(u64::MAX);
        let news = far(ahead - self.said.load(Ordering::Relaxed));
        if news {
            self.said.store(ahead, Ordering::Relaxed);
        }
        (news && far(ahead)).then_some(ahead)
    }
}

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.own.now().as_millis().saturating_sub(self.ahead()))
    }

    fn pause(&self, duration: Duration) -> Pause {
        self.own.pause(duration)
    }

    fn pause_until(&self, moment: Timestamp) -> Pause {
        self.own.pause_until(Timestamp::from_millis(moment.as_millis().saturating_add(self.ahead())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wall clock that stands still.
    #[derive(Debug)]
    struct Wall(i64);

    impl Clock for Wall {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0)
        }

        fn pause(&self, _duration: Duration) -> Pause {
            Box::pin(std::future::pending())
        }

        fn is_wall(&self) -> bool {
            true
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn clock_that_is_ahead_shows_the_time_of_the_other_one() {
        let clock = SharedClock::new(Arc::new(Wall(100_000)));
        assert_eq!(clock.now(), at(100_000));
        assert_eq!(clock.set(at(60_010), [at(100_000), at(100_020)]), Some(40_000));
        assert_eq!((clock.now(), clock.ahead()), (at(60_000), 40_000));
        // Said once; within the error of the measurement nothing moves.
        assert_eq!(clock.set(at(60_003), [at(100_000), at(100_020)]), None);
        assert_eq!(clock.ahead(), 40_000);
        // It was set right meanwhile, which is no reason to warn.
        assert_eq!(clock.set(at(100_000), [at(100_000), at(100_000)]), None);
        assert_eq!(clock.now(), at(100_000));
        assert_eq!(clock.set(at(130_000), [at(100_000), at(100_000)]), Some(-30_000));
        assert_eq!(clock.now(), at(130_000));
    }

    #[test]
    fn measurement_that_took_long_says_nothing() {
        let clock = SharedClock::new(Arc::new(Wall(100_000)));
        assert_eq!(clock.set(at(60_000), [at(100_000), at(110_000)]), None);
        assert_eq!(clock.now(), at(100_000));
    }
}
