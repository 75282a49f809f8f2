//! The clock that the processes of one store share: the monotonic clock of each, set right by the store's.
//!
//! Leases, due times and signs of life are compared by other processes than those that wrote them. By the time of day of
//! each computer, one whose clock is ahead would take living processes for dead, and let others wait for what it retries.
//! The time of day is not asked between two measurements either: somebody may set it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::{Clock, Pause, Timestamp};
use crate::mutant::{self, Mutant};

/// A clock that is further off than this is worth a warning.
const WORTH_SAYING: i64 = 2_000;

/// Within so many milliseconds two clocks agree: both round.
const AGREE: i64 = 5;

/// A pause looks at the time again after so long: the clock may have been set right, or the computer may have slept, which
/// a monotonic clock may not count.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How many seconds so many milliseconds are, about.
pub(crate) const fn seconds(millis: i64) -> u64 {
    (millis.unsigned_abs() + 500) / 1_000
}

/// A clock that is set right by measuring how far it is off another one.
#[derive(Debug, Clone)]
pub(crate) struct SharedClock {
    own: Arc<dyn Clock>,
    /// What is added to the own monotonic clock, in milliseconds.
    offset: Arc<AtomicI64>,
    /// What the last warning said.
    said: Arc<AtomicI64>,
}

/// What setting the clock did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Set {
    /// By how much it was moved.
    pub(crate) moved: Duration,
    /// By how many milliseconds the own time of day is ahead of the other clock, if that is worth a warning: once for each
    /// change.
    pub(crate) ahead: Option<i64>,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl SharedClock {
    /// A clock that is not set yet: it shows the time of `own`.
    pub(crate) fn new(own: Arc<dyn Clock>) -> Self {
        let offset = own.now().as_millis().saturating_sub(millis(own.monotonic()));
        Self { own, offset: Arc::new(AtomicI64::new(offset)), said: Arc::default() }
    }

    /// How long the own clock has run: what [`SharedClock::set`] is to be given.
    pub(crate) fn monotonic(&self) -> Duration {
        self.own.monotonic()
    }

    /// By how many milliseconds the own time of day is ahead of the other clock, as far as that was measured.
    pub(crate) fn ahead(&self) -> i64 {
        self.own.now().as_millis().saturating_sub(self.now().as_millis())
    }

    /// Sets it right: the other clock showed `shown` between two moments of the own monotonic one.
    ///
    /// The other clock is now between `shown` and as much later as the answer took. What shows a time in between is not
    /// moved; what does not shows the earliest of them, so that it is not ahead, however long the answer took.
    pub(crate) fn set(&self, shown: Timestamp, [asked, answered]: [Duration; 2]) -> Set {
        if !self.own.is_wall() || mutant::is_on(Mutant::BelievesOwnClock) {
            return Set::default();
        }
        let (least, most) =
            (shown.as_millis().saturating_sub(millis(answered)), shown.as_millis().saturating_sub(millis(asked)));
        let before = self.offset.load(Ordering::Relaxed);
        let after = if (least - AGREE..=most + AGREE).contains(&before) { before } else { least };
        self.offset.store(after, Ordering::Relaxed);
        let ahead = self.ahead();
        let news = (ahead - self.said.load(Ordering::Relaxed)).abs() >= WORTH_SAYING;
        if news {
            self.said.store(ahead, Ordering::Relaxed);
        }
        let moved = Duration::from_millis(before.abs_diff(after));
        Set { moved, ahead: (news && ahead.abs() >= WORTH_SAYING).then_some(ahead) }
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

/// A pause that looks at the time again and again.
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

    /// A wall clock that tests turn.
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

    /// A clock of this time of day that has run for a second.
    fn clock(day: i64) -> (Arc<Wall>, SharedClock) {
        let wall = Arc::new(Wall { day: AtomicI64::new(day), ran: AtomicI64::new(1_000) });
        (Arc::clone(&wall), SharedClock::new(wall))
    }

    #[test]
    fn clock_that_is_ahead_shows_the_time_of_the_other_one() {
        let (wall, clock) = clock(100_000);
        assert_eq!(clock.now(), at(100_000));
        wall.run(20);
        let set = clock.set(at(60_010), [after(1_000), after(1_020)]);
        assert_eq!(set, Set { moved: after(40_010), ahead: Some(40_010) });
        assert_eq!((clock.now(), clock.ahead()), (at(60_010), 40_010));
        // Said once; within the error of the measurement nothing moves.
        assert_eq!(clock.set(at(60_006), [after(1_000), after(1_020)]), Set::default());
        assert_eq!(clock.now(), at(60_010));
        // The computer was set right meanwhile, which is no reason to warn.
        wall.day.store(60_010, Ordering::Relaxed);
        assert_eq!(clock.set(at(60_010), [after(1_020); 2]), Set::default());
        wall.day.store(30_010, Ordering::Relaxed);
        assert_eq!(clock.set(at(60_010), [after(1_020); 2]), Set { moved: Duration::ZERO, ahead: Some(-30_000) });
    }

    /// Fails on the code before: between two measurements the clock followed the time of day.
    #[test]
    fn clock_that_is_set_back_or_forward_shows_what_it_did() {
        let (wall, clock) = clock(100_000);
        clock.set(at(100_000), [after(1_000); 2]);
        for jump in [-3_600_000, 7_200_000] {
            wall.day.fetch_add(jump, Ordering::Relaxed);
            assert_eq!(clock.now(), at(100_000));
        }
        wall.run(5_000);
        assert_eq!(clock.now(), at(105_000));
    }

    /// Fails on the code before: it left a clock as it was that is an hour ahead.
    #[test]
    fn measurement_that_took_long_leaves_no_clock_ahead() {
        let (wall, clock) = clock(3_700_000);
        wall.run(30_000);
        clock.set(at(100_000), [after(1_000), after(31_000)]);
        assert_eq!(clock.now(), at(100_000));
        // One that took less says more.
        clock.set(at(120_000), [after(31_000), after(31_010)]);
        assert_eq!(clock.now(), at(119_990));
    }

    #[test]
    fn pause_ends_by_the_clock_as_it_is_set_meanwhile() {
        let (wall, clock) = clock(100_000);
        let mut pause = clock.pause_until(at(160_000));
        // The computer slept for most of it, and ten seconds of it are over.
        clock.set(at(155_000), [after(11_000); 2]);
        assert!(pause.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        assert_eq!((clock.now(), wall.monotonic()), (at(160_000), after(16_000)));
    }
}
