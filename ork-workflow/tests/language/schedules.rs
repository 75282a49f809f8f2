//! Schedules across changes of the clock, compared with an oracle that goes from minute to minute.

use jiff::civil::{DateTime, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan as _};
use ork_workflow::Schedule;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const MINUTE: i64 = 60;

/// Time zones of every kind: both hemispheres, changes of half an hour and of two hours, changes at midnight and
/// around Ramadan, and none at all.
const ZONES: [&str; 20] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Chisinau",
    "America/New_York",
    "America/St_Johns",
    "America/Santiago",
    "America/Havana",
    "America/Nuuk",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Pacific/Chatham",
];

/// A field of a cron expression: its text, and which values match it.
#[derive(Debug, Clone)]
struct Field {
    text: String,
    takes: Vec<bool>,
}

impl Field {
    fn star(&self) -> bool {
        self.text.starts_with('*')
    }

    fn takes(&self, value: i8) -> bool {
        self.takes[usize::try_from(value).unwrap()]
    }
}

/// Generates a value, a range or a step of a field, as text and as values.
fn term(least: usize, most: usize, named: usize) -> impl Strategy<Value = (String, Vec<usize>)> {
    let step = 1..=(most - least).min(40);
    (0..4, least..=named, least..=named, step).prop_map(move |(kind, a, b, step)| {
        let (from, to) = (a.min(b), a.max(b));
        match kind {
            0 => (from.to_string(), vec![from]),
            1 => (format!("{from}-{to}"), (from..=to).collect()),
            2 => (format!("{from}-{to}/{step}"), (from..=to).step_by(step).collect()),
            _ => (format!("*/{step}"), (least..=most).step_by(step).collect()),
        }
    })
}

/// Generates a field with values from `least` to `most`. Values that are written explicitly are at most `named`.
fn field(least: usize, most: usize, named: usize) -> impl Strategy<Value = Field> {
    let terms = prop::collection::vec(term(least, most, named), 1..3).prop_map(move |terms| {
        let text: Vec<&str> = terms.iter().map(|(text, _)| text.as_str()).collect();
        let takes = (0..=most).map(|value| terms.iter().any(|(_, values)| values.contains(&value))).collect();
        Field { text: text.join(","), takes }
    });
    let any = Just(Field { text: "*".to_owned(), takes: vec![true; most + 1] });
    prop_oneof![2 => terms, 1 => any]
}

/// A cron expression: minute, hour, day of the month, month, day of the week.
#[derive(Debug, Clone)]
struct Pattern([Field; 5]);

fn pattern() -> impl Strategy<Value = Pattern> {
    // The hours around changes of the clock are more frequent than others.
    let hour = prop_oneof![field(0, 23, 23), field(0, 23, 3)];
    let fields = (field(0, 59, 59), hour, field(1, 31, 31), field(1, 12, 12), field(0, 6, 6));
    fields.prop_map(|(minute, hour, day, month, weekday)| Pattern([minute, hour, day, month, weekday]))
}

impl Pattern {
    fn text(&self) -> String {
        self.0.each_ref().map(|field| field.text.clone()).join(" ")
    }

    /// Returns whether the day matches.
    fn day(&self, wall: DateTime) -> bool {
        let [_, _, day, month, weekday] = &self.0;
        let (in_month, in_week) = (day.takes(wall.day()), weekday.takes(wall.weekday().to_sunday_zero_offset()));
        let both = day.star() || weekday.star();
        month.takes(wall.month()) && if both { in_month && in_week } else { in_month || in_week }
    }
}

