//! Cron expressions with five fields, and the instants at which they fire when clocks change for daylight saving
//! time.
//!
//! The cron library is used without time zones: it only computes local (wall clock) times. The functions below map
//! these to instants, by the rules of Vixie cron.

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

/// A parsed cron expression.
#[derive(Debug)]
pub(crate) struct Fields {
    cron: Cron,
    /// Whether the expression names hours. If so, each scheduled time fires exactly once, even if the clock skips or
    /// repeats it.
    hours: bool,
}

impl Fields {
    /// Parses minute, hour, day of the month, month and day of the week, or a nickname such as `@daily`.
    pub(crate) fn read(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let any = |field: Option<&&str>| field.is_some_and(|field| field.starts_with(['*', '?']));
        // If one of the two day fields begins with a star, a day must match both; otherwise either of them is enough.
        let both = any(fields.get(2)) || any(fields.get(4));
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).dom_and_dow(both);
        let cron = parser.build().parse(text)?;
        let hours = match fields.as_slice() {
            [nickname] => !nickname.eq_ignore_ascii_case("@hourly"),
            fields => !any(fields.get(1)),
        };
        Ok(Self { cron, hours })
    }

    /// Returns the first instant after `start`; `None` if there is none within the years that the library supports.
    pub(crate) fn after(&self, start: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.hours { self.next_of_named_hours(start, zone) } else { self.next_shown(start, zone) }
    }

    /// Returns the next instant of an expression that names hours. A time that the clock skips fires at the moment of
    /// the change; a time that the clock shows twice fires the first time.
    fn next_of_named_hours(&self, start: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // All scheduled local times up to this one map to `start` or earlier.
        let mut local = zone.to_datetime(start);
        loop {
            local = self.next_local(local, false)?;
            let fires = match zone.to_ambiguous_timestamp(local).offset() {
                AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok()?,
                AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok()?,
                AmbiguousOffset::Gap { before, .. } => {
                    let unchanged = before.to_timestamp(local).ok()?;
                    zone.preceding(unchanged.checked_add(1.second()).ok()?).next()?.timestamp()
                }
            };
            if fires > start {
                return Some(fires);
            }
        }
    }

    /// Returns the next instant at which the clock shows a scheduled time.
    fn next_shown(&self, start: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let (mut from, mut inclusive) = (start, false);
        let mut changes = zone.following(start);
        loop {
            // Between two changes of the clock the offset is constant.
            let offset = zone.to_offset(from);
            let local = self.next_local(offset.to_datetime(from), inclusive)?;
            let fires = offset.to_timestamp(local).ok()?;
            match changes.next() {
                Some(change) if fires >= change.timestamp() => (from, inclusive) = (change.timestamp(), true),
                Some(_) | None => return Some(fires),
            }
        }
    }

    /// Returns the next scheduled local time, without any change of the clock.
    fn next_local(&self, from: DateTime, inclusive: bool) -> Option<DateTime> {
        let from = from.to_zoned(TimeZone::UTC).ok()?;
        self.cron.find_next_occurrence(&from, inclusive).ok().map(|next| next.datetime())
    }
}
