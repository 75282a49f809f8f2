//! Jobs whose messages the broker has lost: found when their queues bring nothing, and sent again.
//!
//! A broker confirms a message, and may lose it all the same: by a policy that lets messages expire or limits a
//! queue, by an operator who purges or deletes one, with a node. The store still has the job, which waits for that
//! message. So once a queue has brought nothing for a minute, and else every ten, a sign of life asks the store for
//! jobs of its tasks that nothing is under way for. What waits unchanged at the next look, while its queue is empty,
//! is sent again. While all is well that is one more look at an index, in a transaction that is made anyway.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::engine::Engine;
use crate::id::JobId;
use crate::job::State;
use crate::ledger::PartState;
use crate::mutant::{self, Mutant};
use crate::store::{JobView, PartFilter};
use crate::tx::Resend;

/// A queue that has brought nothing for so long is idle; so long lie between two looks then.
const IDLE: Duration = Duration::from_mins(1);

/// So long lie between two looks while it brings something.
const BUSY: Duration = Duration::from_mins(10);

/// So many parts are read at once.
const PAGE: usize = 1_000;

/// What a sign of life has found.
#[derive(Debug)]
pub(super) struct Look {
    /// The tasks that were asked for.
    pub(super) tasks: Vec<String>,
    /// Their jobs that nothing is under way for.
    pub(super) found: Vec<JobId>,
}

/// Decides for which tasks the store is asked.
#[derive(Debug, Default)]
pub(super) struct Asks(HashMap<String, Timestamp>);

impl Asks {
    /// The tasks to ask for with the sign of life that is written now.
    pub(super) fn due(&mut self, engine: &Engine) -> Vec<String> {
        let is_on = mutant::is_on(Mutant::MissesLostMessages);
        if is_on || !engine.broker.needs_relay() || engine.drain.is_cancelled() {
            return Vec::new();
        }
        self.due_at(engine.clock.now(), engine.idle.tasks())
    }

    /// Of these tasks, each with the time of its last delivery, those that are due now.
    fn due_at(&mut self, now: Timestamp, mut tasks: Vec<(String, Timestamp)>) -> Vec<String> {
        tasks.retain(|(task, last)| {
            let asked = *self.0.entry(task.clone()).or_insert(now);
            let idle = *last + IDLE <= now;
            asked + (if idle { IDLE } else { BUSY }) <= now
        });
        tasks.into_iter().map(|(task, _)| task).collect()
    }

    /// Notes that the store has answered for these tasks.
    pub(super) fn asked(&mut self, tasks: &[String], now: Timestamp) {
        self.0.extend(tasks.iter().map(|task| (task.clone(), now)));
    }
}

/// How a job was seen to wait: what has changed since then is not lost.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    task: String,
    attempt: u32,
    settled: u64,
    running: u64,
    /// A digest of its open parts and their attempts, if it waits for parts and no message waits in its queue.
    open_parts: Option<u64>,
}

impl Seen {
    fn of(JobView { job, counts, .. }: &JobView, open_parts: Option<u64>) -> Self {
        let (task, attempt) = (job.task.clone(), job.attempt);
        Self { task, attempt, settled: counts.settled(), running: counts.running, open_parts }
    }
}