/// Goes from minute to minute, and returns the minutes in which the expression fires.
///
/// An expression that names hours fires if the clock has passed one of its times since the latest local time that it
/// has shown so far. Any other expression fires if the clock shows one of its times.
fn oracle(pattern: &Pattern, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<i64> {
    let [minute, hour, ..] = &pattern.0;
    // For each minute of a day, whether it matches.
    let of_day: Vec<bool> = (0..1440).map(|at| hour.takes[at / 60] && minute.takes[at % 60]).collect();
    let matches = |at: i64, days: &mut (i64, bool)| {
        if !of_day[usize::try_from(at.rem_euclid(1440)).unwrap()] {
            return false;
        }
        let day = at.div_euclid(1440);
        if days.0 != day {
            let wall = Timestamp::from_second(day * 86_400).unwrap().to_zoned(TimeZone::UTC).datetime();
            *days = (day, pattern.day(wall));
        }
        days.1
    };
    let (mut all, mut days, mut offset) = (Vec::new(), (i64::MIN, false), 0);
    let (from, to) = (from.as_second() / MINUTE, to.as_second() / MINUTE);
    let mut latest = None;
    for now in from..=to {
        // Clocks change only at full quarters of an hour.
        if now % 15 == 0 || now == from {
            offset = i64::from(zone.to_offset(Timestamp::from_second(now * MINUTE).unwrap()).seconds()) / MINUTE;
        }
        let wall = now + offset;
        let comes = if hour.star() {
            matches(wall, &mut days)
        } else {
            let shown = latest.unwrap_or(wall - 1);
            latest = Some(shown.max(wall));
            (shown + 1..=wall).any(|at| matches(at, &mut days))
        };
        if comes && now > from {
            all.push(now * MINUTE);
        }
    }
    all
}

/// Returns the times of the schedule, in seconds.
fn times(pattern: &str, zone: &str, from: Timestamp, to: Timestamp) -> Vec<i64> {
    let (schedule, mut at, mut all) = (Schedule::new(pattern, zone), from.as_millisecond(), Vec::new());
    while let Some(next) = schedule.next_after(at).filter(|next| *next <= to.as_millisecond()) {
        assert!(next > at, "`{pattern}` in {zone} does not go on");
        all.push(next / 1000);
        at = next;
    }
    all
}

fn shown(seconds: &[i64], zone: &TimeZone) -> Vec<String> {
    seconds.iter().map(|at| Timestamp::from_second(*at).unwrap().to_zoned(zone.clone()).to_string()).collect()
}

/// Regression test: with the local times of the cron library alone, an expression with several values skipped the
/// night of the change in spring and fired twice in autumn, and a step in a day field matched if either day matched.
#[test]
fn random_schedules_match_the_oracle_in_twenty_zones_and_three_years() {
    let begin: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
    let end: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    for name in ZONES {
        let zone = TimeZoneDatabase::bundled().get(name).unwrap();
        let mut changes: Vec<Timestamp> =
            zone.following(begin).map(|change| change.timestamp()).take_while(|at| *at < end).collect();
        changes.push("2025-02-27T00:00:00Z".parse().unwrap());
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(5) });
        runner
            .run(&pattern(), |pattern| {
                let text = pattern.text();
                let days = changes.iter().map(|at| (*at - 4.hours(), *at + 4.hours()));
                for (from, to) in days {
                    let (expected, found) = (oracle(&pattern, &zone, from, to), times(&text, name, from, to));
                    prop_assert_eq!(shown(&found, &zone), shown(&expected, &zone), "`{}` in {}", text, name);
                }
                Ok(())
            })
            .unwrap();
        // An expression that fires rarely, over the whole period.
        let rare = Config { failure_persistence: None, ..Config::with_cases(1) };
        TestRunner::new(rare)
            .run(&(0..60_usize, 0..4_usize), |(minute, hour)| {
                let field = |value: usize, most: usize| Field {
                    text: value.to_string(),
                    takes: (0..=most).map(|other| other == value).collect(),
                };
                let any = |most: usize| Field { text: "*".to_owned(), takes: vec![true; most + 1] };
                let pattern = Pattern([field(minute, 59), field(hour, 23), any(31), any(12), any(6)]);
                let found = times(&pattern.text(), name, begin, end);
                prop_assert_eq!(found, oracle(&pattern, &zone, begin, end), "`{}` in {}", pattern.text(), name);
                Ok(())
            })
            .unwrap();
    }
}

