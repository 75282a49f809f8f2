//! Formats durations, times, counts and lists for sentences. Pure.

use std::fmt::Display;
use std::time::Duration;

use crate::clock::Timestamp;

/// Formats a duration, rounded down: to seconds below an hour, to minutes below a day, otherwise to hours. Below a
/// second it is in milliseconds.
pub(super) fn span(time: Duration) -> String {
    let (secs, step) = match time.as_secs() {
        0 => return format!("{}ms", time.as_millis()),
        secs @ 1..=3_599 => (secs, 1),
        secs @ 3_600..=86_399 => (secs, 60),
        secs => (secs, 3_600),
    };
    humantime::format_duration(Duration::from_secs(secs / step * step)).to_string()
}

/// Formats how long ago a time was. A time in the future, as after a clock was set back, is `just now`.
pub(super) fn ago(now: Timestamp, then: Timestamp) -> String {
    match (now - then).as_secs() {
        0 => "just now".to_owned(),
        _ => format!("{} ago", span(now - then)),
    }
}

/// Formats the number of an attempt, with the number of attempts if it is known.
pub(super) fn attempt(n: u32, most: Option<u32>) -> String {
    match most {
        Some(most) => format!("attempt {n} of {}", most.max(n)),
        None => format!("attempt {n}"),
    }
}

/// Formats a count with its noun.
pub(super) fn counted(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// Joins items with commas.
pub(super) fn list(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_down_for_reading() {
        let spans = [0, 250, 1_999, 61_000, 3_725_000, 90_061_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(spans, ["0ms", "250ms", "1s", "1m 1s", "1h 2m", "1day 1h"]);
        let now = Timestamp::from_millis(10_000);
        assert_eq!(ago(now, Timestamp::from_millis(7_900)), "2s ago");
        // The clock was set back, so `then` is in the future.
        assert_eq!(ago(now, Timestamp::from_millis(99_000)), "just now");
    }
}
