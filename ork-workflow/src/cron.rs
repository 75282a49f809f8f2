//! The five fields of a schedule, and the instants at which they come on a clock that is put forward and back.
//!
//! The library for cron knows nothing of time zones here: it is asked about the times that a clock on the wall shows.
//! Which instants those are is said below, after Vixie cron.

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

/// The fields of a schedule.
#[derive(Debug)]
pub(crate) struct Fields {
    cron: Cron,
    /// Whether hours are named, so that each time that is due comes once, whatever is done to the clock.
    hours: bool,
}

impl Fields {
    /// Reads minute, hour, day of the month, month and day of the week.
    pub(crate) fn read(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let any = |field: Option<&&str>| field.is_some_and(|field| field.starts_with(['*', '?']));
        // A field that begins with a star narrows the other one down; two that name days add up.
        let both = any(fields.get(2)) || any(fields.get(4));
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).dom_and_dow(both);
        let cron = parser.build().parse(text)?;
        let hours = match fields.as_slice() {
            [nickname] => !nickname.eq_ignore_ascii_case("@hourly"),
            fields => !any(fields.get(1)),
        };
        Ok(Self { cron, hours })
    }

    /// The first instant after another one. `None` if there is none within the years that the library knows.
    pub(crate) fn after(&self, start: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.hours { self.named(start, zone) } else { self.shown(start, zone) }
    }

    /// The next of times that are named. One that the clock is put forward over comes when that is done; one that the
    /// clock shows twice comes at the first of both.
    fn named(&self, start: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // No time up to this one comes later than the start.
        let mut wall = zone.to_datetime(start);
        loop {
            wall = self.wall(wall, false)?;
            let comes = match zone.to_ambiguous_timestamp(wall).offset() {
                AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok()?,
                AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok()?,
                AmbiguousOffset::Gap { before, .. } => {
                    let unchanged = before.to_timestamp(wall).ok()?;
                    zone.preceding(unchanged.checked_add(1.second()).ok()?).next()?.timestamp()
                }
            };
            if comes > start {
                return Some(comes);
            }
        }
    }

    /// The next instant at which the clock shows a time of the schedule.
    fn shown(&self, start: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let (mut from, mut inclusive) = (start, false);
        let mut changes = zone.following(start);
        loop {
            // Between two changes the clock goes evenly.
            let offset = zone.to_offset(from);
            let wall = self.wall(offset.to_datetime(from), inclusive)?;
            let comes = offset.to_timestamp(wall).ok()?;
            match changes.next() {
                Some(change) if comes >= change.timestamp() => (from, inclusive) = (change.timestamp(), true),
                Some(_) | None => return Some(comes),
            }
        }
    }

    /// The next time of the schedule on a clock that nobody changes.
    fn wall(&self, from: DateTime, inclusive: bool) -> Option<DateTime> {
        let from = from.to_zoned(TimeZone::UTC).ok()?;
        self.cron.find_next_occurrence(&from, inclusive).ok().map(|next| next.datetime())
    }
}
