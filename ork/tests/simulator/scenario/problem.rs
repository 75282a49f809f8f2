//! Validates scenarios: one that is written by hand is refused if a run of it would show nothing, or something wrong.

use super::trouble::SHORTEST_TIMEOUT;
use super::{ClientSpec, HOUR, Kind, OPTIONAL_TASKS, ProcessSpec, QueueKind, Scenario, StoreKind, Trouble};
use crate::tasks::How;
use crate::workload::{Act, Job};

/// The longest time that anything may take, in milliseconds.
const LONGEST: u64 = 7 * 24 * HOUR;

/// The most processes of a scenario.
const MOST_WORKERS: usize = 50;

/// The fastest drift of a clock, in parts per million.
const MOST_DRIFT: u64 = 1_000;

impl Scenario {
    /// Describes why the scenario is invalid, if it is. The scenarios of all seeds are valid.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem_of_surroundings()
            .or_else(|| self.workers.iter().enumerate().find_map(|(at, worker)| self.problem_of_worker(at, worker)))
            .or_else(|| self.clients.iter().enumerate().find_map(|(at, client)| self.problem_of_client(at, client)))
            .or_else(|| self.troubles.iter().find_map(|(at, trouble)| self.problem_of_trouble(*at, trouble)))
            .or_else(|| self.problem_of_troubles())
            .or_else(|| self.acts.iter().find_map(|(at, act)| self.problem_of_act(*at, act)))
            .or_else(|| self.problem_of_acts())
    }

    fn problem_of_surroundings(&self) -> Option<String> {
        let has_store = self.store != StoreKind::None;
        if let Some(number) = serde_json::to_value(self).ok().and_then(|json| beyond(&json)) {
            return Some(format!("it contains {number}: numbers are at most {LONGEST}, a week in milliseconds"));
        }
        let problem = if self.workers.is_empty() {
            "it has no workers"
        } else if self.workers.len() > MOST_WORKERS {
            "it has more than 50 workers"
        } else if self.seed > u64::MAX / 2 {
            "its seed is more than 2^63"
        } else if !has_store && self.broker.is_none() {
            "it has neither a store nor a broker"
        } else if !has_store && (self.retention > 0 || self.large) {
            "without a store there is no `retention`, and nothing is `large`"
        } else if self.broker.is_none() && self.events {
            "without a broker there are no `events`"
        } else if self.max_losses > 50 {
            "`max_losses` is at most 50"
        } else if self.retention > 0 && self.retention < 60 {
            "`retention` is at least 60 seconds, or 0 for ever"
        } else if self.calm > LONGEST || self.retention > LONGEST / 1_000 {
            "it lasts longer than a week"
        } else {
            return None;
        };
        Some(problem.to_owned())
    }

    fn problem_of_worker(&self, number: usize, worker: &ProcessSpec) -> Option<String> {
        let ProcessSpec { ahead_ms, ppm, concurrency, blocking, ack_within, lacks, newer: _ } = worker;
        let is_optional = |task: &String| OPTIONAL_TASKS.contains(&task.as_str());
        let problem = if *concurrency == 0 || *blocking == 0 {
            "makes no calls: `concurrency` and `blocking` are at least 1"
        } else if *concurrency > 500 || *blocking > 500 {
            "makes more than 500 calls at once"
        } else if number == 0 && !lacks.is_empty() {
            "lacks tasks, and the first worker has all of them"
        } else if !lacks.iter().all(is_optional) {
            "lacks a task that cannot be lacking"
        } else if *ack_within > LONGEST {
            "has a time of more than a week"
        } else {
            self.problem_of_clock(*ahead_ms, *ppm)?
        };
        Some(format!("worker {number} {problem}"))
    }

    fn problem_of_client(&self, number: usize, ClientSpec { ahead_ms, ppm, newer: _ }: &ClientSpec) -> Option<String> {
        let problem = if self.clients.len() > MOST_WORKERS {
            "is one of more than 50"
        } else {
            self.problem_of_clock(*ahead_ms, *ppm)?
        };
        Some(format!("client {number} {problem}"))
    }

    const fn problem_of_clock(&self, ahead_ms: i64, ppm: i64) -> Option<&'static str> {
        if ahead_ms.unsigned_abs() > LONGEST {
            Some("has a time of more than a week")
        } else if ppm.unsigned_abs() > MOST_DRIFT {
            Some("has a clock that drifts by more than a thousandth")
        } else if (ahead_ms != 0 || ppm != 0) && matches!(self.store, StoreKind::File) {
            Some("has its own clock, but the processes of a file share the clock of their computer")
        } else {
            None
        }
    }

    fn problem_of_trouble(&self, at: u64, trouble: &Trouble) -> Option<String> {
        let problem = if trouble.worker().is_some_and(|worker| worker >= self.workers.len()) {
            format!("there are only {} workers, from 0", self.workers.len())
        } else if trouble.client().is_some_and(|client| client >= self.n_clients()) {
            format!("there are only {} clients, from 0", self.n_clients())
        } else if matches!(trouble, Trouble::Damaged { percent, .. } if !(1..=100).contains(percent)) {
            "it damages at least 1 percent, and at most 100".to_owned()
        } else if trouble.is_of_broker() && self.broker.is_none() {
            "there is no broker".to_owned()
        } else if !trouble.kind().is_possible_with(self.store) {
            format!("it cannot happen with the store `{:?}`", self.store)
        } else if trouble.loses_messages() && self.store == StoreKind::None {
            "without a store, what the broker loses is lost".to_owned()
        } else if matches!(trouble, Trouble::Timeout { longest, .. } if *longest < SHORTEST_TIMEOUT) {
            format!("a consumer timeout is at least {SHORTEST_TIMEOUT} ms")
        } else if at.saturating_add(trouble.lasts()) > self.calm {
            format!("it lasts longer than until `calm`, {} ms", self.calm)
        } else if trouble.clone().span_mut().is_some_and(|span| *span > LONGEST) {
            "a worker is started again after more than a year".to_owned()
        } else {
            return None;
        };
        Some(format!("{trouble:?} at {at} ms: {problem}"))
    }

    fn problem_of_troubles(&self) -> Option<String> {
        if !self.troubles.is_sorted_by_key(|(at, _)| *at) {
            return Some("the troubles are not in the order of their times".to_owned());
        }
        let has_undone = self.troubles.iter().any(|(_, trouble)| trouble.kind() == Kind::Undone);
        let detail = "a lost message is not detected if the removal of its row is undone: \
                     `Undone` goes with no trouble that loses messages";
        (has_undone && self.loses_messages()).then(|| detail.to_owned())
    }

    fn problem_of_act(&self, at: u64, act: &Act) -> Option<String> {
        let has_store = self.store != StoreKind::None;
        let problem = match act {
            _ if at > LONGEST => "after more than a year".to_owned(),
            Act::Submit(number, job) => format!("job {number} {}", self.problem_of_job(job)?),
            Act::Pause(_, lasts) if at.saturating_add(*lasts) > self.calm => {
                format!("a pause lasts longer than until `calm`, {} ms", self.calm)
            }
            Act::Schedule(_, _, script) if script.takes > LONGEST => "takes more than a year".to_owned(),
            Act::Cancel(_)
            | Act::CancelClaimed(_)
            | Act::Interrupt(_)
            | Act::Retry(_)
            | Act::RetryPart(..)
            | Act::Why(_)
            | Act::Schedule(..)
            | Act::Pause(..) => {
                if has_store {
                    return None;
                }
                "without a store a client submits only".to_owned()
            }
        };
        Some(format!("an act at {at} ms: {problem}"))
    }

    fn problem_of_job(&self, job: &Job) -> Option<String> {
        let has_store = self.store != StoreKind::None;
        let counts_losses = has_store || self.broker == Some(QueueKind::Quorum);
        let needs_store = match job {
            Job::Narrow(_)
            | Job::Keyed(..)
            | Job::Together(_)
            | Job::Versioned(_)
            | Job::Unique(..)
            | Job::Takeover(..)
            | Job::Follower(..)
            | Job::Tree(..)
            | Job::Itself(_)
            | Job::Flow(_) => true,
            Job::Plain(_)
            | Job::Blocking(_)
            | Job::Timed(_)
            | Job::Many(_)
            | Job::Hooked(_)
            | Job::Asked(_)
            | Job::Set(_) => false,
        };
        let (scripts, is_set) = (job.scripts(), matches!(job, Job::Set(_) | Job::Together(_)));
        let problem = if let Job::Takeover(_, after, _) = job
            && *after > LONGEST
        {
            "takes its key over after more than a week"
        } else if needs_store && !has_store {
            "needs a store"
        } else if is_set && scripts.is_empty() {
            "is a set of no messages, or of no jobs"
        } else if scripts.iter().any(|script| script.takes > LONGEST) {
            "takes more than a year"
        } else if !counts_losses && scripts.iter().any(|script| script.how == How::Kills) {
            "never ends: without a store, a classic queue does not count the processes that it kills"
        } else if let Job::Flow(tasks) = job {
            return crate::flows::problem(tasks);
        } else {
            return None;
        };
        Some(problem.to_owned())
    }

    /// Checks that the numbers of jobs are unique, and those of schedules.
    fn problem_of_acts(&self) -> Option<String> {
        if let Some(number) = self.job_of_no_version() {
            return Some(format!("no worker has the version of the task for which the input of job {number} is made"));
        }
        let (mut jobs, mut schedules) = (Vec::new(), Vec::new());
        for (_, act) in &self.acts {
            let (numbers, number) = match act {
                Act::Submit(number, _) => (&mut jobs, *number),
                Act::Schedule(number, ..) => (&mut schedules, *number),
                Act::Cancel(_)
                | Act::CancelClaimed(_)
                | Act::Interrupt(_)
                | Act::Retry(_)
                | Act::RetryPart(..)
                | Act::Why(_)
                | Act::Pause(..) => continue,
            };
            if numbers.contains(&number) {
                return Some(format!("two jobs, or two schedules, have the number {number}"));
            }
            numbers.push(number);
        }
        None
    }
}

