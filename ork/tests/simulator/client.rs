//! A client that lives as long as the run: it submits jobs, cancels and retries them, and waits for their outcomes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use ork::{CancelMode, ClientError, FailureKind, Filter, Handle, JobId, JobOutcome, JobState, Ork};
use ork_ports::store::PendingOutbox;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::clock::ProcessClock;
use super::ends::wanted;
use super::executor::{Executor, Owner};
use super::expected::Expected;
use super::flows;
use super::names::{Property, Reached};
use super::tasks::{Script, blocking, itself, many_part, narrow, next, plain, timed, trunk};
use super::workload::{Act, Job};
use super::world::World;

/// The state of each submission.
#[derive(Debug, Clone, Default)]
struct Submitted {
    id: Option<JobId>,
    /// Whether the client has cancelled it, in either way, or retried it.
    controlled: bool,
    outcome: Option<Answer>,
    narrow: bool,
}

/// The final state of a job, as the client knows it.
#[derive(Debug, Clone)]
enum Answer {
    NotTaken,
    /// Retention has removed it.
    Removed,
    Ended(Box<JobOutcome>),
}

#[derive(Debug)]
pub(crate) struct Client {
    clock: Arc<ProcessClock>,
    owner: Mutex<Owner>,
    ork: Mutex<Option<Arc<Ork>>>,
    submitted: Mutex<BTreeMap<u64, Submitted>>,
    /// Notified after each transaction.
    pub(crate) claimed: Notify,
    /// How many acts have not ended.
    left: Mutex<usize>,
    /// Fires when all has ended but schedules and the jobs that they start.
    calm: CancellationToken,
}

impl Client {
    pub(crate) fn new(executor: &Arc<Executor>) -> Self {
        let clock = ProcessClock::new(executor, 0, 0);
        Self {
            clock,
            owner: Mutex::new(Owner::WORLD),
            ork: Mutex::default(),
            submitted: Mutex::default(),
            claimed: Notify::new(),
            left: Mutex::new(usize::MAX),
            calm: CancellationToken::new(),
        }
    }

    pub(crate) fn owner(&self) -> Owner {
        *self.owner.lock().unwrap()
    }

    pub(crate) fn is_done(&self) -> bool {
        *self.left.lock().unwrap() == 0
    }

    /// Fires `calm` once only this many acts are left, the schedules, which wait for that.
    pub(crate) fn check_calm(&self, schedules: usize) {
        if *self.left.lock().unwrap() <= schedules {
            self.calm.cancel();
        }
    }

    pub(crate) async fn others_ended(&self) {
        self.calm.cancelled().await;
    }

    pub(crate) fn forget(&self) {
        let ork = self.ork.lock().unwrap().take();
        drop(ork);
    }

    /// The jobs of the task `narrow`, of which two may run at once.
    pub(crate) fn narrow(&self) -> Vec<JobId> {
        let submitted = self.submitted.lock().unwrap();
        submitted.values().filter(|job| job.narrow && job.outcome.is_none()).filter_map(|job| job.id).collect()
    }

    /// The ids of those of these submissions that have one.
    fn known(&self, numbers: &[u64]) -> Vec<JobId> {
        let submitted = self.submitted.lock().unwrap();
        let ids: BTreeSet<_> = numbers.iter().filter_map(|number| submitted.get(number)?.id).collect();
        ids.into_iter().collect()
    }

    /// Marks a submission as controlled by the client, and returns the id of its job, once it has one.
    fn control(&self, number: u64) -> Option<JobId> {
        let mut submitted = self.submitted.lock().unwrap();
        let job = submitted.entry(number).or_default();
        job.controlled = true;
        job.id
    }
}

pub(crate) fn id_of<M>(submitted: Result<Handle<M>, ClientError>) -> Result<JobId, ClientError> {
    submitted.map(|handle| handle.id())
}

