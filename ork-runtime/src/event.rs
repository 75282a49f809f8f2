//! Events: what is told of jobs to whoever listens, as `CloudEvents` 1.0 JSON. Pure; `docs/wire.md` lists them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{Job, State};
use crate::ledger::Counts;

/// What happened to a job, or to a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EventKind {
    /// It is there.
    Created,
    /// Its message is on its way to a worker.
    Ready,
    /// It says how far it is.
    Progress,
    /// An attempt failed; the next one is due later.
    Retrying,
    /// Every part of it has ended.
    PartsCompleted,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
    /// It ended by request.
    Canceled,
}

impl EventKind {
    /// Every kind, in the order of a job's life.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Ready,
        Self::Progress,
        Self::Retrying,
        Self::PartsCompleted,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
    ];

    /// The `type` of its events, which is their routing key, too. Progress and retrying are both `job.updated`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "job.created",
            Self::Ready => "job.ready",
            Self::Progress | Self::Retrying => "job.updated",
            Self::PartsCompleted => "job.parts-completed",
            Self::Completed => "job.completed",
            Self::Failed => "job.failed",
            Self::Canceled => "job.canceled",
        }
    }

    /// The state in which the job is then.
    pub const fn state(self) -> State {
        match self {
            Self::Created | Self::Ready => State::Ready,
            Self::Progress => State::Running,
            Self::Retrying => State::Retrying,
            Self::PartsCompleted => State::Waiting,
            Self::Completed => State::Success,
            Self::Failed => State::Failed,
            Self::Canceled => State::Cancelled,
        }
    }

    /// What is told when a job ends in this state.
    pub(crate) const fn of_end(state: State) -> Self {
        match state {
            State::Success => Self::Completed,
            State::Cancelled => Self::Canceled,
            State::Failed | State::Ready | State::Running | State::Retrying | State::Waiting => Self::Failed,
        }
    }

    /// The number of this kind in stores.
    pub(crate) fn code(self) -> u32 {
        Self::ALL.into_iter().zip(0..).find(|(kind, _)| *kind == self).map_or(0, |(_, code)| code)
    }

    /// The kind of this number.
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().zip(0..).find(|(_, known)| *known == code).map(|(kind, _)| kind)
    }

    fn read(kind: &str, state: State) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == kind && known.state() == state)
    }
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How the parts of a job have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EndedParts {
    /// How many there are.
    pub total: u64,
    /// Those that returned an output.
    pub completed: u64,
    /// Those that failed for good.
    pub failed: u64,
    /// Those that never started, or whose job was cancelled.
    pub canceled: u64,
}

impl From<Counts> for EndedParts {
    fn from(counts: Counts) -> Self {
        let canceled = counts.skipped + counts.cancelled;
        Self { total: counts.settled(), completed: counts.ok, failed: counts.failed, canceled }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The same text however often this event is told, and another one for every other event.
    pub id: String,
    /// When.
    pub time: Timestamp,
    /// To which job.
    pub job: JobId,
    /// To which part of it, from 0, if it is about a part.
    pub part: Option<u64>,
    /// The job a client submitted, from which this one comes.
    pub root: JobId,
    /// The job that created this one.
    pub parent: Option<JobId>,
    /// The task's name.
    pub task: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// How far it is, from 0 to 100, if it says so.
    pub progress: Option<f64>,
    /// A word about what is going on.
    pub info: Option<String>,
    /// How its parts ended, once all have.
    pub parts: Option<EndedParts>,
    /// Why it failed, or its last attempt did.
    pub error: Option<Failure>,
}

/// Whom an event is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct About {
    pub(crate) job: JobId,
    pub(crate) part: Option<u64>,
    pub(crate) root: JobId,
    pub(crate) parent: Option<JobId>,
    pub(crate) task: String,
    pub(crate) attempt: u32,
}

impl About {
    pub(crate) fn job(job: &Job) -> Self {
        let (root, parent, task) = (job.root, job.parent, job.task.clone());
        Self { job: job.id, part: None, root, parent, task, attempt: job.attempt }
    }

