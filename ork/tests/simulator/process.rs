//! A worker: its lives, and what happens to it from outside.

use std::path::Path;
use std::sync::{Arc, Mutex};

use ork::{BuildError, Filter, JobState, Ork, PartFilter, PartState, Registry, Stopped, WorkerId};
use ork_core::clock::Clock;
use ork_ports::broker::Broker;
use ork_ports::store::Store;
use ork_runtime::SlotObserver;
use ork_runtime::store::none::NoStore;
use tokio_util::sync::CancellationToken;

use super::clock::ProcessClock;
use super::dice::Dice;
use super::executor::{Executor, Owner};
use super::names::{Property, Reached};
use super::objects::{self, ObjectsEnd};
use super::scenario::ProcessSpec;
use super::surroundings::{SimEntropy, SimRuntime, THREAD};
use super::tasks::Here;
use super::versions::is_of_other;
use super::world::World;

/// How long a supervisor waits before it restarts a worker that has ended by itself, in microseconds.
const AGAIN: u64 = 1_000_000;

/// The default of the option `ack_timeout`, in microseconds.
const ACK_TIMEOUT: u64 = 600_000_000;

/// A worker, which is restarted again and again.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) clock: Arc<ProcessClock>,
    spec: ProcessSpec,
    life: Mutex<Option<Life>>,
}

#[derive(Debug, Clone)]
struct Life {
    owner: Owner,
    drain: CancellationToken,
    force: CancellationToken,
    /// How long after its end it is restarted, in milliseconds.
    back: u64,
    /// Observes its slots, once it has started.
    slots: Option<SlotObserver>,
}

impl Worker {
    pub(crate) fn new(spec: &ProcessSpec, executor: &Arc<Executor>) -> Self {
        let clock = ProcessClock::new(executor, spec.ahead_ms, spec.ppm);
        Self { clock, spec: spec.clone(), life: Mutex::default() }
    }

    /// How many calls it may make at once.
    pub(crate) fn concurrency(&self) -> usize {
        usize::try_from(self.spec.concurrency).unwrap_or(usize::MAX)
    }

    /// After how many microseconds it acknowledges work that still runs.
    pub(crate) fn ack_timeout(&self) -> u64 {
        if self.spec.ack_within > 0 { self.spec.ack_within * 1_000 } else { ACK_TIMEOUT }
    }

    /// Whether its program has this task.
    pub(crate) fn knows(&self, task: &str) -> bool {
        !self.spec.lacks.iter().any(|other| other == task)
    }

    pub(crate) fn is_asked_to_stop(&self) -> bool {
        self.life.lock().unwrap().as_ref().is_none_or(|life| life.drain.is_cancelled())
    }

    /// The owner of its futures, and how many slots are taken, while it lives and unless work runs alone in it.
    pub(crate) fn taken_slots(&self) -> Option<(Owner, usize)> {
        let life = self.life.lock().unwrap();
        let life = life.as_ref()?;
        Some((life.owner, life.slots.as_ref()?.n_taken()?))
    }

    /// The owner of its futures, while it lives.
    pub(crate) fn owner(&self) -> Option<Owner> {
        self.life.lock().unwrap().as_ref().map(|life| life.owner)
    }
}

