//! The document of a job: the job and the head of its ledger as JSON, which a database keeps in one column. Other
//! columns repeat the values that its queries need.

use serde::{Deserialize, Serialize};

use crate::job::{Job, State};
use crate::ledger::Head;

#[derive(Serialize)]
struct Written<'a> {
    job: &'a Job,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<&'a Head>,
}

#[derive(Deserialize)]
struct Read {
    job: Job,
    #[serde(default)]
    ledger: Head,
}

/// Returns the document of a job.
pub(super) fn write(job: &Job, head: &Head) -> String {
    let ledger = Some(head).filter(|head| **head != Head::default());
    serde_json::to_string(&Written { job, ledger }).unwrap_or_default()
}

/// Reads the document of a job.
pub(super) fn read(json: &[u8]) -> serde_json::Result<(Job, Head)> {
    serde_json::from_slice(json).map(|Read { job, ledger }| (job, ledger))
}

/// Whether a job that has not ended waits for a message: for its own, or for those of its parts or its join.
pub(super) fn waits_for_message(job: &Job, head: &Head) -> bool {
    !job.own_work_ended() && (job.state != State::Waiting || head.has_all_parts())
}
