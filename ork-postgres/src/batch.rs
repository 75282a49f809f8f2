//! One transaction: loads jobs, applies operations, writes their changes, and commits.

use std::fmt::Write as _;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, raw_sql};
use uuid::Uuid;

use crate::command::{Command, Waiting, held};
use crate::error::{database, is_fatal};
use crate::locked::{Aside, Locks};
use crate::news::News;
use crate::numbers::Numbers;
use crate::outbox::{self, Held};
use crate::permits::{self, Moved};
use crate::save::{self, Saved};
use crate::session::Session;
use crate::{load, locked, metrics, prune, uniques, workers};
use ork_core::tx::{Shards, StoreNotice};
use ork_ports::store::{Heartbeat, Work};

/// The effects of a transaction, which are announced once it is known to be committed.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The notices to send.
    pub(crate) notices: Vec<StoreNotice>,
    /// The rows of the outbox that callers in this process hold now.
    pub(crate) held: Vec<Held>,
    /// The changes in the number of permits that processes hold.
    pub(crate) moved: Vec<Moved>,
    /// Whether free rows were skipped because other transactions had locked them.
    pub(crate) passed_by: bool,
}

/// The commands of one transaction, and its result.
#[derive(Default)]
pub(crate) struct Round {
    pub(crate) batch: Vec<Waiting>,
    /// The commands that were removed from the batch because other sessions hold locks that they need.
    pub(crate) aside: Aside,
    /// The effects of the transaction; set just before the commit is sent.
    pub(crate) done: Option<Done>,
}

/// The reason why a transaction is not known to be committed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It was not committed, for this reason.
    Not(sqlx::Error),
    /// It was not committed: the operations need this many consecutive row numbers.
    Numbers(u64),
    /// It may have been committed: the commit was sent, and no reply arrived.
    Perhaps(sqlx::Error),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Not(error)
    }
}

/// The commands of a batch, grouped by kind. Commands of the same kind are executed as one statement.
#[derive(Default)]
struct Sorted<'batch> {
    works: Vec<&'batch mut Box<dyn Work>>,
    others: Vec<&'batch mut Command>,
    takes: Vec<&'batch mut Command>,
    to_delete: Vec<Held>,
    to_release: Vec<Held>,
    undo: Vec<Moved>,
}

impl<'batch> Sorted<'batch> {
    fn new(batch: &'batch mut [Waiting]) -> Self {
        let mut sorted = Self::default();
        for waiting in batch {
            match &mut waiting.command {
                Command::Work(work) => sorted.works.push(work),
                Command::DeleteOutbox(rows, answer) => {
                    sorted.to_delete.extend_from_slice(rows);
                    answer.value = Some(());
                }
                Command::Release(rows, answer) => {
                    sorted.to_release.extend_from_slice(rows);
                    answer.value = Some(());
                }
                Command::Undo(moved) => sorted.undo.extend_from_slice(moved),
                Command::Nothing(answer) => answer.value = Some(()),
                Command::Close => {}
                command @ Command::Take(..) => sorted.takes.push(command),
                command @ (Command::Heartbeat(..)
                | Command::Progress(..)
                | Command::Record(..)
                | Command::Prune(..)
                | Command::Leave(..)) => {
                    sorted.others.push(command);
                }
            }
        }
        sorted
    }
}

/// Executes a batch in one transaction. The effects are stored in the round before the commit is sent.
///
/// With [`Locks::Skip`], commands that need a lock of another session are removed from the batch and set aside.
///
/// All processes lock in the same order, which prevents deadlocks: the row of the process, jobs by id together with
/// their ledgers, concurrency limits, unique keys, rows of the outbox, workers.
pub(crate) async fn run(
    session: &mut Session,
    boot: Uuid,
    locks: Locks,
    round: &mut Round,
    numbers: &mut Numbers,
    news: &mut News,
) -> Result<(), Failed> {
    let Round { batch, aside, done } = round;
    let durable = batch.iter().any(Waiting::records_jobs);
    begin(session, boot, durable, locks.timeout()).await?;
    let connection = &mut session.connection;
    if locks == Locks::Skip {
        *aside = locked::set_aside(connection, batch).await?;
    }
    let mut sorted = Sorted::new(batch);
    let mut doing = Done::default();
    let quiet = works(connection, &mut sorted, numbers, &mut doing).await?;
    if !durable && !quiet {
        // The deliveries behind these operations are acknowledged once the results are returned, so what they have
        // created must not be lost.
        raw_sql("SET LOCAL synchronous_commit = on").execute(&mut *connection).await?;
    }
    others(connection, sorted, numbers, &mut doing).await?;
    let payload = news.payload(boot, &doing.notices);
    *done = Some(doing);
    commit(connection, payload).await
}

