//! The document of a job: the job and the head of its ledger as JSON, which a database keeps in one column. Other
//! columns repeat the values that its queries need.

use serde::{Deserialize, Serialize};

use crate::job::Job;
use crate::ledger::Head;

#[derive(Serialize)]
struct Written<'a> {
    job: &'a Job,
    #[serde(skip_serializing_if = "is_default")]
    ledger: Head,
}

#[derive(Deserialize)]
struct Read {
    job: Job,
    #[serde(default)]
    ledger: Head,
}

/// Returns the document of a job.
pub fn write(job: &Job, head: &Head) -> String {
    serde_json::to_string(&Written { job, ledger: *head }).unwrap_or_default()
}

/// Reads the document of a job.
///
/// # Errors
/// If [`write()`] did not write it.
pub fn read(json: &[u8]) -> serde_json::Result<(Job, Head)> {
    serde_json::from_slice(json).map(|Read { job, ledger }| (job, ledger))
}

/// Whether a field has its default value, so that the document does not need it.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The form of a string that is shared.
pub(crate) mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
        text.as_deref().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<str>>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::failure::{Failure, FailureKind};
    use crate::hook::{Hooks, OnComplete, StoredHooks};
    use crate::id::{JobId, SchemaIds};
    use crate::job::role::JobRole;
    use crate::job::tree::{CancelMode, Tree};
    use crate::job::{JobKind, Phase, ReplyTo, State};
    use crate::ledger::Halt;
    use crate::policy::{OnError, Policy, Tolerate};

    #[test]
    fn new_job_has_a_short_document() {
        let job = Job::new(JobId::from_bytes([1; 16]), "one", Timestamp::from_millis(5));
        let id = job.id;
        let document = format!(
            r#"{{"job":{{"id":"{id}","root":"{id}","task":"one","kind":"job","phase":"start","state":"ready","attempt":1,"created":5}}}}"#
        );
        assert_eq!(write(&job, &Head::default()), document);
        assert_eq!(read(document.as_bytes()).unwrap(), (job, Head::default()));
    }

    #[test]
    fn every_field_survives() {
        let id = JobId::from_bytes([1; 16]);
        let time = |millis| Some(Timestamp::from_millis(millis));
        let fingerprint = "026efc0d-5269-5386-8c1e-8100806a251c".parse().ok();
        let on_complete = vec![OnComplete::new("a", Some("{\"x\": 1.0}".to_owned()))];
        let job = Job {
            root: JobId::from_bytes([2; 16]),
            parent: Some(JobId::from_bytes([3; 16])),
            kind: JobKind::Single,
            phase: Phase::Join,
            state: State::Retrying,
            attempt: 7,
            uncounted_attempts: 3,
            priority: 9,
            worker: Some("one/01020304".into()),
            started: time(6),
            ended: time(7),
            due: time(8),
            failure: Some(Failure::new(FailureKind::UnknownTask, "no\0thing")),
            reply: Some(ReplyTo { queue: "q\0".into(), correlation: "\u{1F600}".into() }),
            tree: Tree { open_children: 1, cancel_mode: Some(CancelMode::Immediate), ..Tree::default() },
            hooks: StoredHooks::new(&Hooks { part: None, on_complete }),
            role: Some(Box::new(JobRole::Step { at: 1, name: "a".into() })),
            schemas: SchemaIds { input: fingerprint, part: None },
            losses: 2,
            unique_key: Some("key\0".into()),
            ..Job::new(id, "zero\0byte", Timestamp::from_millis(5))
        };
        let head = Head {
            epoch: 4,
            appended: 1 << 32,
            sealed: Some(0),
            halted: Some(Halt::Stopped),
            cut: true,
            policy: Policy { on_error: OnError::Stop, tolerate: Tolerate::Percent(0.1) },
            has_join: true,
        };
        let document = write(&job, &head);
        assert!(!document.contains('\0'), "a text of PostgreSQL cannot hold it");
        assert_eq!(read(document.as_bytes()).unwrap(), (job, head));
        read(b"{}").unwrap_err();
    }
}
