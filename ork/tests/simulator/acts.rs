//! What clients do: they submit jobs, cancel and retry them, and wait for their outcomes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use ork::{CancelMode, ClientError, FailureKind, Handle, JobId, JobState, Ork, Unique};

use super::client::{Answer, Submitted};
use super::expected::Expected;
use super::flows;
use super::limits::keyed;
use super::names::Property;
use super::tasks::{Script, blocking, itself, many_part, narrow, next, plain, timed, trunk};
use super::versions::{newer, older};
use super::workload::{Act, Job};
use super::world::World;

pub(crate) fn id_of<M>(submitted: Result<Handle<M>, ClientError>) -> Result<JobId, ClientError> {
    submitted.map(|handle| handle.id())
}

impl World {
    /// Waits until a worker has claimed a job, or until this moment.
    pub(crate) async fn claimed(self: &Arc<Self>, number: u64, until: u64) {
        let until = self.executor.sleep(until.saturating_sub(self.executor.now()));
        let claimed = async {
            loop {
                let claimed = self.clients.claimed.notified();
                let id = self.clients.id(number);
                let job = id.and_then(|id| self.truth(|tables| tables.job(id)));
                if job.is_some_and(|view| view.job.state == JobState::Running) {
                    return;
                }
                claimed.await;
            }
        };
        tokio::select! {
            biased;
            () = claimed => {}
            () = until => {}
        }
    }

    pub(crate) async fn control(self: &Arc<Self>, ork: &Ork, act: Act) {
        if let Act::Why(number) = act {
            let id = self.clients.id(number);
            if let Some(id) = id {
                self.ask_why(ork, id).await;
            }
            return;
        }
        if let Act::Pause(number, lasts) = act {
            return self.pause_schedule(ork, number, lasts).await;
        }
        if let Act::RetryPart(number, index) = act {
            return self.retry_part(ork, number, index).await;
        }
        let (Act::Cancel(number) | Act::CancelClaimed(number) | Act::Interrupt(number) | Act::Retry(number)) = act
        else {
            return;
        };
        let Some(id) = self.clients.control(number) else { return };
        if let Act::Retry(_) = act {
            self.oracle(|oracle| oracle.retried.insert(id));
        }
        let (what, done) = match act {
            Act::Cancel(_) | Act::CancelClaimed(_) => ("cancels", ork.cancel(id, CancelMode::Immediate).await),
            Act::Interrupt(_) => ("interrupts", ork.cancel(id, CancelMode::Graceful).await),
            _ => {
                let retry = (self.executor.polled(), id, None);
                self.clients.retries.lock().unwrap().push(retry);
                let done = ork.retry(id).await;
                self.end_retry(retry);
                ("retries", done)
            }
        };
        let done = done.map_or_else(|detail| format!("refused: {detail}"), |_done| "done".to_owned());
        self.note(self.executor.polled(), format_args!("client {what} {id}: {done}"));
    }

    pub(crate) async fn submit(self: &Arc<Self>, ork: &Ork, number: u64, job: Job) {
        if let Job::Asked(script) = job {
            return self.ask(ork, number, script).await;
        }
        // A client that died has written down what it had submitted.
        let known = self.clients.id(number);
        let id = loop {
            if known.is_some() {
                break known;
            }
            let since = self.executor.now();
            self.clients.tries(number);
            let sent = self.send(ork, number, job.clone()).await;
            match sent {
                Ok(id) => break Some(id),
                Err(ClientError::KeyTaken { by, .. }) => {
                    let is_open = self.truth(|tables| tables.job(by)).is_some_and(|view| !view.job.state.is_final());
                    let ended = self.oracle(|oracle| oracle.ended.get(&by).copied());
                    if !is_open && ended.is_none_or(|ended| ended < since) {
                        self.oracle(|oracle| {
                            oracle.report(
                                Property::Unique,
                                format!("{by} is reported as the holder of the key, and is not"),
                            );
                        });
                    }
                    break None;
                }
                // The job that it was to follow is gone.
                Err(ClientError::Rejected(_)) => break None,
                // A refused submission was not made, unless the reply to it was lost.
                Err(_refused) => self.executor.sleep(500_000).await,
            }
        };
        let Some(id) = id else { return self.record_answer(number, Answer::NotTaken) };
        self.names(id, number);
        let word = if known.is_some() { "had" } else { "has" };
        self.note(self.executor.polled(), format_args!("client {word} submitted {id}"));
        self.clients.submitted.lock().unwrap().entry(number).or_default().id = Some(id);
        let since = self.executor.now();
        if number.is_multiple_of(3) {
            self.follow(ork, id).await;
        }
        let outcome = loop {
            match ork.wait(id).await {
                Ok(outcome) => break outcome,
                Err(ClientError::JobNotFound { .. }) => {
                    let (now, kept) = (self.executor.now(), self.scenario.retention * 1_000_000);
                    self.oracle(|oracle| oracle.removed(id, kept, now));
                    return self.record_answer(number, Answer::Removed);
                }
                Err(_refused) => self.executor.sleep(500_000).await,
            }
        };
        let now = self.executor.now();
        self.note(self.executor.polled(), format_args!("client learns that {id} is {}", outcome.status().state));
        self.oracle(|oracle| oracle.client_learns(self.executor.polled(), id, since, now));
        self.record_answer(number, Answer::Ended(Box::new(outcome)));
    }

