//! Time as a port. All code gets the time and pauses from a [`Clock`], so that tests can control it.

pub mod shared;

use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A moment in time: milliseconds since 1970-01-01 UTC.
///
/// ```
/// # use std::time::{Duration, SystemTime};
/// let start = ork_core::clock::Timestamp::from_millis(1_000);
/// assert_eq!((start + Duration::from_secs(2)) - start, Duration::from_secs(2));
/// let time = std::time::SystemTime::from(start);
/// assert_eq!(ork_core::clock::Timestamp::from(time), start);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Creates a timestamp from the milliseconds since 1970-01-01 UTC.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since 1970-01-01 UTC.
    pub const fn as_millis(self) -> i64 {
        self.0
    }
}

impl From<SystemTime> for Timestamp {
    /// A time before 1970 is negative. Fractions of a millisecond are cut off.
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Self::default() + since,
            Err(before) => Self::default() - before.duration(),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_millis(time.0.unsigned_abs());
        if time.0 < 0 { Self::UNIX_EPOCH - distance } else { Self::UNIX_EPOCH + distance }
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    /// The time from `earlier` to `self`. Zero if a clock was set back in between.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339, in UTC, with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = Duration::from_millis(u64::try_from(self.0).unwrap_or(0));
        humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since).fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A future that completes when the clock has reached a time.
pub type Pause = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A source of the time and of pauses.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Waits for this duration.
    fn pause(&self, duration: Duration) -> Pause;

    /// The time for which this clock has been running, counted from a fixed moment. Setting the time of day does not
    /// change it.
    fn monotonic(&self) -> Duration {
        self.now() - Timestamp::from_millis(0)
    }

    /// Waits until `moment`. Completes at once if it has passed.
    fn pause_until(&self, moment: Timestamp) -> Pause {
        self.pause(moment - self.now())
    }

    /// Whether the clock shows the time of day, so that it can be compared with the clock of a store. The clock of a
    /// test does not, and is never adjusted.
    fn is_wall(&self) -> bool {
        false
    }
}