impl World {
    /// Builds an instance of the program with this clock.
    pub(crate) async fn build(
        self: &Arc<Self>,
        owner: Owner,
        clock: &Arc<ProcessClock>,
        set: &[(&'static str, String)],
        (is_newer, lacks): (bool, &[String]),
    ) -> Result<Ork, BuildError> {
        if self.has_store() {
            self.opens(owner)?;
        }
        let seed = self.scenario.seed;
        let dice = |name: &str| Mutex::new(Dice::new(seed, name, owner.0.into()));
        let end = self.open_end(owner);
        let store: Arc<dyn Store> = if self.has_store() { end } else { Arc::new(NoStore::new()) };
        let broker = self.open_broker_end(owner).map(|end| -> Arc<dyn Broker> { end });
        let runtime = Arc::new(SimRuntime { executor: Arc::clone(&self.executor), owner, dice: dice("threads") });
        let entropy = SimEntropy { clock: Arc::clone(clock), dice: dice("entropy"), last: Mutex::default() };
        let worker = WorkerId::with_boot(format!("p{}", owner.0), u128::from(owner.0).to_be_bytes());
        let clock: Arc<dyn Clock> = Arc::<ProcessClock>::clone(clock);
        let config = ork::Config::from(Some(Path::new("/dev/null")), []).unwrap();
        let builder = ork::builder().config(config).clock(clock).runtime(runtime).entropy(Arc::new(entropy));
        let registry = Registry::collect_where(|function| !is_of_other(function, is_newer));
        let builder = builder.registry(registry.map_err(BuildError::Registry)?.without(lacks));
        let builder = set.iter().fold(builder, |builder, (key, value)| builder.set(key, value.clone()));
        let here = Here { world: Arc::clone(self), owner };
        let builder = if self.scenario.large {
            let beyond = objects::BEYOND.to_string();
            builder.objects(ObjectsEnd::open(self, owner)).set("large_output_bytes", beyond)
        } else {
            builder
        };
        let builder = if self.scenario.events { builder.set("events", "jobs") } else { builder };
        builder.state(here).ports(store, broker, worker).build().await
    }

    /// Starts a worker.
    pub(crate) fn start(self: &Arc<Self>, number: usize) {
        let owner = self.owner();
        let (drain, force) = (CancellationToken::new(), CancellationToken::new());
        let life = Life { owner, drain, force, back: 0, slots: None };
        let Some(worker) = self.workers.get(number) else { return };
        *worker.life.lock().unwrap() = Some(life.clone());
        self.note(owner, format_args!("starts as worker {number}"));
        self.executor.spawn(owner, Arc::clone(self).live(number, life));
    }

    fn start_later(self: &Arc<Self>, number: usize, micros: u64) {
        let world = Arc::clone(self);
        self.executor.spawn(Owner::WORLD, async move {
            world.executor.sleep(micros).await;
            world.start(number);
        });
    }

    async fn live(self: Arc<Self>, number: usize, life: Life) {
        let Some(worker) = self.workers.get(number) else { return };
        let ProcessSpec { concurrency, blocking, ack_within, .. } = &worker.spec;
        let mut set = vec![("concurrency", concurrency.to_string()), ("blocking_concurrency", blocking.to_string())];
        if *ack_within > 0 {
            set.push(("ack_timeout", format!("{ack_within}ms")));
        }
        if self.scenario.max_losses > 0 {
            set.push(("max_worker_losses", self.scenario.max_losses.to_string()));
        }
        if self.scenario.retention > 0 {
            set.push(("retention", format!("{}s", self.scenario.retention)));
        }
        let Life { owner, drain, force, .. } = life;
        let ork = match self.build(owner, &worker.clock, &set, (worker.spec.newer, &worker.spec.lacks)).await {
            Ok(ork) => ork,
            Err(error) => {
                self.note(owner, format_args!("cannot start: {error}"));
                return self.ended(number, owner);
            }
        };
        if let Some(life) = worker.life.lock().unwrap().as_mut() {
            life.slots = Some(ork.slot_observer());
        }
        let mut work = Box::pin(ork.run_worker());
        let stopped = tokio::select! {
            biased;
            stopped = &mut work => stopped,
            () = drain.cancelled() => {
                ork.worker().stop();
                self.oracle(|oracle| oracle.drained(owner, self.executor.now()));
                tokio::select! {
                    biased;
                    stopped = &mut work => stopped,
                    () = force.cancelled() => {
                        ork.worker().kill();
                        work.as_mut().await
                    }
                }
            }
        };
        drop(work);
        self.note(owner, format_args!("stops: {stopped:?}"));
        let is_asked = matches!(stopped, Ok(Stopped::Drained | Stopped::Interrupted));
        if !is_asked && !self.oracle(|oracle| oracle.stops_by_itself(owner)) {
            self.oracle(|oracle| {
                oracle.report(Property::Failed, format!("worker {number} stopped by itself: {stopped:?}"));
            });
        }
        ork.shutdown().await;
        // A blocking call that waits for its thread cannot be stopped.
        self.executor.sleep(2 * THREAD).await;
        // If the process was stopped meanwhile, its other futures continue only now.
        self.executor.sleep(1_000).await;
        self.check_nothing_runs(owner);
        self.ended(number, owner);
    }

    /// Checks that nothing of a process runs after its shutdown, apart from this function.
    fn check_nothing_runs(&self, owner: Owner) {
        let n_left = self.executor.n_tasks(owner).saturating_sub(1);
        if n_left > 0 {
            let detail = format!("{n_left} futures of process {} are left after its shutdown", owner.0);
            self.oracle(|oracle| oracle.report(Property::LeftRunning, detail));
        }
    }

    /// Handles the end of a worker.
    fn ended(self: &Arc<Self>, number: usize, owner: Owner) {
        self.note(owner, format_args!("ends"));
        let Some(worker) = self.workers.get(number) else { return };
        let life = worker.life.lock().unwrap().take();
        let back = life.map_or(0, |life| life.back * 1_000);
        self.end_process(owner);
        self.start_later(number, back.max(AGAIN));
    }

    /// Ends everything that a process does.
    pub(crate) fn end_process(self: &Arc<Self>, owner: Owner) {
        let now = self.executor.now();
        // A claimed job counts as called: the process may have died before it could call it. So does a part that runs,
        // of which the store does not know the process.
        let of = |state| Filter { limit: usize::MAX, states: vec![state], ..Filter::default() };
        let running = PartFilter { limit: usize::MAX, states: vec![PartState::Running], ..PartFilter::default() };
        for view in self.truth(|tables| tables.jobs(&of(JobState::Waiting))) {
            for part in self.truth(|tables| tables.list_parts(view.job.id, &running)) {
                self.oracle(|oracle| oracle.dies_with_part(view.job.id, part.index));
            }
        }
        let place = format!("p{}/", owner.0);
        for view in self.truth(|tables| tables.jobs(&of(JobState::Running))) {
            if view.job.worker.is_some_and(|worker| worker.starts_with(&place)) {
                self.oracle(|oracle| oracle.dies_claimed(owner, view.job.id));
            }
        }
        self.oracle(|oracle| oracle.dies(owner, now));
        self.close_end(owner);
        self.executor.kill(owner);
    }

    pub(crate) fn crash(self: &Arc<Self>, number: usize, back: u64) {
        let Some(worker) = self.workers.get(number) else { return };
        let life = worker.life.lock().unwrap().take();
        // A worker that is not running is about to be restarted.
        let Some(life) = life else { return };
        self.note(life.owner, format_args!("dies"));
        self.end_process(life.owner);
        self.start_later(number, back * 1_000);
    }

    /// Terminates the process of a function, and never returns.
    pub(crate) async fn ends_itself(self: &Arc<Self>, owner: Owner) {
        let number = self.workers.iter().position(|worker| worker.owner() == Some(owner));
        let world = Arc::clone(self);
        self.executor.spawn(Owner::WORLD, async move {
            world.oracle(|oracle| oracle.reaches(Reached::EndedByTask));
            if let Some(number) = number {
                world.crash(number, 1_000);
            }
        });
        std::future::pending::<()>().await;
    }

    /// The workers that live.
    pub(crate) fn live_workers(&self) -> Vec<Owner> {
        self.workers.iter().filter_map(Worker::owner).collect()
    }

    pub(crate) fn freeze(self: &Arc<Self>, number: usize, lasts: u64) {
        if let Some(owner) = self.workers.get(number).and_then(Worker::owner) {
            self.freeze_process(owner, lasts);
        }
    }

    /// Freezes all processes, including clients.
    pub(crate) fn sleep(self: &Arc<Self>, lasts: u64) {
        for owner in self.live_processes() {
            self.freeze_process(owner, lasts);
        }
    }

    pub(crate) fn freeze_process(self: &Arc<Self>, owner: Owner, lasts: u64) {
        self.executor.hold(owner, true);
        let now = self.executor.now();
        self.oracle(|oracle| oracle.disturbs(Some(owner), now, now + lasts * 1_000));
        let world = Arc::clone(self);
        self.executor.spawn(Owner::WORLD, async move {
            world.executor.sleep(lasts * 1_000).await;
            let thawed = world.executor.now();
            world.note(owner, format_args!("resumes"));
            world.oracle(|oracle| oracle.thaws(owner, now, thawed));
            world.executor.hold(owner, false);
        });
    }

    /// Asks the worker to stop, like one signal or two signals.
    pub(crate) fn ask_to_stop(self: &Arc<Self>, number: usize, back: u64, at_once: bool) {
        let Some(worker) = self.workers.get(number) else { return };
        let mut life = worker.life.lock().unwrap();
        let Some(life) = life.as_mut() else { return };
        life.back = back;
        life.drain.cancel();
        if at_once {
            life.force.cancel();
        }
    }

    pub(crate) fn turn(&self, number: usize, by: i64) {
        if let Some(worker) = self.workers.get(number) {
            worker.clock.turn(by);
        }
    }
}