impl World {
    pub(crate) fn start_client(self: &Arc<Self>) {
        let owner = self.owner();
        *self.client.owner.lock().unwrap() = owner;
        self.oracle(|oracle| oracle.clients.insert(owner));
        self.note(owner, format_args!("starts as the client"));
        let world = Arc::clone(self);
        *self.client.left.lock().unwrap() = self.scenario.acts.len();
        self.executor.spawn(owner, async move {
            let ork = loop {
                match world.build(owner, &world.client.clock, &[]).await {
                    Ok(ork) => break Arc::new(ork),
                    Err(_refused) => world.executor.sleep(1_000_000).await,
                }
            };
            *world.client.ork.lock().unwrap() = Some(Arc::clone(&ork));
            if world.scenario.events {
                world.executor.spawn(owner, Arc::clone(&world).listen(Arc::clone(&ork)));
            }
            for (at, act) in &world.scenario.acts {
                let (world, ork, act, at) = (Arc::clone(&world), Arc::clone(&ork), act.clone(), at * 1_000);
                let executor = Arc::clone(&world.executor);
                executor.spawn(owner, async move {
                    if let Act::CancelClaimed(number) = act {
                        world.claimed(number, at).await;
                    } else {
                        world.executor.sleep(at.saturating_sub(world.executor.now())).await;
                    }
                    match act {
                        Act::Submit(number, Job::Set(scripts)) => world.send_set(number, scripts).await,
                        Act::Submit(number, job) if !world.has_store() => {
                            world.submit_storeless(&ork, number, job).await;
                        }
                        Act::Submit(number, job) => world.submit(&ork, number, job).await,
                        Act::Schedule(number, minutely, script) => {
                            world.schedule(&ork, number, minutely, script).await;
                        }
                        act => world.control(&ork, act).await,
                    }
                    *world.client.left.lock().unwrap() -= 1;
                });
            }
        });
    }

