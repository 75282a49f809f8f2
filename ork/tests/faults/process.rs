//! A world that outlives its processes: a store, a broker and a clock that can be advanced; and the final checks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ork::{ClientError, Filter, JobId, JobState, Ork, Timestamp, WorkerId};
use ork_core::clock::{Clock, Pause};
use ork_core::job::Job;
use ork_core::message::{Message, Outgoing, WorkKind};
use ork_core::output::OutputRef;
use ork_core::tx::Actor;
use ork_ports::broker::Broker;
use ork_ports::objects::Objects;
use ork_ports::store::{Heartbeat, JobView, PendingOutbox, Store, Take};
use ork_runtime::store::memory::Memory;
use ork_sqlite::{Sqlite, Synchronous};

use super::faulty::{Fault, Faults, FaultyBroker, FaultyObjects, FaultyStore};
use super::hub::{Hub, HubEnd};
use super::objects::Shelf;
use super::tasks::{
    after_both, calls, follows, is_followed, itself, last, many_part, narrow_part, one_of_two, plain, trunk,
};
use super::workflow_runs;

/// The deadline of a life, which only a process that hangs reaches.
const DEADLINE: Duration = Duration::from_mins(1);

/// How much faster than real time the clock runs.
const FAST: u32 = 25;

/// A fast clock that can be advanced.
#[derive(Debug)]
pub(crate) struct FastClock {
    start: Instant,
    advanced: AtomicI64,
}

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        let since = i64::try_from((self.start.elapsed() * FAST).as_millis()).unwrap();
        Timestamp::from_millis(1_000_000_000 + since + self.advanced.load(Ordering::SeqCst))
    }

    fn pause(&self, duration: Duration) -> Pause {
        Box::pin(tokio::time::sleep(duration / FAST))
    }
}

/// The kind of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Sqlite,
}

/// The resources that survive a process.
pub(crate) struct World {
    kind: Kind,
    pub(crate) store: Arc<dyn Store>,
    /// The broker; `None` if messages travel through the store.
    pub(crate) hub: Option<Arc<Hub>>,
    /// The object store for all outputs of more than one byte; `None` if outputs stay in their rows.
    shelf: Option<Arc<Shelf>>,
    clock: Arc<FastClock>,
    _folder: tempfile::TempDir,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, hub, shelf, .. } = self;
        write!(f, "{kind:?}, relayed: {}, shelf: {}", hub.is_some(), shelf.is_some())
    }
}

/// The work that is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Plain,
    Parts(u64),
    /// Parts under a concurrency limit.
    Limited(u64),
    /// Parts of a job that splits itself.
    DynamicSplit(u64),
    /// A job with this many child jobs, and a follower.
    Tree(u64),
    /// A plain job with hooks.
    Hooked,
    /// A job that follows two others, the second of which fails.
    AfterTwo,
    /// A workflow run with this many instances of a step.
    Run(u64),
}

/// How many hooks are sent after the job.
const FOLLOWERS: u64 = 3;

impl World {
    pub(crate) fn new(kind: Kind, hub: Option<Arc<Hub>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = match kind {
            Kind::Memory => Arc::new(Memory::new()),
            // The process dies here, not the machine.
            Kind::Sqlite => Arc::new(Sqlite::open(&folder.path().join("ork.db"), Synchronous::Normal).unwrap()),
        };
        let clock = Arc::new(FastClock { start: Instant::now(), advanced: AtomicI64::new(0) });
        Self { kind, store, hub, shelf: None, clock, _folder: folder }
    }

    /// Returns the same world with a store that wraps the present one.
    pub(crate) fn through(self, store: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        Self { store: store(self.store), ..self }
    }

    /// Returns the same world with an object store for large outputs.
    pub(crate) fn with_shelf(self) -> Self {
        Self { shelf: Some(Shelf::new()), ..self }
    }

    async fn process(&self, faults: &Arc<Faults>) -> Option<Ork> {
        let worker = WorkerId::new("one");
        let store: Arc<dyn Store> = Arc::new(FaultyStore(Arc::clone(&self.store), Arc::clone(faults)));
        let clock: Arc<dyn Clock> = Arc::<FastClock>::clone(&self.clock);
        let broker = self.hub.as_ref().map(|hub| -> Arc<dyn Broker> {
            Arc::new(FaultyBroker(Arc::new(HubEnd(Arc::clone(hub))), Arc::clone(faults)))
        });
        let config = ork::Config::from(Some(Path::new("/dev/null")), []).unwrap();
        let builder = ork::builder()
            .config(config)
            .set("concurrency", "4")
            .set("blocking_concurrency", "2")
            .set("events", "jobs");
        let builder = match &self.shelf {
            None => builder,
            Some(objects) => {
                let objects: Arc<dyn Objects> = Arc::<Shelf>::clone(objects);
                let objects = FaultyObjects(objects, Arc::clone(faults));
                builder.objects(Arc::new(objects)).set("large_output_bytes", "1")
            }
        };
        builder.clock(clock).ports(store, broker, worker).build().await.ok()
    }

