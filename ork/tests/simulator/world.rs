//! The world of one run: tables, processes, troubles, and the checks that run all along.

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ork::{Context, Filter, JobId, Timestamp};
use ork_ports::store::Work;
use ork_runtime::store::memory::Tables;

use super::broker::{BrokerEnd, Server};
use super::call::Call;
use super::client::Clients;
use super::dice::Dice;
use super::ends::Return;
use super::events::PublishedEvents;
use super::executor::{Executor, Owner, Step};
use super::expected::is_open;
use super::hoards::Hoards;
use super::log::LogToTrace;
use super::names::{Property, Reached};
use super::objects::Kept;
use super::oracle::{Fault, Oracle};
use super::process::Worker;
use super::scenario::{Ends, Scenario, StoreKind};
use super::schedules::{SCHEDULE, Ticks};
use super::slots::UnusedSlots;
use super::store::{End, store_time};
use super::store_troubles::{Soft, StoreTroubles};
use super::tasks::TIMEOUT;
use super::trace::{Interest, Moment, Trace};

/// All state of one run.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    /// Whether calls return what the store cannot hold.
    pub(crate) has_unstorable: bool,
    /// Whether the lines of the trace are printed.
    pub(crate) is_printed: bool,
    pub(crate) executor: Arc<Executor>,
    tables: Mutex<Tables>,
    /// The tables as they were after the last transaction that must survive a restart of the store's server.
    pub(crate) durable: Mutex<Option<Tables>>,
    pub(crate) soft: Mutex<Soft>,
    pub(crate) hoards: Mutex<Hoards>,
    pub(crate) unused_slots: Mutex<UnusedSlots>,
    pub(crate) ticks: Mutex<Ticks>,
    pub(crate) objects: Mutex<Kept>,
    pub(crate) published: Mutex<PublishedEvents>,
    pub(crate) ends: Mutex<BTreeMap<Owner, Arc<End>>>,
    /// The broker, unless jobs travel through the store.
    pub(crate) server: Option<Server>,
    broker_ends: Mutex<BTreeMap<Owner, Arc<BrokerEnd>>>,
    oracle: Mutex<Oracle>,
    trace: Mutex<Trace>,
    next_owner: Mutex<u32>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) clients: Clients,
    /// How slow the store is and which requests it refuses.
    pub(crate) store_troubles: Mutex<StoreTroubles>,
    /// How a worker is to end in the middle of a transaction, and how many transactions go before that one.
    pub(crate) armed: Mutex<BTreeMap<usize, (u64, Ends)>>,
    /// Operations of crashed processes: dropping them would complete them.
    unanswered: Mutex<Vec<Box<dyn Work>>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "world {}", self.scenario.seed)
    }
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) fault: Option<Fault>,
    pub(crate) trace: Trace,
    /// Virtual microseconds.
    pub(crate) lasted: u64,
    pub(crate) polls: u64,
    pub(crate) calls: u64,
    /// How often something was let pass that only looks wrong.
    pub(crate) excuses: BTreeMap<&'static str, u64>,
    /// How often each situation was reached.
    pub(crate) reached: BTreeMap<Reached, u64>,
}

/// How long after the last trouble every job must have ended, in addition to the time that its calls take.
const PATIENCE: u64 = 300_000_000;

/// `PATIENCE` if the broker loses messages: while a queue is busy, checks for lost ones are ten minutes apart.
const PATIENCE_WITH_LOSSES: u64 = 1_800_000_000;

/// What is added to this if workers have different versions: each time that a worker parks an input, the pause doubles.
const PATIENCE_WITH_VERSIONS: u64 = 3_600_000_000;

/// How long a run continues after every job has ended.
const AFTERWARDS: u64 = 60_000_000;

const SECOND: u64 = 1_000_000;

impl World {
    fn new(scenario: Scenario, is_printed: bool) -> Arc<Self> {
        let executor = Executor::new(Dice::new(scenario.seed, "order", 0));
        let workers = scenario.workers.iter().map(|spec| Worker::new(spec, &executor)).collect();
        Arc::new(Self {
            clients: Clients::new(&scenario, &executor),
            workers,
            executor,
            tables: Mutex::default(),
            durable: Mutex::default(),
            soft: Mutex::default(),
            hoards: Mutex::default(),
            unused_slots: Mutex::default(),
            ticks: Mutex::default(),
            objects: Mutex::default(),
            published: Mutex::default(),
            ends: Mutex::default(),
            server: scenario.broker.map(|kind| Server::new(kind, scenario.seed)),
            broker_ends: Mutex::default(),
            oracle: Mutex::new(Oracle::new(scenario.store == StoreKind::None)),
            trace: Mutex::new(Trace::new(is_printed)),
            is_printed,
            next_owner: Mutex::new(0),
            store_troubles: Mutex::default(),
            armed: Mutex::default(),
            unanswered: Mutex::default(),
            has_unstorable: scenario.has_unstorable(),
            scenario,
        })
    }

