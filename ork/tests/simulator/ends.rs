//! How calls ended, as their functions have seen it: all that is known of jobs without a store.

use std::collections::{BTreeMap, BTreeSet};

use ork::JobId;

/// How a call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Return {
    /// It has failed, and is retried.
    Again,
    /// It has returned this number, or has failed for the last time.
    Last(Option<u64>),
}

/// The outcomes that were seen.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// The outcome of a job, part or join, by its idempotency key.
    last: BTreeMap<String, Option<u64>>,
    /// The followers of a job or a set of this number, with the reason of each.
    pub(crate) followed: BTreeSet<(u64, String)>,
    /// The jobs of which an attempt has failed as the store refused what its function requested.
    pub(crate) hindered: BTreeSet<JobId>,
    /// The followers that must not be submitted, and the jobs that they would follow.
    pub(crate) unwanted: BTreeMap<(u64, String), Vec<JobId>>,
}

impl Ends {
    /// Records that a call has returned for the last time.
    pub(crate) fn record(&mut self, key: &str, what: Option<u64>) {
        self.last.insert(key.to_owned(), what);
    }

    /// The result of the last call for this key, if there was one.
    pub(crate) fn of(&self, key: &str) -> Option<Return> {
        self.last.get(key).copied().map(Return::Last)
    }
}

/// Why something follows a job or a set that has succeeded, or has not.
pub(crate) const fn wanted(well: bool) -> [&'static str; 2] {
    ["always", if well { "success" } else { "failure" }]
}
