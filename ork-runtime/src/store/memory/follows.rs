//! The jobs that follow several other jobs, and which of those have not ended.

use std::collections::BTreeSet;

use crate::id::JobId;

/// Pairs of a job that has not ended and a job that follows it. Both directions are indexed, so that each can be
/// looked up at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Follows {
    /// Pairs of a job that has not ended and one that follows it.
    followers: BTreeSet<(JobId, JobId)>,
    /// The reverse: pairs of a job and one that it follows.
    followed: BTreeSet<(JobId, JobId)>,
}

impl Follows {
    /// Records what new jobs follow: pairs of a followed job and its follower.
    pub(super) fn insert(&mut self, followed: Vec<(JobId, JobId)>) {
        for (job, follower) in followed {
            self.followers.insert((job, follower));
            self.followed.insert((follower, job));
        }
    }

    /// Records the end of a job. Returns the followers for which it was the last job to end.
    pub(super) fn end(&mut self, job: JobId) -> Vec<JobId> {
        let followers = of(&self.followers, job);
        for follower in &followers {
            self.followers.remove(&(job, *follower));
            self.followed.remove(&(*follower, job));
        }
        followers.into_iter().filter(|follower| self.of(*follower).is_empty()).collect()
    }

    /// Returns the jobs that a job follows and that have not ended.
    pub(super) fn of(&self, follower: JobId) -> Vec<JobId> {
        of(&self.followed, follower)
    }
}

/// Returns the second job of each pair that starts with `first`.
fn of(pairs: &BTreeSet<(JobId, JobId)>, first: JobId) -> Vec<JobId> {
    let (least, most) = (JobId::from_bytes([0; 16]), JobId::from_bytes([u8::MAX; 16]));
    pairs.range((first, least)..=(first, most)).map(|(_, second)| *second).collect()
}