/// A valid scenario.
const VALID: &str = r#"{"seed":0,"store":"Server","broker":"Quorum","calm":90,
    "workers":[{"ahead_ms":0,"ppm":0,"concurrency":1,"blocking":1}],
    "acts":[[5,{"Submit":[0,{"Plain":{"key":0,"takes":0,"fails":0,"how":"Returns"}}]}]],
    "troubles":[[1,{"Crash":{"worker":0,"back":1}}],[50,{"Freeze":{"worker":0,"lasts":40}}]]}"#;

/// Replacements that make it invalid, and a part of the error message of each.
const INVALID: [(&[(&str, &str)], &str); 34] = [
    (&[], ""),
    (&[("\"seed\"", "\"sed\"")], "unknown field `sed`"),
    (&[("\"key\"", "\"kee\"")], "unknown field `kee`"),
    (&[("\"back\"", "\"bock\"")], "unknown field `bock`"),
    (&[("\"ppm\"", "\"pmp\"")], "unknown field `pmp`"),
    (&[("[{\"ahead_ms\":0,\"ppm\":0,\"concurrency\":1,\"blocking\":1}]", "[]")], "it has no workers"),
    (&[("\"concurrency\":1", "\"concurrency\":0")], "worker 0 makes no calls"),
    (&[("\"blocking\":1", "\"blocking\":0")], "worker 0 makes no calls"),
    (&[("\"ppm\":0", "\"ppm\":0,\"lacks\":[\"narrow\"]")], "the first worker has all of them"),
    (&[("\"acts\":[", "\"acts\":[[0,{\"Pause\":[0,91]}],")], "a pause lasts longer"),
    (&[("\"ppm\":0", "\"ppm\":-1000000")], "worker 0 has a clock that drifts"),
    (&[("\"Server\"", "\"File\""), ("\"ppm\":0", "\"ppm\":1")], "worker 0 has its own clock"),
    (&[("\"Server\"", "\"None\""), ("\"Quorum\"", "null")], "it has neither a store nor a broker"),
    (&[("\"Server\"", "\"None\""), ("\"seed\":0", "\"seed\":0,\"large\":true")], "without a store there is no"),
    (&[("\"Quorum\"", "null"), ("\"seed\":0", "\"seed\":0,\"events\":true")], "without a broker there are no"),
    (&[("\"seed\":0", "\"seed\":0,\"retention\":1")], "`retention` is at least 60 seconds"),
    (&[("\"worker\":0", "\"worker\":1")], "there are only 1 workers"),
    (&[("\"lasts\":40", "\"lasts\":41")], "it lasts longer than until `calm`"),
    (&[("[[1,", "[[51,")], "the troubles are not in the order of their times"),
    (&[("{\"Crash\":{\"worker\":0,\"back\":1}}", "\"Purge\""), ("\"Quorum\"", "null")], "there is no broker"),
    (&[("{\"Crash\":{\"worker\":0,\"back\":1}}", "\"Purge\""), ("\"Server\"", "\"None\"")], "what the broker loses"),
    (&[("{\"Crash\":{\"worker\":0,\"back\":1}}", "\"Deletes\""), ("\"Server\"", "\"None\"")], "what the broker loses"),
    (&[("{\"Freeze\":{\"worker\":0,", "{\"Timeout\":{\"longest\":0,")], "a consumer timeout is at least"),
    (&[("{\"Freeze\":{\"worker\":0,", "{\"Doubt\":{"), ("\"Server\"", "\"None\"")], "it cannot happen with the store"),
    (&[("{\"Freeze\":{\"worker\":0,", "{\"Undone\":{"), ("\"Server\"", "\"File\"")], "it cannot happen with the store"),
    (&[("{\"Freeze\":{\"worker\":0,", "{\"PowerLoss\":{"), ("\"lasts\"", "\"back\"")], "it cannot happen with the"),
    (&[("{\"Freeze\":{\"worker\":0,", "{\"Damaged\":{\"percent\":0,")], "at least 1 percent"),
    (&[("{\"Freeze\":{\"worker\":0,", "{\"ClientFreezes\":{\"client\":1,")], "there are only 1 clients"),
    (&[("\"seed\":0", "\"seed\":0,\"clients\":[{\"ahead_ms\":0,\"ppm\":-1001}]")], "client 0 has a clock that drifts"),
    (&[("\"seed\":0", "\"seed\":0,\"clients\":[{\"ahead_ms\":0,\"pmp\":0}]")], "unknown field `pmp`"),
    (
        &[("{\"Freeze\":{\"worker\":0,", "{\"Undone\":{"), ("{\"Crash\":{\"worker\":0,\"back\":1}}", "\"Purge\"")],
        "a lost message is not detected",
    ),
    (
        &[("\"acts\":[", "\"acts\":[[0,{\"Submit\":[0,{\"Many\":[]}]}],")],
        "two jobs, or two schedules, have the number 0",
    ),
    (
        &[("\"acts\":[", "\"acts\":[[0,{\"Cancel\":0}],"), ("\"Server\"", "\"None\"")],
        "without a store a client submits",
    ),
    (&[("\"Plain\"", "\"Narrow\""), ("\"Server\"", "\"None\"")], "job 0 needs a store"),
];

