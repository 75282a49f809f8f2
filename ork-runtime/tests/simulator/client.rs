//! A client, which lives as long as the world: it submits, steers, waits, and is told the truth.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ork::{ClientError, Handle, JobId, JobOutcome, Ork};

use super::clock::ProcessClock;
use super::executor::{Executor, Owner};
use super::oracle::Expected;
use super::scenario::{Act, Job};
use super::tasks::{blocking, many_part, narrow, plain, timed, trunk};
use super::world::World;

/// What became of each submission.
#[derive(Debug, Clone, Default)]
struct Submitted {
    id: Option<JobId>,
    /// Somebody has steered it.
    steered: bool,
    outcome: Option<Heard>,
}

/// What a client was told.
#[derive(Debug, Clone)]
enum Heard {
    NotTaken,
    Ended(Box<JobOutcome>),
}

#[derive(Debug)]
pub(crate) struct Client {
    clock: Arc<ProcessClock>,
    ork: Mutex<Option<Arc<Ork>>>,
    submitted: Mutex<BTreeMap<u64, Submitted>>,
    /// How many acts have not ended.
    left: Mutex<usize>,
}

impl Client {
    pub(crate) fn new(executor: &Arc<Executor>) -> Self {
        let clock = ProcessClock::new(executor, 0, 0);
        Self { clock, ork: Mutex::default(), submitted: Mutex::default(), left: Mutex::new(usize::MAX) }
    }

    pub(crate) fn is_done(&self) -> bool {
        *self.left.lock().unwrap() == 0
    }

    pub(crate) fn forget(&self) {
        let ork = self.ork.lock().unwrap().take();
        drop(ork);
    }

    /// The job of this number is steered; answers its id, once it has one.
    fn steer(&self, number: u64) -> Option<JobId> {
        let mut submitted = self.submitted.lock().unwrap();
        let job = submitted.entry(number).or_default();
        job.steered = true;
        job.id
    }
}

fn id_of<M>(submitted: Result<Handle<M>, ClientError>) -> Result<JobId, ClientError> {
    submitted.map(|handle| handle.id())
}

impl World {
    pub(crate) fn start_client(self: &Arc<Self>) {
        let owner = self.owner();
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
            for (at, act) in &world.scenario.acts {
                let (world, ork, act, at) = (Arc::clone(&world), Arc::clone(&ork), act.clone(), at * 1_000);
                let executor = Arc::clone(&world.executor);
                executor.spawn(owner, async move {
                    world.executor.sleep(at.saturating_sub(world.executor.now())).await;
                    match act {
                        Act::Submit(number, job) => world.submit(&ork, number, job).await,
                        act => world.steer(&ork, act).await,
                    }
                    *world.client.left.lock().unwrap() -= 1;
                });
            }
        });
    }

    async fn steer(self: &Arc<Self>, ork: &Ork, act: Act) {
        let (Act::Cancel(number) | Act::Interrupt(number) | Act::Retry(number)) = act else { return };
        let Some(id) = self.client.steer(number) else { return };
        self.oracle(|oracle| oracle.retried.insert(id));
        let done = match act {
            Act::Cancel(_) => ork.cancel(id).await,
            Act::Interrupt(_) => ork.interrupt(id).await,
            Act::Retry(_) | Act::Submit(..) => ork.retry(id).await,
        };
        let done = done.map_err(|error| error.to_string());
        self.note(Owner::WORLD, format_args!("client {act:?} {id}: {done:?}"));
    }

    async fn submit(self: &Arc<Self>, ork: &Ork, number: u64, job: Job) {
        let id = loop {
            let asked = match job.clone() {
                Job::Plain(script) => id_of(ork.submit(plain { script }).await),
                Job::Blocking(script) => id_of(ork.submit(blocking { script }).await),
                Job::Narrow(script) => id_of(ork.submit(narrow { script }).await),
                Job::Timed(script) => id_of(ork.submit(timed { script }).await),
                Job::Many(scripts) => id_of(ork.submit(many_part { scripts }).await),
                Job::Tree(script, below) => id_of(ork.submit(trunk { script, below }).await),
                Job::Unique(key, script) => id_of(ork.submit(plain { script }).unique(format!("key {key}")).await),
            };
            match asked {
                Ok(id) => break Some(id),
                Err(ClientError::Taken { .. }) => break None,
                // What was refused was not done.
                Err(_refused) => self.executor.sleep(500_000).await,
            }
        };
        let Some(id) = id else { return self.heard(number, Heard::NotTaken) };
        self.note(Owner::WORLD, format_args!("client has submitted {number}: {id}"));
        self.client.submitted.lock().unwrap().entry(number).or_default().id = Some(id);
        let outcome = loop {
            match ork.wait(id).await {
                Ok(outcome) => break outcome,
                Err(_refused) => self.executor.sleep(500_000).await,
            }
        };
        self.heard(number, Heard::Ended(Box::new(outcome)));
    }

    fn heard(&self, number: u64, heard: Heard) {
        self.client.submitted.lock().unwrap().entry(number).or_default().outcome = Some(heard);
    }

    /// Holds what clients were told, and what is left, against what had to come of it.
    pub(crate) fn audit(&self) {
        if self.oracle(|oracle| oracle.fault().is_some()) {
            return;
        }
        let submitted = self.client.submitted.lock().unwrap().clone();
        for (number, job) in self.scenario.acts.iter().filter_map(|(_, act)| act.submits()) {
            let Some(submitted) = submitted.get(&number) else { continue };
            let Some(id) = submitted.id else { continue };
            let Some(view) = self.truth(|tables| tables.job(id)) else {
                self.oracle(|oracle| oracle.blame("kept", format!("job {number} is gone")));
                continue;
            };
            let expected = if submitted.steered { Expected::Any } else { job.expected() };
            let state = view.job.state;
            let lost = view.job.failure.as_ref().is_some_and(|failure| failure.kind == ork::FailureKind::Lost);
            let deaths = self.oracle(|oracle| oracle.deaths_of(id));
            if lost && deaths < 20 {
                let words = format!("job {number} failed as lost, of {deaths} calls that died");
                self.oracle(|oracle| oracle.blame("losses", words));
            }
            if !expected.holds(state, view.output.as_deref()) {
                let words = format!("job {number} {id} is {state} with {:?}, not {expected:?}", view.output);
                self.oracle(|oracle| oracle.blame("outcome", words));
            }
            if let Some(Heard::Ended(outcome)) = &submitted.outcome
                && !submitted.steered
                && outcome.status().state != state
            {
                let words = format!("a client heard that job {number} is {}", outcome.status().state);
                self.oracle(|oracle| oracle.blame("client", words));
            }
        }
    }
}