/// Begins a transaction, and writes its number to the row of the process, which stays locked until the end.
///
/// A transaction that does not have to be on disk does not wait for it: its commit is written to the log of the server
/// before all later ones, and each commit that waits flushes all commits before it. So no change is ever kept without
/// those that it depends on. [`Waiting::records_jobs`] decides which transactions wait: those that must not be lost.
async fn begin(session: &mut Session, boot: Uuid, durable: bool, lock_wait: Duration) -> Result<(), Failed> {
    let soft = if durable { "" } else { "SET LOCAL synchronous_commit = off; " };
    let begin = format!(
        "BEGIN; {soft}SET LOCAL lock_timeout = {}; \
         UPDATE ork.writer SET last_transaction = {} WHERE id = '{boot}' AND backend_pid = {}",
        lock_wait.as_millis(),
        session.last + 1,
        session.backend
    );
    let noted = raw_sql(AssertSqlSafe(begin)).execute(&mut session.connection).await?;
    if noted.rows_affected() == 1 {
        Ok(())
    } else {
        let message = "the server has no row for this process";
        Err(Failed::Not(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, message))))
    }
}

async fn commit(connection: &mut PgConnection, payload: Option<String>) -> Result<(), Failed> {
    let mut commit = String::new();
    if let Some(payload) = payload {
        // The payload contains only ids and fixed words, so it needs no escaping.
        let _infallible = write!(commit, "NOTIFY ork, '{payload}'; ");
    }
    commit.push_str("COMMIT");
    match raw_sql(AssertSqlSafe(commit)).execute(connection).await {
        Ok(_) => Ok(()),
        // The server itself reports that it did not commit.
        Err(error) if database(&error).is_some_and(|error| !is_fatal(error)) => Err(Failed::Not(error)),
        Err(error) => Err(Failed::Perhaps(error)),
    }
}

/// Applies operations and writes their changes. Returns whether no other process or caller waits for these changes.
async fn works(
    connection: &mut PgConnection,
    sorted: &mut Sorted<'_>,
    numbers: &mut Numbers,
    doing: &mut Done,
) -> Result<bool, Failed> {
    // The rows of these jobs are changed later, by `others`, but must be locked in the common order.
    let mut more = Vec::new();
    for command in &sorted.others {
        match &**command {
            Command::Progress(job, ..) => more.push(*job),
            Command::Record(deltas, _) => more.extend(deltas.iter().map(|delta| delta.job)),
            _ => {}
        }
    }
    if sorted.works.is_empty() && more.is_empty() && sorted.undo.is_empty() {
        return Ok(true);
    }
    let first = numbers.first(connection).await?;
    let mut tx = load::open(connection, &mut sorted.works, more, first).await?;
    let before = permits::open(connection, &mut tx, &mut sorted.works, &sorted.undo).await?;
    uniques::open(connection, &mut tx, &mut sorted.works).await?;
    // In order: what an operation needs may depend on the operations before it.
    for work in &mut sorted.works {
        for at in 0..work.count() {
            match work.shards(at, &tx) {
                Shards::None => {}
                shards => load::open_more(connection, &mut tx, shards).await?,
            }
            work.apply(at, &mut tx);
        }
    }
    if !numbers.used(tx.next_outbox_id()) {
        return Err(Failed::Numbers(tx.next_outbox_id() - first));
    }
    let quiet = tx.is_quiet();
    let Saved { notices, rows, moved } = save::save(connection, &mut tx, &before).await?;
    (doing.notices, doing.moved) = (notices, moved);
    doing.held.extend(rows.iter().filter_map(|row| Some((row.id, row.holder?))));
    Ok(quiet)
}

async fn others(
    connection: &mut PgConnection,
    sorted: Sorted<'_>,
    numbers: &mut Numbers,
    doing: &mut Done,
) -> Result<(), Failed> {
    let mut freed = !sorted.to_release.is_empty();
    outbox::delete(connection, &sorted.to_delete).await?;
    outbox::release(connection, &sorted.to_release).await?;
    for command in sorted.takes {
        if let Command::Take(take, answer) = command {
            let took = outbox::take(connection, take, numbers).await?;
            doing.held.extend(held(took.taken.rows.iter().map(|rows| rows.id), &take.actor));
            doing.passed_by |= took.passed_by;
            answer.value = Some(took.taken);
        }
    }
    for command in sorted.others {
        match command {
            Command::Progress(job, part, progress, answer) => {
                save::progress(connection, *job, *part, progress).await?;
                doing.notices.push(StoreNotice::JobChanged(*job));
                answer.value = Some(());
            }
            Command::Record(deltas, answer) => {
                answer.value = Some(metrics::record(connection, deltas).await?);
            }
            Command::Heartbeat(heartbeat, asked, answer) => {
                // The heartbeat may have waited for other processes. This process is considered alive from the time of
                // the write on.
                let heartbeat = Heartbeat { ttl: heartbeat.ttl + asked.elapsed(), ..heartbeat.clone() };
                let found = workers::heartbeat(connection, &heartbeat).await?;
                freed |= found.freed;
                answer.value = Some(found.beaten);
            }
            Command::Prune(page, answer) => {
                answer.value = Some(prune::prune(connection, page).await?);
            }
            Command::Leave(actor, answer) => {
                freed |= workers::leave(connection, actor).await?;
                answer.value = Some(());
            }
            _ => {}
        }
    }
    if freed && !doing.notices.contains(&StoreNotice::OutboxReady) {
        doing.notices.push(StoreNotice::OutboxReady);
    }
    Ok(())
}
