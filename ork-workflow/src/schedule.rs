//! The schedule of a workflow: a cron expression in a time zone.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use crate::cron::Fields;

/// The time zone of a schedule that does not name one.
pub(crate) const UTC: &str = "UTC";

/// The times at which a workflow is started automatically, and the treatment of missed and overlapping runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The cron expression: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// The IANA name of the time zone in which the cron expression is interpreted.
    pub timezone: String,
    /// The treatment of times that pass while no worker is running.
    #[serde(default)]
    pub missed: Missed,
    /// The treatment of a time that comes while the previous run is still active.
    #[serde(default)]
    pub overlap: Overlap,
    /// The parameter that receives the time for which a run was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_as: Option<String>,
    /// The parameter that receives the date of that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_as: Option<String>,
}

/// The treatment of times that pass while no worker is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// They are ignored; the next run starts at the next scheduled time.
    #[default]
    Skip,
    /// One run is started for all missed times together.
    Once,
    /// One run is started for each missed time.
    All,
}

/// The treatment of a time that comes while the previous run of the schedule is still active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// A second run is started beside the active one.
    #[default]
    Allow,
    /// No run is started for this time.
    Skip,
}

impl Schedule {
    /// Creates a schedule from a cron expression and the name of a time zone. Neither is validated.
    ///
    /// ```
    /// use ork_workflow::Schedule;
    ///
    /// let noon = Schedule::new("0 12 * * *", "UTC");
    /// assert_eq!(noon.next_after(0), Some(12 * 3_600_000));
    /// ```
    pub fn new(cron: impl Into<String>, timezone: impl Into<String>) -> Self {
        let (missed, overlap) = (Missed::default(), Overlap::default());
        Self { cron: cron.into(), timezone: timezone.into(), missed, overlap, time_as: None, date_as: None }
    }

    /// Formats a time, in milliseconds since the Unix epoch, as runs receive it: RFC 3339 in the time zone of the
    /// schedule.
    ///
    /// Returns `None` if the time is out of range or the time zone is unknown.
    ///
    /// ```
    /// use ork_workflow::Schedule;
    ///
    /// let noon = Schedule::new("0 12 * * *", "Europe/Berlin");
    /// assert_eq!(noon.shown(0).unwrap(), "1970-01-01T01:00:00+01:00");
    /// ```
    pub fn shown(&self, millis: i64) -> Option<String> {
        let time = Timestamp::from_millisecond(millis).ok()?.to_zoned(zone(&self.timezone)?);
        Some(time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
    }

    /// Returns the first scheduled time after `millis`, both in milliseconds since the Unix epoch. Returns `None` if
    /// there is none, or if the cron expression or the time zone is invalid.
    pub fn next_after(&self, millis: i64) -> Option<i64> {
        let (fields, zone) = (Fields::read(&self.cron).ok()?, zone(&self.timezone)?);
        next(&fields, &zone, millis)
    }
}

/// Looks up a time zone by name, in the database that is compiled into the program.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    if name == UTC { Some(TimeZone::UTC) } else { TimeZoneDatabase::bundled().get(name).ok() }
}

/// Returns the first scheduled time after `millis`, both in milliseconds since the Unix epoch.
pub(crate) fn next(fields: &Fields, zone: &TimeZone, millis: i64) -> Option<i64> {
    fields.after(Timestamp::from_millisecond(millis).ok()?, zone).map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(cron: &str, timezone: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::new(cron, timezone);
        let mut at = from.parse::<Timestamp>().unwrap().as_millisecond();
        let mut all = Vec::new();
        for _ in 0..count {
            at = schedule.next_after(at).unwrap();
            all.push(Timestamp::from_millisecond(at).unwrap().to_string());
        }
        all
    }

    #[test]
    fn schedule_is_interpreted_in_its_time_zone() {
        let six = times("0 6 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3);
        assert_eq!(six, ["2026-03-28T05:00:00Z", "2026-03-29T04:00:00Z", "2026-03-30T04:00:00Z"]);
        assert_eq!(
            times("*/20 * * * *", "UTC", "2026-01-01T00:00:00Z", 2),
            ["2026-01-01T00:20:00Z", "2026-01-01T00:40:00Z"]
        );
    }

    #[test]
    fn names_nicknames_and_last_days_are_accepted() {
        assert_eq!(times("@daily", "UTC", "2026-01-01T12:00:00Z", 1), ["2026-01-02T00:00:00Z"]);
        assert_eq!(times("0 6 * JAN-FEB MON", "UTC", "2026-02-23T12:00:00Z", 1), ["2027-01-04T06:00:00Z"]);
        assert_eq!(times("0 0 L * *", "UTC", "2028-02-01T00:00:00Z", 1), ["2028-02-29T00:00:00Z"]);
        assert_eq!(times("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00:00Z"]);
    }

    #[test]
    fn skipped_and_repeated_times_fire_once() {
        let skipped = times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(skipped, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        let repeated = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(repeated, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn invalid_schedule_has_no_next_time() {
        for (cron, timezone) in [("0 0 30 2 *", "UTC"), ("x", "UTC"), ("0 * * * *", "Mars/Base")] {
            assert_eq!(Schedule::new(cron, timezone).next_after(0), None);
        }
    }
}
