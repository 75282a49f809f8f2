//! One transaction: the books are opened, the operations decide, what they noted is written, and all is committed.

use std::fmt::Write as _;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, raw_sql};
use uuid::Uuid;

use super::command::{Command, Waiting, held};
use super::error::{database, is_fatal};
use super::locked::{Aside, Locks};
use super::news::News;
use super::numbers::Numbers;
use super::outbox::{self, Held};
use super::permits::{self, Moved};
use super::save::{self, Saved};
use super::session::Session;
use super::{locked, metrics, prune, rows, uniques, workers};
use crate::store::{Heartbeat, Work};
use crate::tx::{Shards, StoreNotice};

/// What a transaction has done, to be told once it is known to be committed.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Its news.
    pub(super) notifier: Vec<StoreNotice>,
    /// The rows of the outbox that somebody in this process holds now.
    pub(super) held: Vec<Held>,
    /// The permits that processes took, or gave back.
    pub(super) moved: Vec<Moved>,
    /// Whether free rows were passed by because others had them locked.
    pub(super) passed_by: bool,
}

/// The commands of one transaction, and what became of them.
#[derive(Default)]
pub(super) struct Round {
    pub(super) batch: Vec<Waiting>,
    /// What was taken out of the batch, because others have locked what it needs.
    pub(super) aside: Aside,
    /// What the transaction has done, once its commit is about to be sent.
    pub(super) done: Option<Done>,
}

/// Why a transaction is not known to be committed.
#[derive(Debug)]
pub(super) enum Failed {
    /// It was not, for this reason.
    Not(sqlx::Error),
    /// It was not: it needs so many numbers in a row.
    Numbers(u64),
    /// It may have been: the commit was sent, and no answer came.
    Perhaps(sqlx::Error),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Not(error)
    }
}

/// The commands of a batch by what they do; those of one kind are one statement.
#[derive(Default)]
struct Sorted<'batch> {
    works: Vec<&'batch mut Box<dyn Work>>,
    others: Vec<&'batch mut Command>,
    takes: Vec<&'batch mut Command>,
    forget: Vec<Held>,
    give_back: Vec<Held>,
    undo: Vec<Moved>,
}

