//! A world: one ork process with its own store, both gone at the end of the test.

use std::sync::Arc;
use std::time::Duration;

use ork::{JobId, JobOutcome, JobState, Ork, OrkBuilder, Status};

use super::clock::Manual;

/// The deadline of a test, which only a test that hangs reaches.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Runs a test in a world over each store.
pub(crate) fn each<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    each_on(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(), test);
}

/// Runs a test in a world over each store, on the given runtime.
pub(crate) fn each_on<F: Future<Output = ()>>(
    runtime: impl Fn() -> tokio::runtime::Runtime,
    test: impl Fn(World) -> F,
) {
    for store in stores() {
        let runtime = runtime();
        runtime.block_on(async {
            let Some(world) = World::of(store).await else { return };
            tokio::time::timeout(DEADLINE, test(world)).await.unwrap_or_else(|_| panic!("hangs over {store}"));
        });
        runtime.shutdown_background();
    }
}

/// The stores that this program was built with.
fn stores() -> Vec<&'static str> {
    let mut stores = vec!["memory:"];
    if cfg!(feature = "sqlite") {
        stores.push("sqlite");
    }
    if cfg!(feature = "postgres") {
        stores.push("postgres");
    }
    stores
}

/// One ork process.
pub(crate) struct World {
    pub(crate) ork: Ork,
    pub(crate) folder: tempfile::TempDir,
    store: String,
}

impl World {
    /// Starts a worker over this store.
    pub(crate) async fn new(store: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::over(folder, store).await
    }

    /// A process over an empty store of this kind; `None` if there is no server for it.
    async fn of(store: &str) -> Option<Self> {
        #[cfg(feature = "postgres")]
        if store == "postgres" {
            let url = super::postgres::database().await?;
            return Some(Self::new(&url).await);
        }
        Some(Self::new(store).await)
    }

    async fn over(folder: tempfile::TempDir, store: &str) -> Self {
        let store = match store {
            "sqlite" => format!("sqlite:{}", folder.path().join("ork.db").display()),
            other => other.to_owned(),
        };
        let ork = builder(&store).build().await.unwrap();
        ork.spawn_worker();
        Self { ork, folder, store }
    }

    /// Another process over the same store; `None` for the memory store, which processes cannot share.
    pub(crate) async fn another(&self) -> Option<Ork> {
        if self.store == "memory:" {
            return None;
        }
        Some(builder(&self.store).build().await.unwrap())
    }

    /// The store, if other processes can share it.
    pub(crate) fn shared_store(&self) -> Option<&str> {
        (self.store != "memory:").then_some(&self.store)
    }

    /// Waits for a job, and returns its outcome.
    pub(crate) async fn outcome(&self, id: JobId) -> JobOutcome {
        self.ork.wait(id).await.unwrap()
    }

    /// Waits until the status of a job meets this condition.
    pub(crate) async fn until(&self, id: JobId, condition: impl Fn(&Status) -> bool) -> Status {
        use futures_util::StreamExt as _;
        let mut progress = std::pin::pin!(self.ork.watch(id));
        while let Some(status) = progress.next().await {
            let status = status.unwrap();
            if condition(&status) {
                return status;
            }
            assert!(!status.state.is_final(), "ended without it: {status:?}");
        }
        panic!("the stream ended");
    }

    /// Replaces the process with a new one over the same store that uses this clock.
    pub(crate) async fn with_clock(self, clock: &Arc<Manual>) -> Self {
        self.ork.shutdown().await;
        let ork = builder(&self.store).clock(Arc::<Manual>::clone(clock)).build().await.unwrap();
        ork.spawn_worker();
        Self { ork, ..self }
    }

    /// Returns the process, the name of its store, and its folder.
    pub(crate) fn parts(self) -> (Ork, String, tempfile::TempDir) {
        (self.ork, self.store, self.folder)
    }

    /// Shuts the process down.
    pub(crate) async fn end(self) {
        self.ork.shutdown().await;
    }
}

pub(crate) fn builder(store: &str) -> OrkBuilder {
    let config = ork::Config::from(Some(std::path::Path::new("/dev/null")), []).unwrap();
    ork::builder()
        .config(config)
        .store(store)
        .set("cancel_grace", "100ms")
        .state(super::tasks::Greeting("hello".into()))
}

/// Returns the failure message of a job that failed.
pub(crate) fn why(outcome: &JobOutcome) -> String {
    assert_eq!(outcome.status().state, JobState::Failed, "{outcome:?}");
    outcome.status().failure.as_ref().unwrap().to_string()
}
