//! The clients of a run: processes that submit jobs, control them, and wait for their outcomes. Some of them die, and
//! continue after a restart with what they had written down: the ids of the jobs that they had submitted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use ork::{JobId, JobOutcome, Ork};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::clock::ProcessClock;
use super::executor::{Executor, Owner};
use super::names::Reached;
use super::scenario::Scenario;
use super::workload::{Act, Job};
use super::world::World;

/// The state of each submission.
#[derive(Debug, Clone, Default)]
pub(crate) struct Submitted {
    pub(crate) id: Option<JobId>,
    /// How often a client has begun to submit it: if a reply was lost, there may be as many jobs.
    pub(crate) tries: u32,
    /// Whether a client has cancelled it, in either way, or retried it.
    pub(crate) controlled: bool,
    pub(crate) outcome: Option<Answer>,
}

/// The final state of a job, as the client knows it.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    NotTaken,
    /// Retention has removed it.
    Removed,
    Ended(Box<JobOutcome>),
}

/// A client, and its current life.
#[derive(Debug)]
struct Process {
    clock: Arc<ProcessClock>,
    owner: Option<Owner>,
    ork: Option<Arc<Ork>>,
}

#[derive(Debug)]
pub(crate) struct Clients {
    processes: Mutex<Vec<Process>>,
    pub(crate) submitted: Mutex<BTreeMap<u64, Submitted>>,
    /// The retries that are under way: by which process, of which job, and of which part if it is one.
    pub(crate) retries: Mutex<Vec<(Owner, JobId, Option<u64>)>>,
    /// When each schedule was made, by the clock of the run.
    pub(crate) scheduled: Mutex<BTreeMap<u64, u64>>,
    /// Notified after each transaction.
    pub(crate) claimed: Notify,
    /// The acts that have ended, by their places in the scenario.
    done: Mutex<BTreeSet<usize>>,
    n_acts: usize,
    /// Fires when all has ended but schedules and the jobs that they start.
    calm: CancellationToken,
}

impl Clients {
    pub(crate) fn new(scenario: &Scenario, executor: &Arc<Executor>) -> Self {
        let process = |number: usize| {
            let (ahead, ppm) = scenario.clients.get(number).map_or((0, 0), |spec| (spec.ahead_ms, spec.ppm));
            Process { clock: ProcessClock::new(executor, ahead, ppm), owner: None, ork: None }
        };
        Self {
            processes: Mutex::new((0..scenario.n_clients()).map(process).collect()),
            submitted: Mutex::default(),
            retries: Mutex::default(),
            scheduled: Mutex::default(),
            claimed: Notify::new(),
            done: Mutex::default(),
            n_acts: scenario.acts.len(),
            calm: CancellationToken::new(),
        }
    }

    /// How many acts have not ended.
    fn n_left(&self) -> usize {
        self.n_acts - self.done.lock().unwrap().len()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.n_left() == 0
    }

    /// Fires `calm` once only this many acts are left, the schedules, which wait for that.
    pub(crate) fn check_calm(&self, schedules: usize) {
        if self.n_left() <= schedules {
            self.calm.cancel();
        }
    }

    pub(crate) async fn others_ended(&self) {
        self.calm.cancelled().await;
    }

    pub(crate) fn forget(&self) {
        let orks: Vec<_> = self.processes.lock().unwrap().iter_mut().filter_map(|process| process.ork.take()).collect();
        drop(orks);
    }

    /// The ids of those of these submissions that have one.
    pub(crate) fn known(&self, numbers: &[u64]) -> Vec<JobId> {
        let submitted = self.submitted.lock().unwrap();
        let ids: BTreeSet<_> = numbers.iter().filter_map(|number| submitted.get(number)?.id).collect();
        ids.into_iter().collect()
    }

    /// The id of a submission, once it has one.
    pub(crate) fn id(&self, number: u64) -> Option<JobId> {
        self.submitted.lock().unwrap().get(&number)?.id
    }

    /// Marks a submission as controlled by a client, and returns the id of its job, once it has one.
    pub(crate) fn control(&self, number: u64) -> Option<JobId> {
        let mut submitted = self.submitted.lock().unwrap();
        let job = submitted.entry(number).or_default();
        job.controlled = true;
        job.id
    }

    /// Records that a submission begins.
    pub(crate) fn tries(&self, number: u64) {
        self.submitted.lock().unwrap().entry(number).or_default().tries += 1;
    }

    /// Whether a submission was begun more often than once, so that it may have been made more often, too.
    pub(crate) fn may_be_doubled(&self, number: u64) -> bool {
        self.submitted.lock().unwrap().get(&number).is_some_and(|job| job.tries > 1)
    }
}

