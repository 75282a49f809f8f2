//! The clock that the processes of one store share: the monotonic clock of each process, adjusted to the clock of the
//! store.
//!
//! Leases, due times and heartbeats are compared by other processes than those that wrote them. If every process used
//! the time of day of its computer, a process with a fast clock would presume living processes dead, and other
//! processes would wait too long for the jobs that it retries. The time of day is not used between two measurements
//! either, because it may be set at any time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::{Clock, Pause, Timestamp};
use crate::mutant::{self, Mutant};

/// A difference of the clocks, in milliseconds, from which on a warning is logged.
const WARN_FROM: i64 = 2_000;

/// The difference, in milliseconds, up to which two clocks agree: both are rounded.
const AGREE: i64 = 5;

/// The maximum time after which a pause checks the clock again. The clock may have been adjusted, or the computer may
/// have been asleep, which a monotonic clock may not count.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Converts milliseconds to seconds, rounded.
pub const fn seconds(millis: i64) -> u64 {
    (millis.unsigned_abs() + 500) / 1_000
}

/// A clock that is adjusted by measuring its offset from another clock.
#[derive(Debug, Clone)]
pub struct SharedClock {
    own: Arc<dyn Clock>,
    /// The offset of the shared time from the own monotonic clock, in milliseconds.
    offset: Arc<AtomicI64>,
    /// The difference that the last warning reported, in milliseconds.
    last_warning: Arc<AtomicI64>,
}

/// The result of adjusting the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Set {
    /// The amount by which the clock was moved.
    pub moved: Duration,
    /// The number of milliseconds by which the own time of day is ahead of the other clock. Set only if a warning is
    /// due, which is once for each change.
    pub ahead: Option<i64>,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl SharedClock {
    /// Creates a clock that has not been adjusted yet: it shows the time of `own`.
    pub fn new(own: Arc<dyn Clock>) -> Self {
        let offset = own.now().as_millis().saturating_sub(millis(own.monotonic()));
        Self { own, offset: Arc::new(AtomicI64::new(offset)), last_warning: Arc::default() }
    }

    /// The monotonic time of the own clock, in which [`SharedClock::set`] expects its arguments.
    pub fn monotonic(&self) -> Duration {
        self.own.monotonic()
    }

    /// The number of milliseconds by which the own time of day is ahead of the other clock, as far as that has been
    /// measured.
    pub fn ahead(&self) -> i64 {
        self.own.now().as_millis().saturating_sub(self.now().as_millis())
    }

    /// Adjusts the clock: the other clock showed `shown` at some moment between the two moments of the own monotonic
    /// clock.
    ///
    /// The other clock now shows a time between `shown` and `shown` plus the duration of the request. If this clock
    /// is within that range, it is not moved. Otherwise it is set to the start of the range, so that it is not ahead,
    /// however long the request took.
    pub fn set(&self, shown: Timestamp, [requested, answered]: [Duration; 2]) -> Set {
        if !self.own.is_wall() || mutant::is_on(Mutant::BelievesOwnClock) {
            return Set::default();
        }
        let (least, most) =
            (shown.as_millis().saturating_sub(millis(answered)), shown.as_millis().saturating_sub(millis(requested)));
        let before = self.offset.load(Ordering::Relaxed);
        let after = if (least - AGREE..=most + AGREE).contains(&before) { before } else { least };
        self.offset.store(after, Ordering::Relaxed);
        let ahead = self.ahead();
        let has_changed = (ahead - self.last_warning.load(Ordering::Relaxed)).abs() >= WARN_FROM;
        if has_changed {
            self.last_warning.store(ahead, Ordering::Relaxed);
        }
        let moved = Duration::from_millis(before.abs_diff(after));
        Set { moved, ahead: (has_changed && ahead.abs() >= WARN_FROM).then_some(ahead) }
    }
}

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        if !self.own.is_wall() {
            return self.own.now();
        }
        Timestamp::from_millis(millis(self.own.monotonic()).saturating_add(self.offset.load(Ordering::Relaxed)))
    }

    fn monotonic(&self) -> Duration {
        self.own.monotonic()
    }

    fn pause(&self, duration: Duration) -> Pause {
        self.own.pause(duration)
    }

    fn pause_until(&self, moment: Timestamp) -> Pause {
        if !self.own.is_wall() {
            return self.own.pause_until(moment);
        }
        let pause = self.pause((moment - self.now()).min(LOOK_AGAIN));
        Box::pin(Until { clock: self.clone(), moment, pause })
    }
}

