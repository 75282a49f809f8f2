//! Times, numbers and lists as a sentence says them. Pure.

use std::fmt::Display;
use std::time::Duration;

use crate::clock::Timestamp;

/// How long something takes, no more exact than anybody wants to know.
pub(super) fn span(time: Duration) -> String {
    let (secs, step) = match time.as_secs() {
        0 => return format!("{}ms", time.as_millis()),
        secs @ 1..=3_599 => (secs, 1),
        secs @ 3_600..=86_399 => (secs, 60),
        secs => (secs, 3_600),
    };
    humantime::format_duration(Duration::from_secs(secs / step * step)).to_string()
}

/// How long ago something was; of what is yet to come, a moment.
pub(super) fn ago(now: Timestamp, then: Timestamp) -> String {
    match (now - then).as_secs() {
        0 => "just now".to_owned(),
        _ => format!("{} ago", span(now - then)),
    }
}

/// Which attempt, and of how many where that is known.
pub(super) fn attempt(n: u32, most: Option<u32>) -> String {
    match most {
        Some(most) => format!("attempt {n} of {}", most.max(n)),
        None => format!("attempt {n}"),
    }
}

/// So many of a thing.
pub(super) fn some(n: u64, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// One after the other.
pub(super) fn list(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_exact_as_anybody_wants_to_know() {
        let said = [0, 250, 1_999, 61_000, 3_725_000, 90_061_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(said, ["0ms", "250ms", "1s", "1m 1s", "1h 2m", "1day 1h"]);
        let now = Timestamp::from_millis(10_000);
        assert_eq!(ago(now, Timestamp::from_millis(7_900)), "2s ago");
        // A clock that was set back.
        assert_eq!(ago(now, Timestamp::from_millis(99_000)), "just now");
    }
}