    fn subject(&self) -> String {
        match self.part {
            None => self.job.to_string(),
            Some(index) => format!("{}.{index}", self.job),
        }
    }
}

impl Event {
    /// An event; `serial` tells it from others of its kind about the same.
    pub(crate) fn new(kind: EventKind, about: About, serial: u64, time: Timestamp) -> Self {
        let word = kind.as_str().trim_start_matches("job.");
        let id = format!("{}/{word}/{serial}", about.subject());
        let About { job, part, root, parent, task, attempt } = about;
        let (progress, info, parts, error) = (None, None, None, None);
        Self { kind, id, time, job, part, root, parent, task, attempt, progress, info, parts, error }
    }

    /// An event about a whole job, as it stands now.
    pub(crate) fn of(job: &Job, kind: EventKind, serial: u64, now: Timestamp) -> Self {
        let time = match kind {
            EventKind::Created => job.created,
            EventKind::Completed | EventKind::Failed | EventKind::Canceled => job.ended.unwrap_or(now),
            EventKind::Ready | EventKind::Progress | EventKind::Retrying | EventKind::PartsCompleted => now,
        };
        let fails = matches!(kind, EventKind::Retrying | EventKind::Failed);
        let error = job.failure.as_ref().filter(|_| fails).map(brief);
        Self { error, ..Self::new(kind, About::job(job), serial, time) }
    }

    /// The state in which the job, or the part, is then.
    pub const fn state(&self) -> State {
        self.kind.state()
    }

    /// Its JSON: a `CloudEvents` 1.0 envelope in structured mode.
    ///
    /// ```
    /// # let json = br#"{"specversion":"1.0","id":"a/created/0","source":"/ork","type":"job.created","subject":"a","time":"2026-01-15T00:00:00.000Z","data":{"job":"0190a6a8-7d5f-7c3a-9b1e-3f1d2c4b5a69","task":"hello","root":"0190a6a8-7d5f-7c3a-9b1e-3f1d2c4b5a69","isPart":false,"state":"ready","attempt":1}}"#;
    /// let event = ork::Event::from_json(json)?;
    /// assert_eq!((event.kind, &*event.task), (ork::EventKind::Created, "hello"));
    /// assert_eq!(ork::Event::from_json(&event.to_json())?, event);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn to_json(&self) -> Vec<u8> {
        let Self { kind, id, time, job, part, root, parent, task, attempt, progress, info, parts, error } =
            self.clone();
        let about = About { job, part, root, parent, task, attempt };
        let subject = about.subject();
        let About { task, .. } = about;
        let is_part = part.is_some();
        let state = kind.state();
        let data = Data { job, task, root, parent, is_part, part, state, attempt, progress, info, parts, error };
        let envelope = Envelope {
            specversion: "1.0".into(),
            id,
            source: "/ork".into(),
            kind: kind.as_str().into(),
            subject,
            time: time.to_string(),
            datacontenttype: "application/json".into(),
            data,
        };
        serde_json::to_vec(&envelope).unwrap_or_default()
    }

    /// The event of this JSON.
    ///
    /// # Errors
    /// When it is no event of ork.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        let Envelope { id, kind, time, data, .. } = serde_json::from_slice(json)?;
        let Data { job, part, root, parent, task, state, attempt, progress, info, parts, error, is_part: _ } = data;
        let wrong = <serde_json::Error as serde::de::Error>::custom;
        let known = EventKind::read(&kind, state).ok_or_else(|| wrong(format!("`{kind}` in state `{state}`")))?;
        let time = humantime::parse_rfc3339(&time).map_err(|error| wrong(format!("time `{time}`: {error}")))?;
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let time = Timestamp::default() + since;
        Ok(Self { kind: known, id, time, job, part, root, parent, task, attempt, progress, info, parts, error })
    }
}