impl World {
    pub(crate) fn start_clients(self: &Arc<Self>) {
        for number in 0..self.scenario.n_clients() {
            self.start_client(number);
        }
        // The messages of sets come from other programs.
        for (place, (at, act)) in self.scenario.acts.iter().enumerate() {
            let Act::Submit(number, Job::Set(scripts)) = act else { continue };
            let (world, at, number, scripts) = (Arc::clone(self), at * 1_000, *number, scripts.clone());
            self.executor.spawn(Owner::WORLD, async move {
                world.executor.sleep(at).await;
                world.send_set(number, scripts).await;
                world.clients.done.lock().unwrap().insert(place);
            });
        }
    }

    fn start_client(self: &Arc<Self>, number: usize) {
        let owner = self.owner();
        self.oracle(|oracle| oracle.clients.insert(owner));
        self.note(owner, format_args!("starts as client {number}"));
        let clock = {
            let mut processes = self.clients.processes.lock().unwrap();
            let Some(process) = processes.get_mut(number) else { return };
            process.owner = Some(owner);
            Arc::clone(&process.clock)
        };
        let is_newer = self.scenario.clients.get(number).is_some_and(|client| client.newer);
        let world = Arc::clone(self);
        self.executor.spawn(owner, async move {
            let ork = loop {
                match world.build(owner, &clock, &[], (is_newer, &[])).await {
                    Ok(ork) => break Arc::new(ork),
                    Err(_refused) => {
                        // Its first heartbeat may have been written: the next one is not late.
                        world.oracle(|oracle| oracle.starts_anew(owner));
                        world.executor.sleep(1_000_000).await;
                    }
                }
            };
            if let Some(process) = world.clients.processes.lock().unwrap().get_mut(number) {
                process.ork = Some(Arc::clone(&ork));
            }
            if world.scenario.events && number == 0 {
                world.executor.spawn(owner, Arc::clone(&world).listen(Arc::clone(&ork)));
            }
            for (place, (at, act)) in world.scenario.acts.iter().enumerate() {
                let is_done = world.clients.done.lock().unwrap().contains(&place);
                let is_own = act.client(world.scenario.n_clients()) == Some(number);
                if is_own && !is_done {
                    let act = Arc::clone(&world).act(Arc::clone(&ork), place, (at * 1_000, act.clone()));
                    world.executor.spawn(owner, act);
                }
            }
        });
    }

    async fn act(self: Arc<Self>, ork: Arc<Ork>, place: usize, (at, act): (u64, Act)) {
        if let Act::CancelClaimed(number) = act {
            self.claimed(number, at).await;
        } else {
            self.executor.sleep(at.saturating_sub(self.executor.now())).await;
        }
        match act {
            Act::Submit(number, job) if !self.has_store() => self.submit_storeless(&ork, number, job).await,
            Act::Submit(number, job) => self.submit(&ork, number, job).await,
            Act::Schedule(number, minutely, script) => self.schedule(&ork, number, minutely, script).await,
            act => self.control(&ork, act).await,
        }
        self.clients.done.lock().unwrap().insert(place);
    }

    /// A client dies, and is restarted. Its acts that have not ended begin again, with what it has written down.
    pub(crate) fn client_dies(self: &Arc<Self>, number: usize, back: u64) {
        let (owner, ork) = {
            let mut processes = self.clients.processes.lock().unwrap();
            let Some(process) = processes.get_mut(number) else { return };
            (process.owner.take(), process.ork.take())
        };
        // A client that is not running is about to be restarted.
        let Some(owner) = owner else { return };
        self.note(owner, format_args!("dies"));
        let is_waiting = |(place, (at, act)): (usize, &(u64, Act))| {
            at * 1_000 < self.executor.now()
                && act.client(self.scenario.n_clients()) == Some(number)
                && !self.clients.done.lock().unwrap().contains(&place)
        };
        if self.scenario.acts.iter().enumerate().any(is_waiting) {
            self.oracle(|oracle| oracle.reaches(Reached::ClientDied));
        }
        self.published_events(|published| published.missed_some |= number == 0);
        self.end_process(owner);
        drop(ork);
        let world = Arc::clone(self);
        self.executor.spawn(Owner::WORLD, async move {
            world.executor.sleep(back * 1_000).await;
            world.start_client(number);
        });
    }

    pub(crate) fn client_freezes(self: &Arc<Self>, number: usize, lasts: u64) {
        let owner = self.clients.processes.lock().unwrap().get(number).and_then(|process| process.owner);
        if let Some(owner) = owner {
            self.freeze_process(owner, lasts);
        }
    }
}
