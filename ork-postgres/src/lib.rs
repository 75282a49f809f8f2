//! The store `postgres://`: one database, shared by any number of processes on any number of machines.
//!
//! One task writes. It applies all commands that wait in one transaction and replies after the commit. A few other
//! connections read. The module `news` notifies other processes of changes, so that none of them has to poll.
//!
//! The task is in `writer`, and one transaction of it in `batch`: `load` reads rows into the transaction, and `save`
//! writes its changes.

mod batch;
mod codec;
mod command;
mod diagnostics;
mod error;
mod follows;
mod load;
mod locked;
mod messages;
mod metrics;
mod news;
mod numbers;
mod outbox;
mod permits;
mod prune;
mod readers;
mod save;
mod schema;
mod session;
mod uniques;
mod url;
mod views;
mod workers;
mod writer;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::command::{Answer, Command, Waiting, held};
use self::error::{Class, class, closed, store_error};
use self::news::Listener;
use self::readers::Readers;
use self::session::{PATIENCE, Session, pause};
use self::url::Address;
use self::writer::{Shared, Writer};
use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::metric::{Delta, Metric};
use ork_core::progress::Progress;
use ork_core::tx::{Actor, OutboxId};
use ork_ports::store::SettledPart;
use ork_ports::store::{
    Expired, Filter, Heartbeat, HeartbeatReply, JobDiagnostics, JobView, MetricsOf, Notifier, OutboxPage, PartFilter,
    PartStatus, Prune, Pruned, Store, StoreError, StoreErrorKind, Take, Work,
};

/// A store in the schema `ork` of a `PostgreSQL` database.
pub struct Postgres {
    /// The address of the database, for errors.
    address: Address,
    /// Sends commands to the writer, which runs on a separate thread.
    commands: UnboundedSender<Waiting>,
    /// The connections that read. They are replaced after the connection to the server was lost.
    readers: Arc<Readers>,
    /// Announces changes to the listeners in this process.
    notifier: Notifier,
    /// The writer, the listener and what they have spawned. Closing the store waits for them.
    tasks: TaskTracker,
    /// Stops the listener when the store is closed or dropped.
    closing: DropGuard,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Reads, and retries if the connection is lost or replaced: reading twice does no harm.
macro_rules! read {
    ($self:ident, $connection:ident => $read:expr) => {{
        let (begun, mut failures) = (Instant::now(), 0);
        loop {
            let (readers, renewed) = $self.readers.pool_until_renewed();
            let read = async {
                let mut $connection = readers.acquire().await?;
                let $connection = &mut *$connection;
                $read.await
            };
            let read = tokio::select! {
                read = read => read,
                () = renewed => continue,
            };
            match read {
                Ok(read) => break Ok(read),
                Err(sqlx::Error::PoolClosed) => break Err(closed()),
                Err(error) if class(&error) == Class::Never || begun.elapsed() >= PATIENCE => {
                    break Err(store_error(&$self.address, error));
                }
                Err(_) => failures += 1,
            }
            sleep(pause(failures)).await;
        }
    }};
}

impl Postgres {
    /// Connects to `postgres://user:password@host:port/database`, and migrates its tables.
    ///
    /// # Errors
    /// If the URL is invalid, the database cannot be reached or written, or its schema `ork` belongs to another
    /// program or was written by a newer version or a development version of ork.
    ///
    /// # Cancel safety
    /// If the future is dropped, the tables may have been migrated; nothing else is left behind.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let address = Address::parse(url)?;
        #[cfg(feature = "tls")]
        choose_cryptography();
        let (commands, queue) = mpsc::unbounded_channel();
        let readers = Arc::new(Readers::new(address.options("ork views")));
        let (notifier, tasks, closing) = (Notifier::new(), TaskTracker::new(), CancellationToken::new());
        let shared = Shared {
            address: address.clone(),
            boot: Uuid::new_v4(),
            notifier: notifier.clone(),
            readers: Arc::clone(&readers),
            suspect: Arc::new(Notify::new()),
            tasks: tasks.clone(),
        };
        let opened = start(shared, queue, closing.clone())?;
        opened.await.unwrap_or_else(|_the_thread_is_gone| Err(closed()))?;
        Ok(Self { address, commands, readers, notifier, tasks, closing: closing.drop_guard() })
    }

    /// Sends a command to the writer, and waits for the result.
    async fn write<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Waiting::now(command(Answer::to(reply)))).map_err(|_the_writer_is_gone| closed())?;
        answer.await.unwrap_or_else(|_dropped| Err(closed()))
    }
}

