//! Jobs whose messages the broker has lost: found when their queues bring nothing, and sent again.
//!
//! A broker confirms a message, and may lose it all the same: by a policy that lets messages expire or limits a queue, by
//! an operator who purges or deletes one, with a node. The store still has the job, which waits for that message. So once
//! a queue has brought nothing for a minute, the next sign of life asks the store for jobs of its tasks that nothing is
//! under way for. What waits unchanged a minute later, while its queue is empty, is sent again. All that costs nothing
//! while work comes, and one more look at an index in a transaction that is made anyway while none does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::accounting::Resend;
use crate::clock::Timestamp;
use crate::engine::Engine;
use crate::id::JobId;
use crate::store::JobView;

/// A queue that has brought nothing for so long is idle; so long lie between two looks at the same job.
const IDLE: Duration = Duration::from_mins(1);

/// Decides with which signs of life the store is asked.
#[derive(Debug, Default)]
pub(super) struct Asks {
    last: Option<Timestamp>,
}

impl Asks {
    /// The tasks to ask for with the sign of life that is written now.
    pub(super) fn idle(&mut self, engine: &Engine) -> Vec<String> {
        let now = engine.clock.now();
        let again = self.last.is_none_or(|last| last + IDLE <= now);
        if !again || !engine.broker.needs_relay() || engine.drain.is_cancelled() {
            return Vec::new();
        }
        let idle = engine.idle.tasks(IDLE, now);
        if !idle.is_empty() {
            self.last = Some(now);
        }
        idle
    }
}

/// How a job was seen to wait: what has changed since then is not lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    attempt: u32,
    settled: u64,
    running: u64,
}

/// Sends again what is found twice in the same place.
pub(super) async fn send_again(engine: Arc<Engine>, mut found: mpsc::Receiver<Vec<JobId>>, stop: CancellationToken) {
    let mut before: HashMap<JobId, Seen> = HashMap::new();
    while let Some(Some(jobs)) = stop.run_until_cancelled(found.recv()).await {
        let mut now = HashMap::new();
        for id in jobs {
            match engine.store.job(id).await {
                Ok(Some(view)) => {
                    let JobView { job, counts, .. } = &view;
                    let seen = Seen { attempt: job.attempt, settled: counts.settled(), running: counts.running };
                    if before.get(&id) != Some(&seen) || !again(&engine, &view).await {
                        now.insert(id, seen);
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, job = %id, "a job whose message may be lost cannot be looked at"),
            }
        }
        before = now;
    }
}

/// Sends it again if its queue is empty. Answers whether there is nothing more to see.
async fn again(engine: &Engine, JobView { job, .. }: &JobView) -> bool {
    let Ok(task) = engine.registry.get(&job.task) else { return true };
    match engine.broker.waiting(task.queue()).await {
        Ok(Some(0)) => {}
        Ok(_) => return false,
        Err(error) => {
            tracing::debug!(%error, queue = task.queue(), "the broker cannot be asked how many messages wait");
            return false;
        }
    }
    match engine.store.apply(Resend { job: job.id, attempt: job.attempt, by: engine.by() }).await {
        Ok(Some(owed)) => {
            tracing::warn!(
                job = %job.id,
                task = job.task,
                queue = engine.broker.queue(task.queue()),
                "the broker has lost what this job waits for, it is sent again: `doctor` names policies that drop messages"
            );
            engine.outbox.send(owed).await;
            true
        }
        Ok(None) => true,
        Err(error) => {
            tracing::warn!(%error, job = %job.id, "what the broker has lost cannot be sent again yet");
            false
        }
    }
}