    /// Lets a process work until the job is done or the process dies. A process that cannot start is restarted.
    async fn live(&self, work: Work, run: &str, faults: &Arc<Faults>) {
        let ork = loop {
            if let Some(ork) = self.process(faults).await {
                break ork;
            }
        };
        ork.spawn_worker();
        let failed = ork.failed();
        let id = match self.find(work).await {
            Some(id) => id,
            None => loop {
                let run = run.to_owned();
                let submitted = match work {
                    Work::Plain => ork.submit(plain { run }).await.map(|job| job.id()),
                    Work::Hooked => {
                        let mut job = ork.submit(plain { run: run.clone() });
                        for number in 0..FOLLOWERS {
                            job = job.on_complete(follows { run: run.clone(), number });
                        }
                        job.on_failure(follows { run, number: FOLLOWERS }).await.map(|job| job.id())
                    }
                    Work::Parts(parts) => ork.submit(many_part { run, parts }).await.map(|job| job.id()),
                    Work::Limited(parts) => ork.submit(narrow_part { run, parts }).await.map(|job| job.id()),
                    Work::DynamicSplit(parts) => ork.submit(itself { run, parts }).await.map(|job| job.id()),
                    Work::Tree(twigs) => ork.submit(trunk { run, twigs }).await.map(|job| job.id()),
                    Work::AfterTwo => match self.pair(&ork, &run).await {
                        Ok([one, two]) => {
                            ork.submit(after_both { run }).after(one).after(two).await.map(|job| job.id())
                        }
                        Err(error) => Err(error),
                    },
                    Work::Run(n) => ork.workflows().submit(&workflow_runs::plan(&run, n)).await.map(|run| run.id()),
                };
                // A submission that failed has had no effect.
                if let Ok(id) = submitted {
                    break id;
                }
            },
        };
        is_followed(run);
        let ended = async {
            while ork.wait(id).await.is_err() {}
            if let Work::Tree(_) = work {
                for follows in self.of_task("crown").await {
                    while ork.wait(follows.job.id).await.is_err() {}
                }
            }
            if work == Work::Hooked {
                self.followed(id).await;
            }
            // Rows are taken in order, so once this job is done, the rows that an earlier process held are done, too.
            while ork.submit(last { number: 1 }).result().await.is_err() {}
            // A process that shuts down starts nothing more, so every job must have ended before.
            for job in self.open().await {
                while ork.wait(job).await.is_err() {}
            }
        };
        tokio::select! {
            () = ended => {}
            // As under a supervisor: a worker that cannot work is restarted.
            () = failed.cancelled() => return,
        }
        if let Some(hub) = &self.hub {
            hub.idle().await;
        }
        ork.shutdown().await;
    }