    /// The owner of a new process.
    pub(crate) fn owner(&self) -> Owner {
        let mut next = self.next_owner.lock().unwrap();
        *next += 1;
        Owner(*next)
    }

    pub(crate) fn note(&self, owner: Owner, what: Arguments<'_>) {
        self.note_for(Interest::Shown, owner, what);
    }

    pub(crate) fn note_for(&self, interest: Interest, owner: Owner, what: Arguments<'_>) {
        let place = match owner {
            Owner::WORLD | Owner::OTHER_PROGRAM => "====".to_owned(),
            Owner(number) => format!("p{number}"),
        };
        self.trace.lock().unwrap().note(self.executor.now(), &place, interest, what);
    }

    /// Records the number that the client uses for a job.
    pub(crate) fn names(&self, job: JobId, number: u64) {
        self.trace.lock().unwrap().names(job, number);
    }

    pub(crate) fn oracle<T>(&self, look: impl FnOnce(&mut Oracle) -> T) -> T {
        look(&mut self.oracle.lock().unwrap())
    }

    /// Accesses the tables, past all troubles.
    pub(crate) fn truth<T>(&self, look: impl FnOnce(&mut Tables) -> T) -> T {
        look(&mut self.tables.lock().unwrap())
    }

    /// Returns whether a store keeps jobs.
    pub(crate) fn has_store(&self) -> bool {
        self.scenario.store != StoreKind::None
    }

    /// When all must have ended except schedules: clients wait no longer for messages that may be lost.
    pub(crate) fn job_deadline(&self) -> u64 {
        let patience = if self.scenario.loses_messages() { PATIENCE_WITH_LOSSES } else { PATIENCE };
        let patience = if self.scenario.has_versions() { patience + PATIENCE_WITH_VERSIONS } else { patience };
        self.last() + patience + self.scenario.work() * 1_000
    }

    /// When all must have ended.
    fn deadline(&self) -> u64 {
        self.job_deadline() + self.scenario.schedule_work() * 1_000 + 10 * SECOND
    }

    /// When the last trouble has ended, and the last act has started.
    fn last(&self) -> u64 {
        let acts = self.scenario.acts.iter().map(|(at, _)| *at);
        self.scenario.calm.max(acts.max().unwrap_or(0)) * 1_000
    }

    /// Describes the deadline, and what it is counted from.
    pub(crate) fn by_deadline(&self, now: u64) -> String {
        format!("by {} s, and the last trouble or act was over by {} s", Moment(now), Moment(self.last()))
    }

    pub(crate) fn time(&self) -> Timestamp {
        store_time(self.executor.now())
    }

    pub(crate) fn open_end(self: &Arc<Self>, owner: Owner) -> Arc<End> {
        let end = End::open(self, owner);
        self.ends.lock().unwrap().insert(owner, Arc::clone(&end));
        end
    }

    pub(crate) fn open_broker_end(self: &Arc<Self>, owner: Owner) -> Option<Arc<BrokerEnd>> {
        let end = self.server.is_some().then(|| BrokerEnd::open(self, owner))?;
        self.broker_ends.lock().unwrap().insert(owner, Arc::clone(&end));
        Some(end)
    }

    pub(crate) fn broker_end(&self, owner: Owner) -> Option<Arc<BrokerEnd>> {
        self.broker_ends.lock().unwrap().get(&owner).cloned()
    }

    pub(crate) fn end(&self, owner: Owner) -> Option<Arc<End>> {
        self.ends.lock().unwrap().get(&owner).cloned()
    }

    /// The processes that live, including clients.
    pub(crate) fn live_processes(&self) -> Vec<Owner> {
        self.ends.lock().unwrap().keys().copied().collect()
    }

    pub(crate) fn lives(&self, owner: Owner) -> bool {
        self.ends.lock().unwrap().contains_key(&owner)
    }