/// Sends again what is found twice in the same place.
pub(super) async fn send_again(engine: Arc<Engine>, mut looks: mpsc::Receiver<Look>, stop: CancellationToken) {
    let mut before: HashMap<JobId, Seen> = HashMap::new();
    while let Some(Some(Look { tasks, found })) = stop.run_until_cancelled(looks.recv()).await {
        let (asked_for, others): (HashMap<_, _>, HashMap<_, _>) =
            std::mem::take(&mut before).into_iter().partition(|(_, seen)| tasks.contains(&seen.task));
        before = others;
        let mut empty = HashMap::new();
        for id in found {
            match engine.store.job(id).await {
                Ok(Some(view)) => {
                    let is_empty = is_empty(&engine, &view.job.task, &mut empty).await;
                    let waits_for_parts = view.job.state == State::Waiting;
                    let open_parts = match (waits_for_parts, is_empty) {
                        (false, _) | (true, false) => None,
                        (true, true) => open_parts(&engine, view.job.id).await,
                    };
                    let seen = Seen::of(&view, open_parts);
                    let is_known = is_empty && (seen.open_parts.is_some() || !waits_for_parts);
                    let twice = is_known && asked_for.get(&id) == Some(&seen);
                    if !(twice && again(&engine, &view).await) {
                        before.insert(id, seen);
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, job = %id, "a job whose message may be lost cannot be looked at"),
            }
        }
    }
}

/// Whether nothing waits in the queue of a task. Each queue is asked once a look.
async fn is_empty(engine: &Engine, task: &str, known: &mut HashMap<String, bool>) -> bool {
    let Ok(queue) = engine.registry.get(task).map(|task| task.queue()) else { return false };
    if let Some(empty) = known.get(queue) {
        return *empty;
    }
    let empty = match engine.broker.waiting(queue).await {
        Ok(waiting) => waiting == Some(0),
        Err(error) => {
            tracing::debug!(%error, queue, "the broker cannot be asked how many messages wait");
            false
        }
    };
    known.insert(queue.to_owned(), empty);
    empty
}

/// A digest of the open parts of a job and of the number of attempts at each; it changes whenever a part starts or
/// ends. The counts of the job alone do not tell: a part that started after the last heartbeat of its process is not
/// yet known to run, and at the next check another attempt may be in the same position.
async fn open_parts(engine: &Engine, job: JobId) -> Option<u64> {
    if mutant::is_on(Mutant::SendsAgainUnseen) {
        return Some(0);
    }
    let (mut from, mut digest) = (0, DefaultHasher::new());
    loop {
        let states = vec![PartState::Ready, PartState::Running, PartState::Retrying];
        let page = engine.store.list_parts(job, PartFilter { states, from, limit: PAGE }).await;
        let page = page.inspect_err(|error| tracing::warn!(%error, %job, "its parts cannot be looked at"));
        let page = page.ok()?;
        for part in &page {
            (part.index, part.attempts).hash(&mut digest);
        }
        match page.last() {
            Some(last) if page.len() == PAGE => from = last.index + 1,
            _ => return Some(digest.finish()),
        }
    }
}

/// Sends a job again. Answers whether there is nothing more to see.
async fn again(engine: &Engine, JobView { job, .. }: &JobView) -> bool {
    match engine.commit(Resend { job: job.id, attempt: job.attempt, actor: engine.actor() }).await {
        Ok(true) => {
            tracing::warn!(
                job = %job.id,
                task = job.task,
                "the broker has lost what this job waits for, it is sent again: `doctor` names policies that drop messages"
            );
            true
        }
        Ok(false) => true,
        Err(error) => {
            tracing::warn!(%error, job = %job.id, "what the broker has lost cannot be sent again yet");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails on the code before: a question that was never answered counted.
    #[test]
    fn task_is_due_until_the_store_has_answered() {
        let (start, mut asks) = (Timestamp::from_millis(0), Asks::default());
        let idle = || vec![("a".to_owned(), start)];
        assert!(asks.due_at(start, idle()).is_empty());
        for _ in 0..2 {
            assert_eq!(asks.due_at(start + IDLE, idle()), ["a"]);
        }
        asks.asked(&["a".to_owned()], start + IDLE);
        assert!(asks.due_at(start + IDLE, idle()).is_empty());
        // A queue that brings something is looked at less often.
        let busy = |now| vec![("a".to_owned(), now)];
        assert!(asks.due_at(start + IDLE + IDLE, busy(start + IDLE + IDLE)).is_empty());
        assert_eq!(asks.due_at(start + IDLE + BUSY, busy(start + IDLE + BUSY)), ["a"]);
    }
}