/// Returns the invalid scenarios that are accepted, or refused with another message.
pub(crate) fn wrongly_judged() -> Vec<String> {
    let problem = |(replaced, wanted): &(&[(&str, &str)], &str)| {
        let text = replaced.iter().fold(VALID.to_owned(), |text, (from, to)| text.replace(from, to));
        let found = match serde_json::from_str::<Scenario>(&text) {
            Ok(scenario) => scenario.problem().unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        let matches = found.contains(wanted) && found.is_empty() == wanted.is_empty();
        (!matches).then(|| format!("{replaced:?} is refused with `{found}`, not `{wanted}`"))
    };
    INVALID.iter().filter_map(problem).collect()
}

/// Returns a number that is larger than anything in a scenario may be, apart from its seed.
fn beyond(json: &serde_json::Value) -> Option<String> {
    match json {
        serde_json::Value::Number(number) => {
            let size = number.as_i64().map_or_else(|| number.as_u64().unwrap_or(u64::MAX), i64::unsigned_abs);
            (size > LONGEST).then(|| number.to_string())
        }
        serde_json::Value::Array(items) => items.iter().find_map(beyond),
        serde_json::Value::Object(fields) => {
            fields.iter().filter(|(name, _)| *name != "seed").find_map(|(_, value)| beyond(value))
        }
        _ => None,
    }
}