    /// The whole life of one process, until its end or its death. Nothing of it is left afterwards.
    pub(crate) fn life(&self, work: Work, run: &str, faults: &Arc<Faults>) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let life = async {
                tokio::select! {
                    () = self.live(work, run, faults) => {}
                    () = faults.death() => {}
                }
            };
            let in_time = tokio::time::timeout(DEADLINE, life).await;
            assert!(in_time.is_ok(), "hangs after {} calls", faults.calls());
        });
        runtime.shutdown_timeout(DEADLINE);
        // Longer than it takes until a dead process is presumed dead.
        self.clock.advanced.fetch_add(60_000, Ordering::SeqCst);
    }

    async fn find(&self, work: Work) -> Option<JobId> {
        let task = match work {
            Work::Plain | Work::Hooked => "plain",
            Work::Parts(_) => "many",
            Work::Limited(_) => "narrow",
            Work::DynamicSplit(_) => "itself",
            Work::Tree(_) => "trunk",
            Work::AfterTwo => "after_both",
            Work::Run(_) => ork_core::workflow_run::RUN,
        };
        let filter = Filter { limit: 10, task: Some(task.to_owned()), ..Filter::default() };
        let jobs = self.store.jobs(filter).await.unwrap();
        assert!(jobs.len() <= 1, "submitted twice");
        jobs.first().map(|view| view.job.id)
    }

    /// Returns the two jobs that a third one is to follow, and submits those that no earlier process has submitted.
    async fn pair(&self, ork: &Ork, run: &str) -> Result<[JobId; 2], ClientError> {
        let known = self.of_task("one_of_two").await;
        let number = |view: &JobView| {
            let input: serde_json::Value = serde_json::from_slice(&view.input).unwrap();
            input.get("number").and_then(serde_json::Value::as_u64)
        };
        let mut pair = [None; 2];
        for (at, job) in (0..).zip(&mut pair) {
            *job = known.iter().find(|view| number(view) == Some(at)).map(|view| view.job.id);
            if job.is_none() {
                *job = Some(ork.submit(one_of_two { run: run.to_owned(), number: at }).await?.id());
            }
        }
        Ok(pair.map(Option::unwrap))
    }

    /// Asserts that the follower started after both jobs had ended, and that each was called as often as needed.
    async fn audit_pair(&self, run: &str, follower: &Job, lives: u32) {
        let pair = self.of_task("one_of_two").await;
        let mut states: Vec<_> = pair.iter().map(|view| view.job.state).collect();
        states.sort_by_key(|state| state.as_str());
        assert_eq!(states, [JobState::Failed, JobState::Succeeded]);
        assert!(pair.iter().all(|view| follower.started >= view.job.ended), "{follower:?} and {pair:?}");
        for what in ["0", "1", "after_both"] {
            let calls = calls(&format!("{run}.{what}"));
            assert!((1..=lives).contains(&calls), "{what} was called {calls} times in {lives} lives");
        }
    }

    /// Returns the jobs that have not ended.
    async fn open(&self) -> Vec<JobId> {
        let states = JobState::ALL.into_iter().filter(|state| !state.is_final()).collect();
        let filter = Filter { limit: 1_000, states, ..Filter::default() };
        self.store.jobs(filter).await.unwrap().iter().map(|view| view.job.id).collect()
    }

    async fn of_task(&self, task: &str) -> Vec<JobView> {
        let filter = Filter { limit: 1_000, task: Some(task.to_owned()), ..Filter::default() };
        self.store.jobs(filter).await.unwrap()
    }

    /// Waits for the end of the last hook of a job.
    async fn followed(&self, id: JobId) {
        let mut changes = self.store.notifier().watch();
        let last = id.following(usize::try_from(FOLLOWERS).unwrap() - 1);
        while self.store.job(last).await.unwrap().is_none_or(|view| !view.job.state.is_final()) {
            changes.recv().await.unwrap();
        }
    }

    /// Asserts that everything is as if nothing had happened, after `lives` processes have lived.
    pub(crate) fn audit(&self, work: Work, run: &str, lives: u32) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let id = self.find(work).await.unwrap();
            let view = self.store.job(id).await.unwrap().unwrap();
            assert_eq!(view.job.state, JobState::Succeeded, "{view:?}");
            match work {
                Work::Run(n) => workflow_runs::audit(&*self.store, id, (run, n), lives).await,
                Work::Plain | Work::Hooked => {
                    assert!((1..=lives).contains(&calls(&format!("{run}.plain"))));
                    assert_eq!(self.output(view.output).await, format!("{run:?}").as_bytes());
                }
                Work::AfterTwo => self.audit_pair(run, &view.job, lives).await,
                Work::Tree(n) => {
                    let tree = view.job.tree;
                    assert_eq!(
                        (tree.descendants, tree.descendants_ended, tree.open_children, tree.failed_children),
                        (n, n, 0, 0)
                    );
                    // The attempt that submits them may have run several times. The follower ran once, after the tree.
                    let follows = self.of_task("crown").await;
                    let crown = follows.first().unwrap();
                    assert_eq!((follows.len(), crown.job.state), (1, JobState::Succeeded));
                    assert!((1..=lives).contains(&calls(&format!("{run}.crown"))));
                    assert!(crown.job.started >= view.job.ended);
                    let twigs = self.of_task("twig").await;
                    assert_eq!(u64::try_from(twigs.len()).unwrap(), n);
                    assert!(twigs.iter().all(|twig| twig.job.state == JobState::Succeeded));
                    for number in 0..n {
                        let attempts = if number == 7 { 2 } else { 1 };
                        let calls = calls(&format!("{run}.{number}"));
                        assert!((attempts..attempts + lives).contains(&calls), "twig {number} ran {calls} times");
                    }
                }
                Work::Parts(n) | Work::Limited(n) | Work::DynamicSplit(n) => {
                    let counts = view.counts;
                    assert_eq!((counts.succeeded, counts.settled(), counts.running), (n, n, 0));
                    assert_eq!(self.output(view.output).await, (n * (n - 1) / 2).to_string().as_bytes());
                    // A join that died before its settlement is called again, but never after the settlement.
                    let joins = calls(&format!("{id}.join"));
                    assert!((1..=lives).contains(&joins), "joined {joins} times");
                    let parts = self.store.parts(id, 0, usize::MAX).await.unwrap();
                    assert!(parts.iter().map(|part| part.index).eq(0..n));
                    for part in parts {
                        assert_eq!(self.output(part.output).await, part.index.to_string().as_bytes());
                    }
                }
            }
            if work == Work::Hooked {
                let filter = Filter { limit: 10, task: Some("follows".to_owned()), ..Filter::default() };
                let mut follow: Vec<_> =
                    self.store.jobs(filter).await.unwrap().into_iter().map(|it| it.job.id).collect();
                let mut expected: Vec<_> = (0..3).map(|at| id.following(at)).collect();
                follow.sort_unstable();
                expected.sort_unstable();
                assert_eq!(follow, expected);
                for number in 0..FOLLOWERS {
                    assert!((1..=lives).contains(&calls(&format!("{run}.follows.{number}"))));
                }
                assert_eq!(view.job.hooks.unwrap().failure, None);
            }
            self.nothing_is_left(matches!(work, Work::Limited(_)), lives).await;
            if let Some(hub) = &self.hub {
                super::events::audit(
                    hub.events(),
                    id,
                    matches!(work, Work::Parts(_) | Work::Limited(_) | Work::DynamicSplit(_)),
                    hub.loses(),
                );
            }
            assert_eq!(self.store.diagnostics(id).await.unwrap().outbox, PendingOutbox::default());
        });
    }

    /// Returns the output that a row holds or refers to.
    async fn output(&self, row: Option<Bytes>) -> Bytes {
        let row = row.unwrap();
        let Some(note) = OutputRef::read(&row) else { return row };
        let (note, objects) = (note.unwrap(), self.shelf.as_ref().unwrap());
        objects.get(&note.object.unwrap(), note.bytes).await.unwrap()
    }

    /// Returns whether a message belongs to a job that has ended. A worker that shuts down requeues work that it has
    /// not started, so a redelivered message is left for the next worker, which finds that nothing is to be done.
    async fn has_ended(&self, message: &Outgoing) -> bool {
        let Outgoing::Work(Message {
            job,
            kind: WorkKind::Job | WorkKind::Single | WorkKind::Step | WorkKind::Join,
            ..
        }) = message
        else {
            return false;
        };
        self.store.job(*job).await.unwrap().is_some_and(|view| view.job.state.is_final())
    }

    async fn nothing_is_left(&self, limited: bool, lives: u32) {
        let by = Actor {
            worker: WorkerId::new("auditor"),
            now: self.clock.now() + DEADLINE * 60,
            hold: true,
            events: ork_core::event::EventRouting::Off,
        };
        loop {
            // Releases the rows of dead processes, and the rows that wait for their permits, so that they would be
            // taken.
            let ttl = Duration::from_secs(1);
            self.store
                .heartbeat(Heartbeat {
                    ttl,
                    running: Vec::new(),
                    holding: Vec::new(),
                    waiting: Vec::new(),
                    actor: by.clone(),
                })
                .await
                .unwrap();
            let left = self.store.take_outbox(Take { limit: 1_000, tasks: None, actor: by.clone() }).await.unwrap();
            // Rows that may be left although no work is open. Parts that were lost with a process are redelivered one
            // at a time, so the next process may have ended before it has received all parts of a row. A part may have
            // waited for a permit when its process died before it could acknowledge the message: that message was
            // redelivered, and the row is found later. The rows of a split that was run again are stale. And a worker
            // that shuts down before it starts such parts requeues them, and they are settled.
            let mut done = left.next_due.is_none();
            for row in &left.rows {
                let stale = lives > 1 && row.messages.is_empty();
                done &= row.losses > 0 || limited || stale;
                for message in &row.messages {
                    done &= self.has_ended(message).await;
                }
            }
            assert!(done, "left: {left:?}");
            if left.rows.is_empty() {
                break;
            }
            self.store.delete_outbox(left.rows.iter().map(|row| row.id).collect(), by.clone()).await.unwrap();
        }
        if let Some(hub) = &self.hub {
            assert_eq!(hub.dead(), Vec::<String>::new());
        }
    }
}

/// Returns how many calls a life without faults makes.
pub(crate) fn count(world: &World, work: Work, run: &str) -> usize {
    let faults = Faults::at(0, Fault::Error);
    world.life(work, run, &faults);
    world.audit(work, run, 1);
    faults.calls()
}
