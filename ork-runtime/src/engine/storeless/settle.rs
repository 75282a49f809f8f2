//! Claims storeless jobs, and settles them after each attempt.

use super::super::action::Action;
use super::super::claim::new_job;
use super::super::outcome::{Attempt, WorkOutcome};
use super::super::settle::{job_attempt, lost};
use super::super::work::{ClaimResult, ClaimedWork, Common, Ended, Item, NotGranted, Unsettled};
use super::super::{Done, Engine, ProcessError};
use super::outcome::next_attempt;
use super::{member, outcome, split};
use crate::clock::Timestamp;
use crate::job::{AttemptOutcome, Job, JobClaim};
use crate::mutant::{self, Mutant};

/// Claims a storeless job, of which only its message is known. Every redelivery counts as a loss, as no store records
/// the calls.
pub(in super::super) fn claim(engine: &Engine, item: &Item) -> ClaimResult {
    let mut job = new_job(engine, &item.message).job;
    job.attempt = item.message.attempt;
    job.losses = item.redelivered;
    let phase = item.message.kind.phase();
    match job.claim(phase, job.attempt, &engine.worker.to_string(), engine.clock.now()) {
        JobClaim::Granted => Ok(ClaimedWork::Job { job: Box::new(job), permit: None }),
        JobClaim::Ended | JobClaim::Stale => Err(NotGranted::Declined),
    }
}

/// Ends an attempt at storeless work, and settles its delivery. If another attempt follows, this waits until it is due
/// and returns the item: no other process knows of the attempt, so this one makes it.
pub(in super::super) async fn settle(engine: &Engine, common: &Common, ended: Ended) -> Option<Unsettled> {
    let Ended { item, claimed, outcome } = ended;
    let (attempt, mut job) = match (outcome, claimed) {
        (Err(error), _) => return Some(Unsettled::Failed(item, error)),
        (Ok(WorkOutcome::Attempted(attempt)), ClaimedWork::Job { job, .. }) => (attempt, job),
        (Ok(outcome), _) => {
            // Nothing is left to record; a part was recorded in its part queue.
            let done = if let WorkOutcome::Recorded(done) = outcome { done } else { Done::Settled };
            item.settle(engine, done).await;
            return None;
        }
    };
    let done = match end_job(engine, common, &item, &mut job, attempt).await {
        Ok(JobStep::Settled(done)) => done,
        Ok(JobStep::RetryAt(due)) => tokio::select! {
            biased;
            () = engine.force.cancelled() => Done::Interrupted,
            () = engine.clock.pause_until(due) => {
                next_attempt(engine, &mut job, common.action.phase());
                return Some(Unsettled::Again(item, ClaimedWork::Job { job, permit: None }));
            }
        },
        Err(error) => return Some(Unsettled::Failed(item, error)),
    };
    item.settle(engine, done).await;
    None
}

/// The step that follows an attempt at a storeless job.
enum JobStep {
    /// The delivery is done.
    Settled(Done),
    /// The next attempt is due at this time.
    RetryAt(Timestamp),
}

/// Ends an attempt at a storeless job, and sends what follows the job if that was the last one.
async fn end_job(
    engine: &Engine,
    common: &Common,
    item: &Item,
    job: &mut Job,
    attempt: Attempt,
) -> Result<JobStep, ProcessError> {
    let phase = common.action.phase();
    let (how, output, done) = match attempt {
        Attempt::Lost(times) => {
            let failure = lost(times);
            let done = Done::Exhausted(failure.message.clone());
            // Parts that were sent before the last loss are dropped.
            if common.action == Action::Split && !split::forget(engine, &common.task, job).await {
                return Ok(JobStep::Settled(Done::Interrupted));
            }
            (AttemptOutcome::Failed { failure, retry_at: None }, None, done)
        }
        Attempt::Called(called, _) => job_attempt(engine, job, common.def(), phase, None, called),
    };
    let is_lost = matches!(done, Done::Exhausted(_));
    match outcome::end_attempt(engine, job, phase, how, output.clone()).await {
        Ok(Some(due)) => return Ok(JobStep::RetryAt(due)),
        Ok(None) => {}
        // No other process knows the outcome: if it was not sent, the message is delivered again.
        Err(_interrupted) => return Ok(JobStep::Settled(Done::Interrupted)),
    }
    if is_lost && mutant::is_on(Mutant::FollowsNothingLost) {
        return Ok(JobStep::Settled(done));
    }
    member::follow(engine, item, job, output, done).await.map(JobStep::Settled)
}
