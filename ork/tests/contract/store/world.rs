//! A new store for each test, and helpers that the tests share.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ork::{JobId, Policy, Timestamp, WorkerId};
use ork_core::job::{Job, Phase};
use ork_core::ledger::AppendResult;
use ork_core::tx::{
    Actor, AppendParts, Claim, Claimed, HeldRow, NewJob, OpenParts, Operation, PartAttemptOutcome, PartKey, PartPage,
    PartStart, SealParts, SettleParts, SettleResult, StartParts, Submit, Submitted,
};
use ork_ports::store::{Heartbeat, OutboxPage, Store, Take};
use ork_postgres::Postgres;
use ork_runtime::store::memory::Memory;
use ork_sqlite::{Sqlite, Synchronous};

use super::postgres;

/// The time at which every test starts.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_000_000);

/// A store, and a process that uses it.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) worker: WorkerId,
    _folder: tempfile::TempDir,
}

/// Runs a test with each store.
pub(crate) fn each<F: Future<Output = ()>>(case: impl Fn(World) -> F) {
    for name in ["memory", "sqlite", "postgres"] {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let Some(store) = open(name, folder.path()).await else { return };
            let world = World { store: Arc::clone(&store), worker: WorkerId::new("one"), _folder: folder };
            let within = Duration::from_mins(1);
            tokio::time::timeout(within, case(world)).await.unwrap_or_else(|_| panic!("hangs over {name}"));
            store.close().await;
        });
    }
}

/// Opens an empty store; `None` if its server is not available.
pub(crate) async fn open(name: &str, folder: &Path) -> Option<Arc<dyn Store>> {
    Some(match name {
        "memory" => Arc::new(Memory::new()),
        "sqlite" => Arc::new(Sqlite::open(&folder.join("ork.db"), Synchronous::Full).unwrap()),
        _ => Arc::new(Postgres::open(&postgres::database().await?).await.unwrap()),
    })
}

/// Runs a test that chooses its store itself.
pub(crate) fn on<F: Future>(case: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_mins(2), case).await.expect("it hangs") })
}

impl World {
    /// Creates a process that uses this store.
    pub(crate) fn over(store: Arc<dyn Store>) -> Self {
        Self { store, worker: WorkerId::new("one"), _folder: tempfile::tempdir().unwrap() }
    }

    /// Creates a process that opens a store on this database.
    pub(crate) async fn postgres(url: &str) -> Self {
        Self::over(Arc::new(Postgres::open(url).await.unwrap()))
    }

    pub(crate) fn by(&self) -> Actor {
        Actor { worker: self.worker.clone(), now: START, hold: false, events: ork_core::event::EventRouting::Off }
    }

    /// Returns the same store as used by another process.
    pub(crate) fn other(&self) -> Self {
        Self { store: Arc::clone(&self.store), worker: WorkerId::new("two"), _folder: tempfile::tempdir().unwrap() }
    }

    /// Applies an operation. Returns its output.
    pub(crate) async fn apply<O: Operation>(&self, operation: O) -> O::Output {
        self.store.apply(operation).await.unwrap().output
    }

    pub(crate) async fn submit(&self, task: &str) -> JobId {
        self.submit_with(Job::new(JobId::new(), task, START)).await
    }

    pub(crate) async fn submit_with(&self, job: Job) -> JobId {
        let id = job.id;
        let new = NewJob { job, input: "{}".into() };
        assert_eq!(self.apply(Submit::new(new, self.by())).await, Submitted::Created);
        id
    }

    pub(crate) async fn claim(&self, id: JobId, phase: Phase, attempt: u32) -> Claimed {
        let mut job = Job::new(id, "unknown", START);
        job.phase = phase;
        let unknown = NewJob { job, input: "{}".into() };
        self.apply(Claim::new(unknown, phase, attempt, self.by())).await
    }

    /// Opens a split of this job. Returns the epoch.
    pub(crate) async fn opened(&self, id: JobId, policy: Policy, has_join: bool) -> u32 {
        assert!(matches!(self.claim(id, Phase::Start, 1).await, Claimed::Granted { .. }));
        self.apply(OpenParts { job: id, attempt: 1, policy, has_join, schema: None }).await.unwrap()
    }

    pub(crate) async fn append(&self, job: JobId, epoch: u32, first: u64, len: u64) -> AppendResult {
        let inputs = (first..first + len).map(|index| Bytes::from(index.to_string())).collect();
        self.apply(AppendParts { page: PartPage { job, epoch, first, inputs }, actor: self.by() }).await
    }

    pub(crate) async fn seal(&self, job: JobId, epoch: u32, n: u64) -> bool {
        let seal = SealParts { job, epoch, n, output: None, permit: None, actor: self.by() };
        self.apply(seal).await != SettleResult::Stale
    }

    /// Submits a job that waits for `n` parts.
    pub(crate) async fn with_parts(&self, n: u64, policy: Policy, has_join: bool) -> JobId {
        let id = self.submit("many").await;
        let epoch = self.opened(id, policy, has_join).await;
        if n > 0 {
            self.append(id, epoch, 0, n).await;
        }
        self.seal(id, epoch, n).await;
        id
    }

    pub(crate) async fn start(&self, part: PartKey) -> PartStart {
        self.apply(StartParts::one(part, false, self.by())).await.parts[0]
    }

    pub(crate) async fn settle(&self, part: PartKey, how: PartAttemptOutcome) -> SettleResult {
        self.apply(SettleParts::one(part, how, self.by())).await
    }

    /// Takes at most `limit` messages of any task, at a time after the start.
    pub(crate) async fn take_at(&self, limit: usize, after: Duration) -> OutboxPage {
        let by = Actor { now: START + after, ..self.by() };
        self.store.take_outbox(Take { limit, tasks: None, actor: by }).await.unwrap()
    }

    pub(crate) async fn take(&self, limit: usize) -> Vec<HeldRow> {
        self.take_at(limit, Duration::ZERO).await.rows
    }

    pub(crate) async fn beat_at(&self, after: Duration, running: Vec<JobId>) -> Vec<JobId> {
        let by = Actor { now: START + after, ..self.by() };
        self.store
            .heartbeat(Heartbeat {
                ttl: Duration::from_secs(10),
                running,
                holding: Vec::new(),
                waiting: Vec::new(),
                actor: by,
            })
            .await
            .unwrap()
            .ended
    }
}

/// The first attempt at a part in the first epoch.
pub(crate) const fn part(job: JobId, index: u64) -> PartKey {
    PartKey { job, epoch: 1, index, attempt: 1 }
}

pub(crate) fn ok() -> PartAttemptOutcome {
    PartAttemptOutcome::Succeeded("1".into())
}

pub(crate) fn failed() -> PartAttemptOutcome {
    PartAttemptOutcome::Failed { failure: ork::Failure::new(ork::FailureKind::Task, "no"), retry_at: None }
}
