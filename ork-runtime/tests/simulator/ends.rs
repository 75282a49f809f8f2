//! How calls ended, by what the functions themselves have seen: all that is known of jobs that no store keeps.

use std::collections::{BTreeMap, BTreeSet};

use ork::JobId;

/// How a call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Return {
    /// It has failed, and is tried again.
    Again,
    /// With this number, or not well.
    Last(Option<u64>),
}

/// The ends that were seen.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// What a job, part or join has come to, by its idempotency key.
    last: BTreeMap<String, Option<u64>>,
    /// What has followed a job or a set of this number, and why.
    pub(crate) followed: BTreeSet<(u64, String)>,
    /// What must not follow, and the jobs that it would follow.
    pub(crate) unwanted: BTreeMap<(u64, String), Vec<JobId>>,
}

impl Ends {
    /// A call has returned for the last time.
    pub(crate) fn came_to(&mut self, key: &str, what: Option<u64>) {
        self.last.insert(key.to_owned(), what);
    }

    /// What the last call for this key returned, if there was one.
    pub(crate) fn of(&self, key: &str) -> Option<Return> {
        self.last.get(key).copied().map(Return::Last)
    }
}

/// Why something follows a job or a set that has ended well, or not.
pub(crate) const fn wanted(well: bool) -> [&'static str; 2] {
    ["always", if well { "success" } else { "failure" }]
}