impl<'batch> Sorted<'batch> {
    fn new(batch: &'batch mut [Waiting]) -> Self {
        let mut sorted = Self::default();
        for waiting in batch {
            match &mut waiting.command {
                Command::Work(work) => sorted.works.push(work),
                Command::Forget(rows, answer) => {
                    sorted.forget.extend_from_slice(rows);
                    answer.value = Some(());
                }
                Command::GiveBack(rows, answer) => {
                    sorted.give_back.extend_from_slice(rows);
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

/// Does all of a batch in one transaction. What it has done is put into the round before the commit is sent.
///
/// Where it does not wait for the locks of others, what needs one of them is taken out of the batch and put aside.
///
/// Everybody locks in one order, so that nobody waits in a circle: its own process, jobs by id and with them their
/// ledgers, concurrency limits, unique keys, rows of the outbox, workers.
pub(super) async fn run(
    session: &mut Session,
    boot: Uuid,
    locks: Locks,
    round: &mut Round,
    numbers: &mut Numbers,
    news: &mut News,
) -> Result<(), Failed> {
    let Round { batch, aside, done } = round;
    let durable = batch.iter().any(Waiting::is_durable);
    begin(session, boot, durable, locks.timeout()).await?;
    let connection = &mut session.connection;
    if locks == Locks::Skip {
        *aside = locked::set_aside(connection, batch).await?;
    }
    let mut sorted = Sorted::new(batch);
    let mut doing = Done::default();
    let quiet = works(connection, &mut sorted, numbers, &mut doing).await?;
    if !durable && !quiet {
        // Their messages are done with once they are answered, so what was made of them must not be forgotten.
        raw_sql("SET LOCAL synchronous_commit = on").execute(&mut *connection).await?;
    }
    others(connection, sorted, numbers, &mut doing).await?;
    let payload = news.payload(boot, &doing.notifier);
    *done = Some(doing);
    commit(connection, payload).await
}

/// Begins, and notes the number of the transaction in the row of the process, which keeps it locked to the end.
///
/// A transaction that need not be on disk does not wait for it: its commit is in the log of the server before every
/// later one, and each commit that waits brings all before it to disk. So nothing is ever kept without what it rests
/// on. [`Waiting::is_durable`] says which transactions wait: those that must not be forgotten.
async fn begin(session: &mut Session, boot: Uuid, durable: bool, lock_wait: Duration) -> Result<(), Failed> {
    let soft = if durable { "" } else { "SET LOCAL synchronous_commit = off; " };
    let begin = format!(
        "BEGIN; {soft}SET LOCAL lock_timeout = {}; UPDATE ork.process SET batch = {} WHERE boot = '{boot}' AND backend = {}",
        lock_wait.as_millis(),
        session.last + 1,
        session.backend
    );
    let noted = raw_sql(AssertSqlSafe(begin)).execute(&mut session.connection).await?;
    if noted.rows_affected() == 1 {
        Ok(())
    } else {
        let words = "the server has forgotten this process";
        Err(Failed::Not(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, words))))
    }
}

async fn commit(connection: &mut PgConnection, payload: Option<String>) -> Result<(), Failed> {
    let mut commit = String::new();
    if let Some(payload) = payload {
        // Ids and words of ours only.
        let _infallible = write!(commit, "NOTIFY ork, '{payload}'; ");
    }
    commit.push_str("COMMIT");
    match raw_sql(AssertSqlSafe(commit)).execute(connection).await {
        Ok(_) => Ok(()),
        // The server says itself that it did not.
        Err(error) if database(&error).is_some_and(|error| !is_fatal(error)) => Err(Failed::Not(error)),
        Err(error) => Err(Failed::Perhaps(error)),
    }
}

/// Lets operations decide, and writes what they noted. Answers whether that is of no consequence to anybody else.
async fn works(
    connection: &mut PgConnection,
    sorted: &mut Sorted<'_>,
    numbers: &mut Numbers,
    doing: &mut Done,
) -> Result<bool, Failed> {
    // Their rows are changed later on, and must be locked in the order of all.
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
    let mut tx = rows::open(connection, &mut sorted.works, more, first).await?;
    let before = permits::open(connection, &mut tx, &mut sorted.works, &sorted.undo).await?;
    uniques::open(connection, &mut tx, &mut sorted.works).await?;
    // One after the other: what an operation needs may depend on what the one before it did.
    for work in &mut sorted.works {
        for at in 0..work.count() {
            match work.shards(at, &tx) {
                Shards::None => {}
                shards => rows::open_more(connection, &mut tx, shards).await?,
            }
            work.apply(at, &mut tx);
        }
    }
    if !numbers.used(tx.next_outbox_id()) {
        return Err(Failed::Numbers(tx.next_outbox_id() - first));
    }
    let quiet = tx.is_quiet();
    let Saved { notifier, to_send, moved } = save::save(connection, &mut tx, &before).await?;
    (doing.notifier, doing.moved) = (notifier, moved);
    doing.held.extend(to_send.iter().filter_map(|row| Some((row.id, row.holder?))));
    Ok(quiet)
}

async fn others(
    connection: &mut PgConnection,
    sorted: Sorted<'_>,
    numbers: &mut Numbers,
    doing: &mut Done,
) -> Result<(), Failed> {
    let mut freed = !sorted.give_back.is_empty();
    outbox::forget(connection, &sorted.forget).await?;
    outbox::give_back(connection, &sorted.give_back).await?;
    for command in sorted.takes {
        if let Command::Take(take, answer) = command {
            let took = outbox::take(connection, take, numbers).await?;
            doing.held.extend(held(took.taken.to_send.iter().map(|to_send| to_send.id), &take.actor));
            doing.passed_by |= took.passed_by;
            answer.value = Some(took.taken);
        }
    }
    for command in sorted.others {
        match command {
            Command::Progress(job, part, progress, answer) => {
                workers::progress(connection, *job, *part, progress).await?;
                doing.notifier.push(StoreNotice::JobChanged(*job));
                answer.value = Some(());
            }
            Command::Record(deltas, answer) => {
                answer.value = Some(metrics::record(connection, deltas).await?);
            }
            Command::Heartbeat(heartbeat, asked, answer) => {
                // It may have waited for other processes. Once it is written, this one lives.
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
    if freed && !doing.notifier.contains(&StoreNotice::OutboxReady) {
        doing.notifier.push(StoreNotice::OutboxReady);
    }
    Ok(())
}