    /// Waits until a worker has claimed a job, or until this moment.
    async fn claimed(self: &Arc<Self>, number: u64, until: u64) {
        let until = self.executor.sleep(until.saturating_sub(self.executor.now()));
        let claimed = async {
            loop {
                let claimed = self.client.claimed.notified();
                let id = self.client.submitted.lock().unwrap().get(&number).and_then(|job| job.id);
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

    async fn control(self: &Arc<Self>, ork: &Ork, act: Act) {
        if let Act::Why(number) = act {
            let id = self.client.submitted.lock().unwrap().get(&number).and_then(|job| job.id);
            if let Some(id) = id {
                self.ask_why(ork, id).await;
            }
            return;
        }
        let (Act::Cancel(number) | Act::CancelClaimed(number) | Act::Interrupt(number) | Act::Retry(number)) = act
        else {
            return;
        };
        let Some(id) = self.client.control(number) else { return };
        if let Act::Retry(_) = act {
            self.oracle(|oracle| oracle.retried.insert(id));
        }
        let (what, done) = match act {
            Act::Cancel(_) | Act::CancelClaimed(_) => ("cancels", ork.cancel(id, CancelMode::Immediate).await),
            Act::Interrupt(_) => ("interrupts", ork.cancel(id, CancelMode::Graceful).await),
            _ => ("retries", ork.retry(id).await),
        };
        let done = done.map_or_else(|detail| format!("refused: {detail}"), |_done| "done".to_owned());
        self.note(self.client.owner(), format_args!("client {what} {id}: {done}"));
    }

    async fn submit(self: &Arc<Self>, ork: &Ork, number: u64, job: Job) {
        if let Job::Asked(script) = job {
            return self.ask(ork, number, script).await;
        }
        let id = loop {
            let since = self.executor.now();
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
                // A refused submission was not made.
                Err(_refused) => self.executor.sleep(500_000).await,
            }
        };
        let Some(id) = id else { return self.record_answer(number, Answer::NotTaken) };
        self.names(id, number);
        self.note(self.client.owner(), format_args!("client has submitted {id}"));
        {
            let mut submitted = self.client.submitted.lock().unwrap();
            let submitted = submitted.entry(number).or_default();
            (submitted.id, submitted.narrow) = (Some(id), matches!(job, Job::Narrow(_)));
        }
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
        self.note(self.client.owner(), format_args!("client learns that {id} is {}", outcome.status().state));
        self.oracle(|oracle| oracle.client_learns(self.client.owner(), id, since, now));
        self.record_answer(number, Answer::Ended(Box::new(outcome)));
    }

    /// Submits a job once.
    pub(crate) async fn send(&self, ork: &Ork, number: u64, job: Job) -> Result<JobId, ClientError> {
        match job {
            Job::Asked(script) | Job::Plain(script) => id_of(ork.submit(plain { script }).await),
            // The messages of its parts come from other programs.
            Job::Set(_) => Err(ClientError::Rejected("a set is not submitted".to_owned())),
            Job::Itself(scripts) => id_of(ork.submit(itself { scripts }).await),
            Job::Follower(of, script) => {
                let after = self.client.known(&of);
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
        has_lost || self.client.submitted.lock().unwrap().get(&number).is_some_and(is_controlled)
    }

    fn record_answer(&self, number: u64, answer: Answer) {
        self.client.submitted.lock().unwrap().entry(number).or_default().outcome = Some(answer);
    }

    /// Compares the final states, and what the client has learned, with what the scripts say.
    pub(crate) fn audit(&self) {
        if self.oracle(|oracle| oracle.fault().is_some()) {
            return;
        }
        self.check_outbox();
        let submitted = self.client.submitted.lock().unwrap().clone();
        for (number, job) in self.scenario.acts.iter().filter_map(|(_, act)| act.submits()) {
            if let Job::Set(scripts) = job
                && self.has_store()
                && self.server.is_some()
                && self.scenario.retention == 0
                && self.scenario.max_losses == 0
                && !self.scenario.may_forget_sets()
            {
                self.check_followers(number, scripts.iter().all(Script::succeeds));
            }
            let Some(submitted) = submitted.get(&number) else { continue };
            let Some(id) = submitted.id else { continue };
            let Some(view) = self.truth(|tables| tables.job(id)) else {
                if self.scenario.retention > 0 && self.oracle(|oracle| oracle.ended.contains_key(&id)) {
                    continue;
                }
                self.oracle(|oracle| oracle.report(Property::Kept, format!("job {number} is gone")));
                continue;
            };
            let expected = if submitted.controlled { Expected::Any } else { job.expected() };
            let state = view.job.state;
            let lost = view.job.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Lost);
            let deaths = self.oracle(|oracle| oracle.deaths_of(id));
            let most = self.scenario.most_losses();
            let has_lost = match job {
                Job::Many(_) | Job::Itself(_) => deaths > most,
                // The lost calls are those of jobs below it.
                Job::Tree(..) | Job::Flow(_) => self.oracle(|oracle| oracle.has_deaths_beyond(most)),
                _ => lost,
            };
            if has_lost && !matches!(state, JobState::Succeeded) {
                self.oracle(|oracle| oracle.excuses("a job that failed as calls of it were lost"));
            }
            // A split may die before its function is called, which only the store can see.
            if lost && deaths <= most && !matches!(job, Job::Many(_) | Job::Itself(_)) {
                let detail = format!("job {number} failed as lost, of {deaths} calls that died");
                self.oracle(|oracle| oracle.report(Property::Losses, detail));
            }
            let output = self.output(view.output.clone());
            if !has_lost && !expected.holds(state, output.as_deref()) {
                let detail = format!("job {number} {id} is {state} with {output:?}, not {expected:?}");
                self.oracle(|oracle| oracle.report(Property::Outcome, detail));
            }
            if let Job::Hooked(_) = job
                && !submitted.controlled
                && self.scenario.retention == 0
            {
                self.check_followers(number, state == JobState::Succeeded);
            }
            if let Some(Answer::Ended(outcome)) = &submitted.outcome
                && !submitted.controlled
                && outcome.status().state != state
            {
                let detail = format!("a client learned that job {number} is {}", outcome.status().state);
                self.oracle(|oracle| oracle.report(Property::Client, detail));
            }
        }
    }

    /// Checks that each follower of a job was submitted once, and nothing else.
    fn check_followers(&self, number: u64, well: bool) {
        let filter = Filter { limit: usize::MAX, task: Some("next".into()), ..Filter::default() };
        let views = self.truth(|tables| tables.jobs(&filter));
        for when in ["always", "success", "failure"] {
            let wanted = wanted(well).contains(&when);
            let input = format!("{{\"of\":{number},\"when\":\"{when}\"}}");
            let found = views.iter().filter(|view| view.input == input.as_bytes()).count();
            if found == usize::from(wanted) {
                self.oracle(|oracle| oracle.reaches(Reached::FollowersCompared));
                continue;
            }
            if found == 0 && self.scenario.loses_messages() {
                // Until a worker has started it, only its queue has it.
                self.oracle(|oracle| oracle.excuses("a follower lost with its message"));
                continue;
            }
            let how = if well { "well" } else { "badly" };
            let detail = format!("{number} has ended {how}, and is followed {found} times as {when}");
            self.oracle(|oracle| oracle.report(Property::Followers, detail));
        }
    }

    /// Checks that no row of any job is left in the outbox, as all jobs have ended.
    fn check_outbox(&self) {
        let filter = Filter { limit: usize::MAX, ..Filter::default() };
        for view in self.truth(|tables| tables.jobs(&filter)) {
            let id = view.job.id;
            let pending = self.truth(|tables| tables.diagnostics(id)).outbox;
            if self.scenario.undoes() && pending != PendingOutbox::default() {
                // The removal of the row was undone; the row goes with its process at the latest.
                self.oracle(|oracle| oracle.excuses("a row whose removal was undone"));
            } else if pending != PendingOutbox::default() {
                let detail = format!("{} {id} has ended, and {pending:?} is left", view.job.task);
                self.oracle(|oracle| oracle.report(Property::Left, detail));
            }
        }
    }
}
