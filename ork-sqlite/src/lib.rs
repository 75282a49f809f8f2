//! The store `sqlite:PATH`: one file, shared by any number of processes on one machine.
//!
//! One thread writes. It applies all commands that wait in one transaction and replies after the commit, so that full
//! durability costs one `fsync` for each batch. A second connection reads. The module `wake` notifies other processes
//! of changes.
//!
//! The thread is in `writer`, and its open transaction in `session`: `load` reads rows into the transaction, and `save`
//! writes its changes.

mod codec;
mod command;
mod error;
mod folder_watch;
mod follows;
mod load;
mod metrics;
mod outbox;
mod permits;
mod prune;
mod save;
mod schema;
mod session;
mod uniques;
mod views;
mod wake;
mod workers;
mod writer;

pub use self::schema::Synchronous;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use self::command::{Command, Io};
use self::error::closed;
use self::session::Session;
use self::wake::Wake;
use self::writer::Writer;
use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::metric::{Delta, Metric};
use ork_core::progress::Progress;
use ork_core::tx::{Actor, OutboxId, StoreNotice};
use ork_ports::store::SettledPart;
use ork_ports::store::{
    Expired, Filter, Heartbeat, HeartbeatReply, JobDiagnostics, JobView, MetricsOf, Notifier, OutboxPage, PartFilter,
    PartStatus, Prune, Pruned, Store, StoreError, Take, Work,
};

/// A store in one `SQLite` file.
#[derive(Debug)]
pub struct Sqlite {
    /// The path of the file. Some reads open it once more, and errors name it.
    path: PathBuf,
    /// The writing thread; `None` once the store is closed.
    writer: Mutex<Option<Writer>>,
    /// Sends commands to the writing thread, which executes them in order.
    commands: std::sync::mpsc::Sender<Command>,
    /// The connection that reads, used by one caller at a time.
    reader: Arc<Mutex<Connection>>,
    /// Announces changes to the listeners in this process.
    notifier: Notifier,
    /// Receives the changes of other processes; `None` once the store is closed.
    wake: Mutex<Option<Wake>>,
    /// Whether the writer has returned results that are not committed yet. A read then waits for the commit, so that it
    /// finds the results that its caller may already have received.
    open: Arc<AtomicBool>,
}

impl Sqlite {
    /// Opens the file, creates it and its folder if they do not exist, and migrates its tables.
    ///
    /// # Errors
    /// If the file cannot be opened, read or written, belongs to another program, or was written by a newer version or
    /// a development version of ork.
    pub fn open(path: &Path, synchronous: Synchronous) -> Result<Self, StoreError> {
        Self::with(path, schema::open(path, synchronous)?, synchronous)
    }

    /// Opens a file that may not grow beyond this number of pages, as on a full disk.
    #[doc(hidden)]
    pub fn open_bounded(path: &Path, synchronous: Synchronous, pages: i64) -> Result<Self, StoreError> {
        let connection = schema::open(path, synchronous)?;
        let bounded = connection.pragma_update(None, "max_page_count", pages);
        bounded.map_err(|error| error::store_error(path, error))?;
        Self::with(path, connection, synchronous)
    }

    fn with(path: &Path, connection: Connection, synchronous: Synchronous) -> Result<Self, StoreError> {
        let reader = schema::open_reader(path)?;
        let notifier = Notifier::new();
        let (wake, bell) = Wake::new(path, notifier.clone())?;
        let (commands, queue) = std::sync::mpsc::channel();
        let open = Arc::new(AtomicBool::new(false));
        let session = Session::new(connection, synchronous, Arc::clone(&open));
        let writer = Writer::start(path.to_owned(), session, queue, notifier.clone(), bell)?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(Some(writer)),
            commands,
            reader: Arc::new(Mutex::new(reader)),
            notifier,
            wake: Mutex::new(Some(wake)),
            open,
        })
    }

    /// Runs `work` in the next transaction.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection, &mut Vec<StoreNotice>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Io(Box::new(Io::new(work, reply))));
        sent.map_err(|_the_writer_is_gone| closed())?;
        answer.await.unwrap_or_else(|_dropped| Err(closed()))
    }

    /// Runs `work`, which removes jobs, in the next transaction.
    async fn remove<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let io = Io::new(move |connection: &Connection, _: &mut Vec<StoreNotice>| work(connection), reply).removes();
        self.commands.send(Command::Io(Box::new(io))).map_err(|_the_writer_is_gone| closed())?;
        answer.await.unwrap_or_else(|_dropped| Err(closed()))
    }

    /// Runs `work` on the reading connection, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        // A caller that received a result before its commit must find it when it reads.
        if self.open.load(Ordering::Acquire) {
            // If the commit fails, the uncommitted changes are lost, and the read returns what the file contains.
            drop(self.write(|_, _| Ok(())).await);
        }
        let (reader, path) = (Arc::clone(&self.reader), self.path.clone());
        let done = tokio::task::spawn_blocking(move || {
            let connection = reader.lock().unwrap_or_else(PoisonError::into_inner);
            work(&connection).map_err(|error| error::store_error(&path, error))
        });
        done.await.unwrap_or_else(|_stopped| Err(closed()))
    }
}

