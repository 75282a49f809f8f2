//! Jobs that follow several others: which of those have not ended.

use std::collections::BTreeSet;

use crate::id::JobId;

/// Which job follows which others that have not ended. It is kept in both directions, so that either is found at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Follows {
    /// A job that has not ended, and one that follows it.
    followers: BTreeSet<(JobId, JobId)>,
    /// A job, and one that it follows.
    followed: BTreeSet<(JobId, JobId)>,
}

impl Follows {
    /// Notes which jobs new ones follow: each with its follower.
    pub(super) fn insert(&mut self, followed: Vec<(JobId, JobId)>) {
        for (job, follower) in followed {
            self.followers.insert((job, follower));
            self.followed.insert((follower, job));
        }
    }

    /// A job has ended. Answers the jobs that followed it as the last one that had not.
    pub(super) fn end(&mut self, job: JobId) -> Vec<JobId> {
        let followers = of(&self.followers, job);
        for follower in &followers {
            self.followers.remove(&(job, *follower));
            self.followed.remove(&(*follower, job));
        }
        followers.into_iter().filter(|follower| self.of(*follower).is_empty()).collect()
    }

    /// The jobs that a job follows and that have not ended.
    pub(super) fn of(&self, follower: JobId) -> Vec<JobId> {
        of(&self.followed, follower)
    }
}

/// The second of each pair whose first is this.
fn of(pairs: &BTreeSet<(JobId, JobId)>, first: JobId) -> Vec<JobId> {
    let (least, most) = (JobId::from_bytes([0; 16]), JobId::from_bytes([u8::MAX; 16]));
    pairs.range((first, least)..=(first, most)).map(|(_, second)| *second).collect()
}