    /// Submits a job once.
    pub(crate) async fn send(self: &Arc<Self>, ork: &Ork, number: u64, job: Job) -> Result<JobId, ClientError> {
        match job {
            Job::Asked(script) | Job::Plain(script) => id_of(ork.submit(plain { script }).await),
            // The messages of its parts come from other programs.
            Job::Set(_) => Err(ClientError::Rejected("a set is not submitted".to_owned())),
            Job::Itself(scripts) => id_of(ork.submit(itself { scripts }).await),
            Job::Follower(of, script) => {
                let after = self.clients.known(&of);
                let submission = ork.submit(plain { script });
                let submission = after.iter().fold(submission, |submission, id| submission.after(*id));
                let id = id_of(submission.await);
                if let Ok(id) = id {
                    self.oracle(|oracle| oracle.follows.insert(id, after));
                }
                id
            }
            Job::Hooked(script) => {
                let follower = |when: &str| next { of: number, when: when.to_owned() };
                let submission = ork.submit(plain { script }).on_complete(follower("always"));
                let submission = submission.on_success(follower("success"));
                id_of(submission.on_failure(follower("failure")).await)
            }
            Job::Blocking(script) => id_of(ork.submit(blocking { script }).await),
            Job::Narrow(script) => id_of(ork.submit(narrow { script }).await),
            Job::Timed(script) => id_of(ork.submit(timed { script }).await),
            Job::Takeover(key, after, script) => {
                let key = Unique::new(format!("key {key}")).stale_after(Duration::from_millis(after));
                id_of(ork.submit(plain { script }).unique(key).await)
            }
            Job::Keyed(of, script) => id_of(ork.submit(keyed { of, script }).await),
            Job::Versioned(script) => {
                if self.scenario.is_newer(&Act::Submit(number, Job::Versioned(script.clone()))) {
                    id_of(ork.submit(newer::versioned { script, weight: "1 kg".to_owned() }).await)
                } else {
                    id_of(ork.submit(older::versioned { script, weight: Some(1) }).await)
                }
            }
            Job::Together(scripts) => self.send_all(ork, number, scripts).await,
            Job::Many(scripts) => id_of(ork.submit(many_part { scripts }).await),
            Job::Tree(script, below) => id_of(ork.submit(trunk { script, below }).await),
            Job::Flow(tasks) => id_of(ork.workflows().submit(&flows::plan(number, &tasks)).await),
            Job::Unique(key, script) => id_of(ork.submit(plain { script }).unique(format!("key {key}")).await),
        }
    }

    /// Follows the status of a job to its end: it must never go back to an older one.
    async fn follow(self: &Arc<Self>, ork: &Ork, id: JobId) {
        let mut statuses = std::pin::pin!(ork.watch(id));
        // Each status was read after the one before had arrived.
        let (mut last, mut read_after, mut next_after) = ((0, 0), 0, self.executor.now());
        while let Some(Ok(status)) = statuses.next().await {
            let place = (status.attempt, status.parts.settled());
            let reopened_at = self.oracle(|oracle| oracle.reopened_at(id));
            if place < last && reopened_at.is_none_or(|reopened_at| reopened_at < read_after) {
                let detail = format!("{id} was seen at attempt, parts {last:?}, then at {place:?}");
                self.oracle(|oracle| oracle.report(Property::Order, detail));
            }
            (last, read_after, next_after) = (place, next_after, self.executor.now());
        }
    }

    /// Submits a job and waits for its reply, over the broker or the store.
    async fn ask(self: &Arc<Self>, ork: &Ork, number: u64, script: Script) {
        let expected = Job::Asked(script.clone()).expected();
        let answer = loop {
            match ork.submit(plain { script: script.clone() }).result().await {
                Ok(output) => break Expected::Success(Some(output)),
                Err(ClientError::Failed { failure, .. })
                    if failure.kind == FailureKind::Lost
                        && self.oracle(|oracle| oracle.has_deaths_beyond(self.scenario.most_losses())) =>
                {
                    break expected.clone();
                }
                Err(ClientError::Failed { .. }) => break Expected::Failed,
                Err(ClientError::JobNotFound { .. }) if self.scenario.retention > 0 => break expected.clone(),
                Err(_refused) => self.executor.sleep(500_000).await,
            }
        };
        if answer != expected {
            let detail = format!("a client received {answer:?} for job {number}, not {expected:?}");
            self.oracle(|oracle| oracle.report(Property::Client, detail));
        }
        self.record_answer(number, Answer::NotTaken);
    }

    /// Whether the outcome of a run may differ from what its scripts say.
    pub(crate) fn is_disturbed(&self, number: u64) -> bool {
        let is_controlled = |job: &Submitted| job.controlled;
        let has_lost = self.oracle(|oracle| oracle.has_deaths_beyond(self.scenario.most_losses()));
        has_lost || self.clients.submitted.lock().unwrap().get(&number).is_some_and(is_controlled)
    }

    fn record_answer(&self, number: u64, answer: Answer) {
        self.clients.submitted.lock().unwrap().entry(number).or_default().outcome = Some(answer);
    }
}
