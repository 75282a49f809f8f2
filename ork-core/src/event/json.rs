//! The JSON form of an event, for writing and reading: a `CloudEvents` 1.0 envelope in structured mode.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{EndedParts, Event, EventKind, EventSubject};
use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::State;

/// The `CloudEvents` envelope (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
#[derive(Serialize, Deserialize, JsonSchema)]
struct Envelope {
    #[schemars(extend("const" = "1.0"))]
    specversion: String,
    /// The id of the event, which is the same each time the event is published.
    id: String,
    source: String,
    /// The type of the event, which is also the routing key.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = EventKind::names()))]
    kind: String,
    /// The job, or `JOB.INDEX` for a part.
    subject: String,
    #[schemars(extend("format" = "date-time"))]
    time: String,
    #[serde(default)]
    datacontenttype: String,
    data: Data,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OrkEventData")]
struct Data {
    job: JobId,
    task: String,
    /// The root of the job's tree, which a client submitted.
    root: JobId,
    /// The job that submitted this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<JobId>,
    is_part: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<u64>,
    state: State,
    attempt: u32,
    /// The progress in percent, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    progress: Option<f64>,
    /// A text that describes the progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    info: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<EndedParts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

impl JsonSchema for Event {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("OrkEvent")
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Envelope::json_schema(generator)
    }
}

impl Event {
    /// Returns the event as JSON: a `CloudEvents` 1.0 envelope in structured mode.
    ///
    /// ```
    /// # let json = br#"{"specversion":"1.0","id":"a/created/0","source":"/ork","type":"job.created","subject":"a","time":"2026-01-15T00:00:00.000Z","data":{"job":"0190a6a8-7d5f-7c3a-9b1e-3f1d2c4b5a69","task":"hello","root":"0190a6a8-7d5f-7c3a-9b1e-3f1d2c4b5a69","isPart":false,"state":"ready","attempt":1}}"#;
    /// let event = ork_core::event::Event::from_json(json)?;
    /// assert_eq!((event.kind, &*event.task), (ork_core::event::EventKind::Created, "hello"));
    /// assert_eq!(ork_core::event::Event::from_json(&event.to_json())?, event);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn to_json(&self) -> Vec<u8> {
        let Self { kind, id, time, job, part, root, parent, task, attempt, progress, info, parts, error } =
            self.clone();
        let about = EventSubject { job, part, root, parent, task, attempt };
        let subject = about.subject();
        let EventSubject { task, .. } = about;
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

    /// Reads an event from JSON.
    ///
    /// # Errors
    /// If the JSON is not an event of ork.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;
    use crate::job::Job;
    use crate::ledger::Counts;

    #[test]
    fn every_event_kind_round_trips_as_json() {
        let job = Job::new(JobId::new(), "hello", Timestamp::from_millis(7));
        for (kind, code) in EventKind::ALL.into_iter().zip(0..) {
            assert_eq!((kind.code(), EventKind::from_code(code)), (code, Some(kind)));
            let mut event = Event::of(&job, kind, 3, Timestamp::from_millis(9));
            event.part = (code % 2 == 0).then_some(4);
            event.progress = Some(12.5);
            event.info = Some("half".into());
            event.parts = Some(Counts { succeeded: 3, failed: 2, skipped: 1, cancelled: 1, running: 0 }.into());
            event.error = Some(Failure::new(FailureKind::Task, "no"));
            assert_eq!(Event::from_json(&event.to_json()).unwrap(), event);
        }
    }

    /// Listeners in other systems rely on these names.
    #[test]
    fn parts_completed_event_uses_the_documented_field_names() {
        let job = Job::new(JobId::new(), "hello", Timestamp::default());
        let mut event = Event::of(&job, EventKind::PartsCompleted, 1, Timestamp::default());
        event.parts = Some(Counts { succeeded: 10, ..Counts::default() }.into());
        let json: serde_json::Value = serde_json::from_slice(&event.to_json()).unwrap();
        assert_eq!(json["type"], "job.parts-completed");
        let parts = serde_json::json!({ "total": 10, "completed": 10, "failed": 0, "canceled": 0 });
        assert_eq!(json["data"]["parts"], parts);
        assert_eq!(json["specversion"], "1.0");
        assert_eq!(json["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(json["data"]["isPart"], false);
    }

    #[test]
    fn invalid_events_are_rejected_with_the_reason() {
        let job = Job::new(JobId::new(), "hello", Timestamp::default());
        let json = Event::of(&job, EventKind::Succeeded, 1, Timestamp::default()).to_json();
        let mut json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        json["data"]["state"] = "running".into();
        let error = Event::from_json(json.to_string().as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "`job.completed` in state `running`");
        json["data"]["state"] = "succeeded".into();
        json["time"] = "yesterday".into();
        assert!(Event::from_json(json.to_string().as_bytes()).unwrap_err().to_string().starts_with("time `yesterday`"));
    }
}