/// What tells an event from others of its kind about the same, however often it is told: the attempt, or the row of the
/// outbox that owes it.
pub(crate) const fn serial(kind: EventKind, attempt: u32, row: u64) -> u64 {
    match kind {
        EventKind::Created => 0,
        #[expect(clippy::as_conversions, reason = "it widens, and `From` is not const")]
        EventKind::Ready => attempt as u64,
        _ => row,
    }
}

/// Why something failed, without what the task adds for programs: an event is small.
pub(crate) fn brief(failure: &Failure) -> Failure {
    Failure { details: None, ..failure.clone() }
}

/// An event that is owed, until it is made from what a store knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ToTell {
    /// About a whole job.
    Job(EventKind),
    /// About those of these parts that have ended.
    Parts {
        /// The first one.
        first: u64,
        /// How many.
        len: u64,
    },
}

/// Which events are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// None.
    Nothing,
    /// Those about whole jobs.
    Jobs,
    /// Those about parts as well.
    Parts,
}

/// How a transaction tells events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Telling {
    /// It tells none.
    #[default]
    Nothing,
    /// To whoever listens in this process, once they have happened.
    Here(Told),
    /// To a broker: they are owed.
    Owed(Told),
}

impl Telling {
    /// Which events that are.
    pub const fn told(self) -> Told {
        match self {
            Self::Nothing => Told::Nothing,
            Self::Here(told) | Self::Owed(told) => told,
        }
    }
}

/// The envelope (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
#[derive(Serialize, Deserialize)]
struct Envelope {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    time: String,
    #[serde(default)]
    datacontenttype: String,
    data: Data,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    job: JobId,
    task: String,
    root: JobId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<JobId>,
    is_part: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<u64>,
    state: State,
    attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    progress: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    info: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<EndedParts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;

    #[test]
    fn every_event_reads_what_it_writes() {
        let job = Job::new(JobId::new(), "hello", Timestamp::from_millis(7));
        for (kind, code) in EventKind::ALL.into_iter().zip(0..) {
            assert_eq!((kind.code(), EventKind::from_code(code)), (code, Some(kind)));
            let mut event = Event::of(&job, kind, 3, Timestamp::from_millis(9));
            event.part = (code % 2 == 0).then_some(4);
            event.progress = Some(12.5);
            event.info = Some("half".into());
            event.parts = Some(Counts { ok: 3, failed: 2, skipped: 1, cancelled: 1, running: 0 }.into());
            event.error = Some(Failure::new(FailureKind::Task, "no"));
            assert_eq!(Event::from_json(&event.to_json()).unwrap(), event);
        }
    }

    /// What a listener of another system knows from its own documents.
    #[test]
    fn the_counts_of_parts_completed_are_named_as_elsewhere() {
        let job = Job::new(JobId::new(), "hello", Timestamp::default());
        let mut event = Event::of(&job, EventKind::PartsCompleted, 1, Timestamp::default());
        event.parts = Some(Counts { ok: 10, ..Counts::default() }.into());
        let json: serde_json::Value = serde_json::from_slice(&event.to_json()).unwrap();
        assert_eq!(json["type"], "job.parts-completed");
        let parts = serde_json::json!({ "total": 10, "completed": 10, "failed": 0, "canceled": 0 });
        assert_eq!(json["data"]["parts"], parts);
        assert_eq!(json["specversion"], "1.0");
        assert_eq!(json["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(json["data"]["isPart"], false);
    }

    #[test]
    fn what_is_no_event_says_what_is_wrong() {
        let job = Job::new(JobId::new(), "hello", Timestamp::default());
        let json = Event::of(&job, EventKind::Completed, 1, Timestamp::default()).to_json();
        let mut json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        json["data"]["state"] = "running".into();
        let error = Event::from_json(json.to_string().as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "`job.completed` in state `running`");
        json["data"]["state"] = "success".into();
        json["time"] = "yesterday".into();
        assert!(Event::from_json(json.to_string().as_bytes()).unwrap_err().to_string().starts_with("time `yesterday`"));
    }
}