    /// Disconnects a process that has ended.
    pub(crate) fn close_end(&self, owner: Owner) {
        let end = self.ends.lock().unwrap().remove(&owner);
        drop(end);
        self.disconnect(owner);
        let end = self.broker_ends.lock().unwrap().remove(&owner);
        drop(end);
    }

    pub(crate) fn keep_unanswered(&self, works: Vec<Box<dyn Work>>) {
        self.unanswered.lock().unwrap().extend(works);
    }

    /// Records that a process has learned which of its jobs have ended.
    pub(crate) fn learns_of_ends(&self, owner: Owner, ended: &[JobId]) {
        let now = self.executor.now();
        for job in ended {
            let attempt = self.truth(|tables| tables.job(*job)).map_or(0, |view| view.job.attempt);
            self.note(owner, format_args!("learns that {job} has ended"));
            self.oracle(|oracle| oracle.learns_of_end(owner, *job, attempt, now));
        }
    }

    /// Records the call of a function; the call ends when the returned guard is dropped.
    pub(crate) fn begins(self: &Arc<Self>, owner: Owner, context: &Context) -> Calling {
        let (job, key, attempt) = (context.job_id(), context.idempotency_key(), context.attempt());
        let now = self.executor.now();
        let what = format!("{key} attempt {attempt}");
        let claimed = self.oracle(|oracle| oracle.claimed_at(owner, job, now));
        let limit = (context.task_name() == "timed").then_some(TIMEOUT.as_secs() * SECOND);
        let calling = format!("{} {what}", context.task_name());
        self.note(owner, format_args!("calls  {calling}"));
        let call = Call { owner, job, what, claimed, started: now, limit, is_suspect: false };
        let number = self.oracle(|oracle| oracle.begins(call, &key, attempt));
        self.check_limit(context);
        Calling { world: Arc::clone(self), number, owner, what: calling, is_over: AtomicBool::new(false) }
    }

    /// The jobs that have not ended.
    fn open(&self) -> Vec<String> {
        let filter = Filter { limit: usize::MAX, ..Filter::default() };
        let views = self.truth(|tables| tables.jobs(&filter));
        let open = views.iter().filter(|view| is_open(view) && &*view.job.task != SCHEDULE);
        let open = open.map(|view| format!("{} {} is {}", view.job.task, view.job.id, view.job.state));
        let sets = |server: &Server| if self.scenario.may_forget_sets() { Vec::new() } else { server.sets() };
        let messages =
            self.server.iter().filter(|_| !self.has_store()).flat_map(|server| [server.left(), sets(server)]);
        open.chain(messages.flatten()).collect()
    }

    /// Checks that nothing is left in a queue, and that only messages of other programs were dead-lettered.
    fn check_broker(&self) {
        let Some(server) = &self.server else { return };
        let (left, dead) = (server.left(), server.dead());
        if let Some(one) = left.first() {
            let detail = format!("{} messages are left in queues, such as {one}", left.len());
            self.oracle(|oracle| oracle.report(Property::Queues, detail));
        }
        let sets = server.sets();
        let may_stay = self.scenario.loses_messages() || self.scenario.may_forget_sets();
        if let Some(one) = sets.first().filter(|_| !may_stay) {
            let detail = format!("{} part queues are left, such as {one}", sets.len());
            self.oracle(|oracle| oracle.report(Property::Queues, detail));
        }
        // A message that was lost too often is dead-lettered, and its job records that; a job that was removed in time
        // is no longer known.
        let is_gone = |detail: &str| detail.contains("unknown-job: ") && self.scenario.retention > 0;
        // A copy of a message arrives after its set has ended.
        let is_late = |detail: &str| {
            let is_copy = || self.oracle(|oracle| detail.split(' ').any(|word| oracle.is_copied(word)));
            detail.contains("no-part-queue: ") && (self.scenario.doubles() || is_copy())
        };
        let is_unknown = |detail: &str| detail.starts_with("strange ") && detail.contains("unknown-task: ");
        let is_expected = |detail: &&String| {
            detail.contains("exhausted: ") || is_gone(detail) || is_late(detail) || is_unknown(detail)
        };
        if let Some(one) = dead.iter().find(|detail| !is_expected(detail)) {
            self.oracle(|oracle| oracle.report(Property::DeadLetters, one.clone()));
        }
    }

    /// Breaks the cycles between the world and its futures, so that its memory is freed.
    fn end_all(&self) {
        let owners: Vec<_> = (0..=*self.next_owner.lock().unwrap()).map(Owner).collect();
        for owner in owners.into_iter().rev() {
            self.executor.kill(owner);
        }
        self.ends.lock().unwrap().clear();
        self.broker_ends.lock().unwrap().clear();
        self.unanswered.lock().unwrap().clear();
        self.clients.forget();
    }
}

