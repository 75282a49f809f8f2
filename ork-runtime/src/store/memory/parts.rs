//! The rows of parts: how they change, and how a page of them is listed.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::context::Progress;
use crate::ledger::{Ledger, PartProgress, SHARD_SIZE, Shard, place};
use crate::store::{PartFilter, PartRowInfo, PartStatus};
use crate::tx::PartWrite;

/// The row of a part. Its outcome is in the ledger.
#[derive(Debug, Clone, Default)]
pub(super) struct PartRow {
    pub(super) input: Option<Bytes>,
    pub(super) output: Option<Bytes>,
    pub(super) notes: PartRowInfo,
}

impl PartRow {
    pub(super) fn new(input: Bytes) -> Self {
        Self { input: Some(input), ..Self::default() }
    }

    /// Records that an attempt at the part has ended.
    pub(super) fn write(&mut self, write: PartWrite) {
        let PartWrite { attempt, ended } = write;
        self.notes = PartRowInfo { attempts: Some(attempt), ..PartRowInfo::default() };
        match ended {
            Ok(output) => (self.input, self.output) = (None, Some(output)),
            Err(failure) => self.notes.failure = Some(failure),
        }
    }

    /// Records the progress of the part. A part that has an output no longer needs it.
    pub(super) fn record(&mut self, progress: Progress) {
        if self.output.is_none() {
            self.notes.progress = Some(progress);
        }
    }
}

/// Returns a page of the parts of a job, from its ledger and the rows of its parts.
pub(super) fn page(ledger: &Ledger, rows: &BTreeMap<u64, PartRow>, filter: &PartFilter) -> Vec<PartStatus> {
    let mut found = Vec::new();
    let (appended, untouched) = (ledger.head().appended, Shard::default());
    for number in place(filter.from).0..appended.div_ceil(SHARD_SIZE) {
        if found.len() >= filter.limit {
            break;
        }
        filter.pick(ledger.shard(number).unwrap_or(&untouched), number, appended, &mut found);
    }
    let status = |part: PartProgress| {
        let notes = rows.get(&part.index).map(|row| row.notes.clone());
        PartStatus::new(part, notes.unwrap_or_default())
    };
    found.into_iter().map(status).collect()
}