#[async_trait]
impl Store for Sqlite {
    fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    fn enqueue(&self, work: Box<dyn Work>) {
        if let Err(std::sync::mpsc::SendError(Command::Work(work))) = self.commands.send(Command::Work(work)) {
            work.finish(Err(closed()));
        }
    }

    async fn take_outbox(&self, take: Take) -> Result<OutboxPage, StoreError> {
        self.write(move |connection, _| outbox::take(connection, &take)).await
    }

    async fn delete_outbox(&self, rows: Vec<OutboxId>, actor: Actor) -> Result<(), StoreError> {
        self.write(move |connection, _| outbox::delete(connection, &rows, &actor)).await
    }

    async fn release_outbox(&self, rows: Vec<OutboxId>, actor: Actor) -> Result<(), StoreError> {
        self.write(move |connection, notices| outbox::release(connection, &rows, &actor, notices)).await
    }

    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        // The heartbeat may have to wait for other processes. The process is considered alive from the time of the
        // write on.
        let asked = Instant::now();
        let written = move |connection: &Connection, notices: &mut Vec<StoreNotice>| {
            let heartbeat = Heartbeat { ttl: heartbeat.ttl + asked.elapsed(), ..heartbeat.clone() };
            workers::heartbeat(connection, &heartbeat, notices)
        };
        self.write(written).await
    }

    async fn leave(&self, actor: Actor) -> Result<(), StoreError> {
        self.write(move |connection, notices| workers::leave(connection, &actor, notices)).await
    }

    async fn progress(&self, job: JobId, part: Option<u64>, progress: Progress) -> Result<(), StoreError> {
        self.write(move |connection, notices| save::progress(connection, job, part, &progress, notices)).await
    }

    async fn record(&self, deltas: Vec<Delta>) -> Result<Vec<JobId>, StoreError> {
        self.write(move |connection, _| metrics::record(connection, &deltas)).await
    }

    async fn metrics(&self, of: MetricsOf) -> Result<Vec<Metric>, StoreError> {
        self.read(move |connection| metrics::recorded(connection, of)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError> {
        self.read(move |connection| views::job(connection, id)).await
    }

    async fn jobs(&self, filter: Filter) -> Result<Vec<JobView>, StoreError> {
        self.read(move |connection| views::jobs(connection, &filter)).await
    }

    async fn parts(&self, job: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, StoreError> {
        self.read(move |connection| views::parts(connection, job, from, limit)).await
    }

    async fn list_parts(&self, job: JobId, filter: PartFilter) -> Result<Vec<PartStatus>, StoreError> {
        self.read(move |connection| views::list_parts(connection, job, &filter)).await
    }

    async fn diagnostics(&self, job: JobId) -> Result<JobDiagnostics, StoreError> {
        self.read(move |connection| views::diagnostics(connection, job)).await
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(workers::time).await.map(Some)
    }

    async fn store_id(&self) -> Result<Uuid, StoreError> {
        self.read(views::identity).await
    }

    async fn existing_jobs(&self, jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError> {
        self.read(move |connection| views::known(connection, jobs)).await
    }

    async fn expired(&self, before: Timestamp, limit: usize) -> Result<Expired, StoreError> {
        let path = self.path.clone();
        let found = tokio::task::spawn_blocking(move || prune::expired(&path, before, limit));
        found.await.unwrap_or_else(|_stopped| Err(closed()))
    }

    async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError> {
        self.remove(move |connection| prune::prune(connection, &prune)).await
    }

    async fn check(&self) -> Result<String, StoreError> {
        let jobs = self.read(views::count).await?;
        self.write(|_, _| Ok(())).await?;
        Ok(format!("SQLite file {} with {jobs} jobs, readable and writable", self.path.display()))
    }

    async fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(self.commands.send(Command::Close));
        // The writer ends after the commands that wait; joining it must not block the runtime.
        let joined = tokio::task::spawn_blocking(move || {
            if let Some(writer) = writer {
                writer.join();
            }
            drop(wake);
        });
        drop(joined.await);
    }
}