/// A call that is running.
pub(crate) struct Calling {
    world: Arc<World>,
    number: u64,
    owner: Owner,
    /// The key and the attempt of the call.
    what: String,
    /// Whether it was completed.
    is_over: AtomicBool,
}

impl Calling {
    /// The number by which the oracle knows the call.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Completes the call, so that dropping it does not count as a loss.
    pub(crate) fn returns(&self, how: Return) {
        self.is_over.store(true, Ordering::Relaxed);
        let (now, what) = (self.world.executor.now(), &self.what);
        match how {
            Return::Last(Some(key)) => self.world.note(self.owner, format_args!("returns {what}: {key}")),
            Return::Last(None) => self.world.note(self.owner, format_args!("fails  {what}, for the last time")),
            Return::Again => self.world.note(self.owner, format_args!("fails  {what}, to be retried")),
        }
        self.world.oracle(|oracle| oracle.returned(self.number, how, now));
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        let now = self.world.executor.now();
        let is_over = self.is_over.load(Ordering::Relaxed);
        if !is_over {
            self.world.note(self.owner, format_args!("drops  {}", self.what));
        }
        self.world.oracle(|oracle| oracle.ends(self.number, is_over, now));
    }
}

/// Runs a scenario to its end.
pub(crate) fn run(scenario: &Scenario, is_printed: bool) -> Report {
    let world = World::new(scenario.clone(), is_printed);
    let subscriber = LogToTrace { world: Arc::clone(&world), spans: AtomicU64::new(0) };
    tracing::subscriber::with_default(subscriber, || live(&world))
}

fn live(world: &Arc<World>) -> Report {
    let scenario = &world.scenario;
    for number in 0..world.workers.len() {
        world.start(number);
    }
    world.start_clients();
    world.executor.spawn(Owner::WORLD, Arc::clone(world).cause());
    let (last, deadline) = (world.last(), world.deadline());
    let (mut looked, mut over) = (0, None);
    loop {
        let step = world.executor.step();
        let now = world.executor.now();
        if world.oracle(|oracle| oracle.fault().is_some()) {
            break;
        }
        match step {
            Step::Polled => continue,
            Step::Loops => world.oracle(|oracle| oracle.report(Property::Loop, "polls without end".into())),
            Step::Quiet => world.oracle(|oracle| oracle.report(Property::Quiet, "nothing happens any more".into())),
            Step::Advanced => {}
        }
        world.check_slots();
        if now < looked + SECOND {
            continue;
        }
        looked = now;
        world.close_overdue_channels();
        world.check_acknowledged();
        world.check_permits();
        world.check_hoards();
        if now < last {
            continue;
        }
        let open = world.open();
        if open.is_empty() && world.schedules_wait() {
            world.clients.check_calm(scenario.n_schedules());
        }
        match over {
            None if open.is_empty() && world.clients.is_done() => over = Some(now),
            Some(over) if now > over + AFTERWARDS => break,
            _ if now > deadline && !open.is_empty() => {
                let (at, jobs) = (world.by_deadline(now), open.join(", "));
                let detail = format!("{} jobs have not ended {at}: {jobs}", open.len());
                world.oracle(|oracle| oracle.report(Property::Liveness, detail));
            }
            None if now > deadline => {
                let detail = format!("a client is still waiting {}", world.by_deadline(now));
                world.oracle(|oracle| oracle.report(Property::Liveness, detail));
            }
            _ => {}
        }
    }
    world.oracle(|oracle| oracle.check_rest(world.executor.now()));
    world.audit();
    world.check_events();
    world.check_storeless();
    world.check_broker();
    let fault = world.oracle(|oracle| oracle.fault().cloned());
    if let Some(Fault { property, detail }) = &fault {
        world.note(Owner::WORLD, format_args!("fault  {property}: {detail}"));
    }
    let report = Report {
        fault,
        trace: std::mem::take(&mut *world.trace.lock().unwrap()),
        lasted: world.executor.now(),
        polls: world.executor.polls(),
        calls: world.oracle(|oracle| oracle.n_calls),
        excuses: world.oracle(|oracle| std::mem::take(&mut oracle.excused)),
        reached: world.oracle(|oracle| std::mem::take(&mut oracle.reached)),
    };
    world.end_all();
    report
}