/// Starts the thread of the writer and the listener. It has a separate runtime, so that they keep running while user
/// code blocks all threads of the program. The receiver gets a result once both are connected.
fn start(
    shared: Shared,
    queue: mpsc::UnboundedReceiver<Waiting>,
    closing: CancellationToken,
) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
    let cannot =
        |error| StoreError::new(StoreErrorKind::Unavailable, "cannot start a thread for the store").with_source(error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let (opened, answer) = oneshot::channel();
    let life = async move {
        let Shared { address, boot, notifier, readers, suspect, tasks } = &shared;
        let (boot, tasks) = (*boot, tasks.clone());
        let connect = async {
            let session = Session::open(address, boot, true).await?;
            let (readers, suspect) = (Arc::clone(readers), Arc::clone(suspect));
            let listener = Listener::new(address, boot, notifier.clone(), readers, suspect);
            let first = listener.listen().await.map_err(|error| store_error(address, error))?;
            Ok((session, listener, first))
        };
        match connect.await {
            Ok((session, listener, first)) => {
                tasks.spawn(listener.run(first, closing));
                tasks.spawn(Writer::new(shared, session, queue).run());
                // The caller may have stopped waiting: then the queue is closed as well, and the writer ends.
                let _gone = opened.send(Ok(()));
                tasks.close();
                tasks.wait().await;
            }
            Err(error) => drop(opened.send(Err(error))),
        }
    };
    std::thread::Builder::new().name("ork-postgres".into()).spawn(move || runtime.block_on(life)).map_err(cannot)?;
    Ok(answer)
}

/// Chooses the library that the TLS of this process uses, unless the program has chosen one. rustls panics if it finds
/// two of them, as in a program with an HTTP client that brings another one.
#[cfg(feature = "tls")]
fn choose_cryptography() {
    // An error means that there is a choice already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

#[async_trait]
impl Store for Postgres {
    fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    fn enqueue(&self, work: Box<dyn Work>) {
        if let Err(mpsc::error::SendError(waiting)) = self.commands.send(Waiting::now(Command::Work(work))) {
            waiting.finish(Err(closed()));
        }
    }

    async fn take_outbox(&self, take: Take) -> Result<OutboxPage, StoreError> {
        self.write(|answer| Command::Take(take, answer)).await
    }

    async fn delete_outbox(&self, rows: Vec<OutboxId>, actor: Actor) -> Result<(), StoreError> {
        self.write(|answer| Command::DeleteOutbox(held(rows, &actor), answer)).await
    }

    async fn release_outbox(&self, rows: Vec<OutboxId>, actor: Actor) -> Result<(), StoreError> {
        self.write(|answer| Command::Release(held(rows, &actor), answer)).await
    }

    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        self.write(|answer| Command::Heartbeat(heartbeat, Instant::now(), answer)).await
    }

    async fn leave(&self, actor: Actor) -> Result<(), StoreError> {
        self.write(|answer| Command::Leave(actor, answer)).await
    }

    async fn progress(&self, job: JobId, part: Option<u64>, progress: Progress) -> Result<(), StoreError> {
        self.write(|answer| Command::Progress(job, part, progress, answer)).await
    }

    async fn record(&self, deltas: Vec<Delta>) -> Result<Vec<JobId>, StoreError> {
        self.write(|answer| Command::Record(deltas, answer)).await
    }

    async fn metrics(&self, of: MetricsOf) -> Result<Vec<Metric>, StoreError> {
        read!(self, connection => metrics::recorded(connection, of))
    }

    async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError> {
        read!(self, connection => views::job(connection, id))
    }

    async fn jobs(&self, filter: Filter) -> Result<Vec<JobView>, StoreError> {
        read!(self, connection => views::jobs(connection, &filter))
    }

    async fn parts(&self, job: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, StoreError> {
        read!(self, connection => views::parts(connection, job, from, limit))
    }

    async fn list_parts(&self, job: JobId, filter: PartFilter) -> Result<Vec<PartStatus>, StoreError> {
        read!(self, connection => views::list_parts(connection, job, &filter))
    }

    async fn diagnostics(&self, job: JobId) -> Result<JobDiagnostics, StoreError> {
        read!(self, connection => diagnostics::of(connection, job))
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        read!(self, connection => views::time(connection)).map(Some)
    }

    async fn store_id(&self) -> Result<Uuid, StoreError> {
        read!(self, connection => views::identity(connection))
    }

    async fn existing_jobs(&self, jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError> {
        read!(self, connection => views::known(connection, &jobs))
    }

    async fn expired(&self, before: Timestamp, limit: usize) -> Result<Expired, StoreError> {
        read!(self, connection => prune::expired(connection, before, limit))
    }

    async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError> {
        self.write(|answer| Command::Prune(prune, answer)).await
    }

    async fn check(&self) -> Result<String, StoreError> {
        self.write(Command::Nothing).await?;
        let (jobs, version, tls) = read!(self, connection => views::check(connection))?;
        let tls = tls.map_or_else(|| "without TLS".to_owned(), |version| format!("with {version}"));
        let (database, host, user) = (self.address.database(), self.address.host(), self.address.user());
        Ok(format!(
            "PostgreSQL {version} at {host}, database {database} as user {user}, {tls}, with {jobs} jobs, readable \
             and writable"
        ))
    }

    async fn close(&self) {
        // A writer that has ended has nothing left to write.
        drop(self.commands.send(Waiting::now(Command::Close)));
        self.tasks.close();
        self.closing.token().cancel();
        self.tasks.wait().await;
        self.readers.close().await;
    }
}