/// A pause that checks the clock repeatedly.
struct Until {
    clock: SharedClock,
    moment: Timestamp,
    pause: Pause,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.pause.as_mut().poll(context));
            let left = self.moment - self.clock.now();
            if left.is_zero() {
                return Poll::Ready(());
            }
            self.pause = self.clock.pause(left.min(LOOK_AGAIN));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A wall clock that tests control.
    #[derive(Debug, Default)]
    struct Wall {
        day: AtomicI64,
        ran: AtomicI64,
    }

    impl Wall {
        fn run(&self, millis: i64) {
            self.day.fetch_add(millis, Ordering::Relaxed);
            self.ran.fetch_add(millis, Ordering::Relaxed);
        }
    }

    impl Clock for Wall {
        fn now(&self) -> Timestamp {
            at(self.day.load(Ordering::Relaxed))
        }

        fn monotonic(&self) -> Duration {
            after(self.ran.load(Ordering::Relaxed))
        }

        fn pause(&self, duration: Duration) -> Pause {
            self.run(millis(duration));
            Box::pin(std::future::ready(()))
        }

        fn is_wall(&self) -> bool {
            true
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn after(millis: i64) -> Duration {
        Duration::from_millis(u64::try_from(millis).unwrap())
    }

    /// A clock with this time of day that has run for a second.
    fn clock(day: i64) -> (Arc<Wall>, SharedClock) {
        let wall = Arc::new(Wall { day: AtomicI64::new(day), ran: AtomicI64::new(1_000) });
        (Arc::clone(&wall), SharedClock::new(wall))
    }

    #[test]
    fn clock_that_is_ahead_is_set_to_the_other_clock() {
        let (wall, clock) = clock(100_000);
        assert_eq!(clock.now(), at(100_000));
        wall.run(20);
        let set = clock.set(at(60_010), [after(1_000), after(1_020)]);
        assert_eq!(set, Set { moved: after(40_010), ahead: Some(40_010) });
        assert_eq!((clock.now(), clock.ahead()), (at(60_010), 40_010));
        // The warning is given once. Within the error of the measurement, the clock is not moved.
        assert_eq!(clock.set(at(60_006), [after(1_000), after(1_020)]), Set::default());
        assert_eq!(clock.now(), at(60_010));
        // The time of day of the computer was corrected in the meantime, which needs no warning.
        wall.day.store(60_010, Ordering::Relaxed);
        assert_eq!(clock.set(at(60_010), [after(1_020); 2]), Set::default());
        wall.day.store(30_010, Ordering::Relaxed);
        assert_eq!(clock.set(at(60_010), [after(1_020); 2]), Set { moved: Duration::ZERO, ahead: Some(-30_000) });
    }

    /// Regression test: between two measurements the clock followed the time of day.
    #[test]
    fn setting_the_time_of_day_does_not_move_the_clock() {
        let (wall, clock) = clock(100_000);
        clock.set(at(100_000), [after(1_000); 2]);
        for jump in [-3_600_000, 7_200_000] {
            wall.day.fetch_add(jump, Ordering::Relaxed);
            assert_eq!(clock.now(), at(100_000));
        }
        wall.run(5_000);
        assert_eq!(clock.now(), at(105_000));
    }

    /// Regression test: a clock that was an hour ahead was left unchanged.
    #[test]
    fn slow_measurement_leaves_no_clock_ahead() {
        let (wall, clock) = clock(3_700_000);
        wall.run(30_000);
        clock.set(at(100_000), [after(1_000), after(31_000)]);
        assert_eq!(clock.now(), at(100_000));
        // A faster measurement is more precise.
        clock.set(at(120_000), [after(31_000), after(31_010)]);
        assert_eq!(clock.now(), at(119_990));
    }

    #[test]
    fn pause_ends_early_if_the_clock_is_set_forward() {
        let (wall, clock) = clock(100_000);
        let mut pause = clock.pause_until(at(160_000));
        // The computer was asleep for most of the pause, and ten seconds of it have passed.
        clock.set(at(155_000), [after(11_000); 2]);
        assert!(pause.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        assert_eq!((clock.now(), wall.monotonic()), (at(160_000), after(16_000)));
    }
}
