//! Checks the schedule of a workflow: the cron expression and the time zone.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::cron::Fields;
use crate::diagnostic::{Code, Diagnostic, Problems, nearest};
use crate::document::ScheduleText;
use crate::schedule::{Schedule, UTC, next, zone};
use crate::yaml::Word;

/// Validates a schedule as it is written in the file.
pub(crate) fn check(text: &ScheduleText, problems: &mut Problems) -> Option<Schedule> {
    let name = text.timezone.as_ref().map_or(UTC, |word| word.text.as_str());
    let timezone = zone(name).map(|_| name.to_owned());
    if let (None, Some(word)) = (&timezone, &text.timezone) {
        problems.add(unknown_zone(word));
    }
    let Ok(fields) = Fields::read(&text.cron.text) else {
        problems.add(bad_cron(&text.cron));
        return None;
    };
    // 2000-01-01. Within the next eight years every possible date occurs, 29 February included.
    if next(&fields, &TimeZone::UTC, 946_684_800_000).is_none() {
        let problem = Diagnostic::new(Code::ScheduleNever, format!("schedule `{}` never fires", text.cron.text));
        problems.add(problem.at(text.cron.span, "no such day exists").help("check the day and the month"));
        return None;
    }
    let [time_as, date_as] = [&text.time_as, &text.date_as].map(|word| word.as_ref().map(|word| word.text.clone()));
    let (missed, overlap) = (text.missed, text.overlap);
    Some(Schedule { missed, overlap, time_as, date_as, ..Schedule::new(&text.cron.text, timezone?) })
}

fn unknown_zone(word: &Word) -> Diagnostic {
    let problem = Diagnostic::new(Code::UnknownTimezone, format!("there is no time zone `{}`", word.text));
    let problem = problem.at(word.span, "unknown time zone");
    let database = TimeZoneDatabase::bundled();
    let names: Vec<String> = database.available().map(|name| name.as_str().to_owned()).collect();
    let city = |name: &&str| name.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(&word.text));
    let near = names.iter().map(String::as_str).find(city);
    match near.or_else(|| nearest(&word.text, names.iter().map(String::as_str))) {
        Some(near) => problem.did_you_mean(word.span, near),
        None => problem.help("time zones have names such as `UTC`, `Europe/Berlin` or `America/New_York`"),
    }
}

/// The fields of a cron expression, with the range of values that messages show for each.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31"),
    ("month", "1 to 12"),
    ("day of the week", "0 to 7, where 0 and 7 are Sunday"),
];

/// Reports which field of a cron expression is wrong.
fn bad_cron(word: &Word) -> Diagnostic {
    let problem = Diagnostic::new(Code::BadCron, format!("`{}` is not a valid schedule", word.text));
    let problem = problem.help(
        "the fields are minute, hour, day of the month, month and day of the week: \"0 6 * * 1-5\" is 6:00 from Monday \
         to Friday",
    );
    let fields: Vec<&str> = word.text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return problem.at(word.span, format!("expected five fields, found {}", fields.len()));
    }
    for (place, (field, (name, range))) in fields.iter().zip(FIELDS).enumerate() {
        let alone: Vec<&str> = (0..FIELDS.len()).map(|at| if at == place { *field } else { "*" }).collect();
        if Fields::read(&alone.join(" ")).is_err() {
            return problem
                .at(word.span, format!("`{field}` is not a valid {name}"))
                .note(format!("the {name} must be {range}"));
        }
    }
    problem.at(word.span, "invalid schedule")
}