/// Regression test: with the local times of the cron library alone, `0,30 2` never fired in spring, and four times in
/// autumn.
#[test]
fn schedules_on_the_nights_when_berlin_changes_its_clocks() {
    let night = |cron: &str, day: &str| {
        let zone = TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
        let midnight: DateTime = format!("{day}T00:00").parse().unwrap();
        let from = zone.to_timestamp(midnight).unwrap() - 1.minute();
        let times = times(cron, "Europe/Berlin", from, from + 5.hours());
        let clock = |at: &i64| Timestamp::from_second(*at).unwrap().to_zoned(zone.clone());
        times.iter().map(|at| clock(at).strftime("%H:%M%:::z").to_string()).collect::<Vec<_>>().join(" ")
    };
    let (spring, autumn) = ("2026-03-29", "2026-10-25");
    for (cron, forward, back) in [
        ("0,30 2 * * *", "03:00+02", "02:00+02 02:30+02"),
        ("0 2,3 * * *", "03:00+02", "02:00+02 03:00+01"),
        ("*/20 2 * * *", "03:00+02", "02:00+02 02:20+02 02:40+02"),
        (
            "*/30 1-3 * * *",
            "01:00+01 01:30+01 03:00+02 03:30+02",
            "01:00+02 01:30+02 02:00+02 02:30+02 03:00+01 03:30+01",
        ),
        ("30 * * * *", "00:30+01 01:30+01 03:30+02 04:30+02 05:30+02", "00:30+02 01:30+02 02:30+02 02:30+01 03:30+01"),
        ("0 */2 * * *", "00:00+01 04:00+02", "00:00+02 02:00+02 02:00+01"),
        ("30 2 * * *", "03:00+02", "02:30+02"),
        ("@hourly", "00:00+01 01:00+01 03:00+02 04:00+02 05:00+02", "00:00+02 01:00+02 02:00+02 02:00+01 03:00+01"),
    ] {
        assert_eq!(night(cron, spring), forward, "`{cron}` on {spring}");
        assert_eq!(night(cron, autumn), back, "`{cron}` on {autumn}");
    }
}

/// Regression test: a step in a day field counted as a named day, so that either of both fields was enough.
#[test]
fn day_field_that_begins_with_a_star_must_match_too() {
    let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for (cron, both) in [("0 0 */2 * 1", true), ("0 0 1-31/2 * 1", false), ("0 0 13 * 5", false), ("0 0 1 * */2", true)]
    {
        let found = times(cron, "UTC", from, from + (24 * 90).hours());
        assert!(!found.is_empty());
        let monday =
            |at: &i64| Timestamp::from_second(*at).unwrap().to_zoned(TimeZone::UTC).weekday() == Weekday::Monday;
        match cron {
            "0 0 */2 * 1" => assert!(found.iter().all(monday), "{cron}"),
            "0 0 1-31/2 * 1" => assert!(!found.iter().all(monday), "{cron}"),
            _ => assert_eq!(found.len() < 5, both, "{cron}"),
        }
    }
}

/// Samoa skipped 30 December 2011.
#[test]
fn time_on_a_skipped_day_fires_after_the_day() {
    let from: Timestamp = "2011-12-29T12:00:00Z".parse().unwrap();
    let zone = TimeZoneDatabase::bundled().get("Pacific/Apia").unwrap();
    let found = shown(&times("0 6 * * *", "Pacific/Apia", from, from + 60.hours()), &zone);
    let days: Vec<&str> = found.iter().map(|time| &time[..16]).collect();
    assert_eq!(days, ["2011-12-29T06:00", "2011-12-31T00:00", "2011-12-31T06:00", "2012-01-01T06:00"]);
}
