//! Resends the messages of unattended jobs: jobs whose messages the broker has lost.
//!
//! A broker may lose a message that it has confirmed: because of a policy that expires messages or limits the length
//! of a queue, because an operator purges or deletes the queue, or with a failed node. The store still has the job,
//! which waits for that message. Therefore a heartbeat queries the store for jobs without a message in flight: each
//! minute for the tasks of a queue that has delivered nothing for a minute, otherwise every ten minutes. A job that
//! waits unchanged at the next look, while its queue is empty, is sent again. If no message is lost, this costs one
//! index lookup in a transaction that is made anyway.

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

/// A queue is idle if it has delivered nothing for this long. Also the time between two looks at an idle queue.
const IDLE: Duration = Duration::from_mins(1);

/// The time between two looks at a queue that is not idle.
const BUSY: Duration = Duration::from_mins(10);

/// The number of parts that are read at once.
const PAGE: usize = 1_000;

/// The jobs that a heartbeat has found to be unattended.
#[derive(Debug)]
pub(super) struct Look {
    /// The tasks that the heartbeat queried.
    pub(super) tasks: Vec<String>,
    /// The jobs of these tasks that have no message in flight.
    pub(super) found: Vec<JobId>,
}

/// Decides which tasks a heartbeat queries: for each task, the time of the last answer of the store.
#[derive(Debug, Default)]
pub(super) struct LookSchedule(HashMap<String, Timestamp>);

impl LookSchedule {
    /// Returns the tasks to ask for with the heartbeat that is about to be written.
    pub(super) fn due(&mut self, engine: &Engine) -> Vec<String> {
        let is_on = mutant::is_on(Mutant::MissesLostMessages);
        if is_on || !engine.broker.needs_relay() || engine.drain.is_cancelled() {
            return Vec::new();
        }
        self.due_at(engine.clock.now(), engine.idle.tasks())
    }

    /// Returns the tasks that are due now. Each of the given tasks comes with the time of its last delivery.
    fn due_at(&mut self, now: Timestamp, mut tasks: Vec<(String, Timestamp)>) -> Vec<String> {
        tasks.retain(|(task, last)| {
            let last_answer = *self.0.entry(task.clone()).or_insert(now);
            let idle = *last + IDLE <= now;
            last_answer + (if idle { IDLE } else { BUSY }) <= now
        });
        tasks.into_iter().map(|(task, _)| task).collect()
    }

    /// Records that the store has answered for these tasks.
    pub(super) fn answered(&mut self, tasks: &[String], now: Timestamp) {
        self.0.extend(tasks.iter().map(|task| (task.clone(), now)));
    }
}

/// The state of a waiting job at a look. If it has changed by the next look, no message of the job was lost.
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

/// Resends the messages of jobs that are found in the same state by two successive looks.
pub(super) async fn resend_lost(engine: Arc<Engine>, mut looks: mpsc::Receiver<Look>, stop: CancellationToken) {
    let mut before: HashMap<JobId, Seen> = HashMap::new();
    while let Some(Some(Look { tasks, found })) = stop.run_until_cancelled(looks.recv()).await {
        let (examined, not_examined): (HashMap<_, _>, HashMap<_, _>) =
            std::mem::take(&mut before).into_iter().partition(|(_, seen)| tasks.contains(&seen.task));
        before = not_examined;
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
                    let twice = is_known && examined.get(&id) == Some(&seen);
                    if !(twice && resend(&engine, &view).await) {
                        before.insert(id, seen);
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, job = %id, "cannot check a job whose message may be lost"),
            }
        }
    }
}

/// Whether no message waits in the queue of a task. The broker is queried once for each queue and look.
async fn is_empty(engine: &Engine, task: &str, known: &mut HashMap<String, bool>) -> bool {
    let Ok(queue) = engine.registry.get(task).map(|task| task.queue()) else { return false };
    if let Some(empty) = known.get(queue) {
        return *empty;
    }
    let empty = match engine.broker.waiting(queue).await {
        Ok(waiting) => waiting == Some(0),
        Err(error) => {
            tracing::debug!(%error, queue, "cannot read the number of waiting messages from the broker");
            mutant::is_on(Mutant::TakesUnknownForEmpty)
        }
    };
    known.insert(queue.to_owned(), empty);
    empty
}

/// Returns a digest of the open parts of a job and of the number of attempts at each. It changes whenever a part starts
/// or ends. The counts of the job are not enough: a part that started after the last heartbeat of its process is not
/// yet recorded as running, and at the next look another attempt may be in the same state.
async fn open_parts(engine: &Engine, job: JobId) -> Option<u64> {
    if mutant::is_on(Mutant::SendsAgainUnseen) {
        return Some(0);
    }
    let (mut from, mut digest) = (0, DefaultHasher::new());
    loop {
        let states = vec![PartState::Ready, PartState::Running, PartState::Retrying];
        let page = engine.store.list_parts(job, PartFilter { states, from, limit: PAGE }).await;
        let page = page.inspect_err(|error| tracing::warn!(%error, %job, "cannot read the parts of a job"));
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

/// Sends the message of a job again. Returns whether the job needs no further look.
async fn resend(engine: &Engine, JobView { job, .. }: &JobView) -> bool {
    match engine.commit(Resend { job: job.id, attempt: job.attempt, actor: engine.actor() }).await {
        Ok(true) => {
            tracing::warn!(
                job = %job.id,
                task = job.task,
                "the broker lost a message of this job, sending it again; `doctor` reports policies that drop messages"
            );
            true
        }
        Ok(false) => true,
        Err(error) => {
            tracing::warn!(%error, job = %job.id, "cannot resend a lost message yet");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression test: a request that was never answered used to count as an answer.
    #[test]
    fn task_is_due_until_the_store_has_answered() {
        let (start, mut schedule) = (Timestamp::from_millis(0), LookSchedule::default());
        let idle = || vec![("a".to_owned(), start)];
        assert!(schedule.due_at(start, idle()).is_empty());
        for _ in 0..2 {
            assert_eq!(schedule.due_at(start + IDLE, idle()), ["a"]);
        }
        schedule.answered(&["a".to_owned()], start + IDLE);
        assert!(schedule.due_at(start + IDLE, idle()).is_empty());
        // A queue that delivers messages is checked less often.
        let busy = |now| vec![("a".to_owned(), now)];
        assert!(schedule.due_at(start + IDLE + IDLE, busy(start + IDLE + IDLE)).is_empty());
        assert_eq!(schedule.due_at(start + IDLE + BUSY, busy(start + IDLE + BUSY)), ["a"]);
    }
}
