//! The one task that writes: takes all that waits, does it in one transaction, answers after the commit.
//!
//! It owns the connection that writes. Without one it goes on trying to connect, and what has waited for too long is
//! told so. Nothing is answered before it is known, and nothing is done twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPool;
use sqlx::{Row as _, raw_sql};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::batch::{self, Done, Failed};
use super::codec::Uid;
use super::command::{Answer, Command, Waiting};
use super::error::{Class, class, closed, no_answer, store_error};
use super::news::News;
use super::numbers::Numbers;
use super::outbox::Held;
use super::session::{PATIENCE, Session};
use super::url::Address;
use crate::accounting::Change;
use crate::store::{Changes, StoreError, StoreErrorKind};

/// At most so many commands make one transaction: what waits behind them should not wait for too long.
const BATCH: usize = 2_048;

/// How often a transaction that met another one is tried again at once.
const TRIES: u32 = 10;

/// When rows were passed by because others had them locked, they are looked for again after this.
const AGAIN: Duration = Duration::from_millis(10);

/// How long to wait before the next attempt, after so many that failed: longer and longer, never all at once.
pub(super) fn pause(failures: u32) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let longest = Duration::from_millis(50).saturating_mul(1 << failures.min(7)).min(Duration::from_secs(5));
    longest.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
}

/// A transaction whose commit was sent and not answered.
struct Doubt {
    number: i64,
    batch: Vec<Waiting>,
    done: Done,
    /// Whether somebody was told that it is not known; then nobody knows of the rows it holds.
    given_up: bool,
}

/// What the writer shares with the rest of the store.
pub(super) struct Shared {
    pub(super) address: Address,
    pub(super) boot: Uuid,
    pub(super) changes: Changes,
    pub(super) readers: PgPool,
    /// Tells the listener that its connection may be dead, too.
    pub(super) suspect: Arc<Notify>,
    pub(super) tasks: TaskTracker,
}

pub(super) struct Writer {
    shared: Shared,
    queue: UnboundedReceiver<Waiting>,
    waiting: VecDeque<Waiting>,
    session: Option<Session>,
    doubt: Option<Doubt>,
    numbers: Numbers,
    news: News,
    /// Why nothing can be written just now.
    trouble: Option<StoreError>,
    /// Attempts in a row that failed, to connect or to write.
    failures: u32,
    /// Transactions in a row that met others.
    tries: u32,
    /// So many commands are done one by one, to find the one that is at fault.
    alone: usize,
    closing: bool,
}

impl Writer {
    pub(super) fn new(shared: Shared, session: Session, queue: UnboundedReceiver<Waiting>) -> Self {
        Self {
            shared,
            queue,
            waiting: VecDeque::new(),
            session: Some(session),
            doubt: None,
            numbers: Numbers::default(),
            news: News::new(),
            trouble: None,
            failures: 0,
            tries: 0,
            alone: 0,
            closing: false,
        }
    }

    /// Writes until the store is closed, then what is still waiting.
    pub(super) async fn run(mut self) {
        loop {
            if self.waiting.is_empty() && self.doubt.is_none() {
                if self.closing {
                    break;
                }
                self.idle().await;
            }
            while let Ok(waiting) = self.queue.try_recv() {
                self.push(waiting);
            }
            if self.session.is_none() {
                self.connect().await;
            } else if !self.waiting.is_empty() {
                self.carry_out().await;
            }
        }
        self.leave().await;
    }

    fn push(&mut self, waiting: Waiting) {
        if matches!(waiting.command, Command::Close) {
            self.closing = true;
            self.queue.close();
        } else {
            self.waiting.push_back(waiting);
        }
    }

    /// Waits for something to do.
    async fn idle(&mut self) {
        let due = self.news.due();
        let received = tokio::select! {
            received = self.queue.recv() => received,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                // An empty transaction: it carries the note.
                Some(Waiting::now(Command::GiveBack(Vec::new(), Answer::to_nobody())))
            }
        };
        match received {
            Some(waiting) => self.push(waiting),
            None => self.closing = true,
        }
    }

    /// Connects anew, or fails to and says so to those who have waited for too long.
    async fn connect(&mut self) {
        let (address, boot, failures) = (self.shared.address.clone(), self.shared.boot, self.failures);
        let attempt = async move {
            sleep(pause(failures)).await;
            Session::open(&address, boot, false).await
        };
        match self.meanwhile(attempt).await {
            Ok(session) => {
                tracing::info!(store = %self.shared.address, "connected to PostgreSQL again");
                self.session = Some(session);
                self.resolve();
            }
            Err(error) => {
                if self.failures.is_power_of_two() {
                    tracing::warn!(%error, attempts = self.failures, "the store cannot be reached");
                }
                self.failures = self.failures.saturating_add(1);
                self.trouble = Some(error);
            }
        }
        self.expire();
    }

    /// Waits for something, while commands come in and those that have waited for too long are told.
    async fn meanwhile<T>(&mut self, attempt: impl Future<Output = T>) -> T {
        let mut attempt = std::pin::pin!(attempt);
        loop {
            let oldest = self.waiting.iter().chain(self.doubt.iter().flat_map(|doubt| &doubt.batch));
            let expires = oldest.filter(|waiting| waiting.is_awaited()).map(|waiting| waiting.since + PATIENCE).min();
            tokio::select! {
                done = &mut attempt => return done,
                received = self.queue.recv(), if !self.closing => match received {
                    Some(waiting) => self.push(waiting),
                    None => self.closing = true,
                },
                () = sleep_until(expires.unwrap_or_else(Instant::now)), if expires.is_some() => self.expire(),
            }
        }
    }

    /// Tells those who have waited for too long that it cannot be done now. When the store is closing, nobody waits on.
    fn expire(&mut self) {
        let (now, closing) = (Instant::now(), self.closing);
        let error = |trouble: &Option<StoreError>, address| match trouble {
            Some(error) => error.copy(),
            None => no_answer(address),
        };
        let late = |waiting: &Waiting| waiting.since + PATIENCE <= now && (waiting.is_awaited() || closing);
        if self.waiting.iter().any(late) {
            for waiting in std::mem::take(&mut self.waiting) {
                if late(&waiting) {
                    waiting.finish(Err(error(&self.trouble, &self.shared.address)));
                } else {
                    self.waiting.push_back(waiting);
                }
            }
        }
        let is_over = |doubt: &&mut Doubt| doubt.batch.iter().all(|waiting| late(waiting) || !waiting.is_awaited());
        if let Some(doubt) = self.doubt.as_mut().filter(is_over) {
            let words =
                "the connection to PostgreSQL ended while this was committed, and it is not known yet whether it was";
            // What nobody waits for is done all the same, if it was not.
            for waiting in doubt.batch.extract_if(.., |waiting| late(waiting)) {
                doubt.given_up = true;
                waiting.finish(Err(StoreError::new(StoreErrorKind::Unavailable, words)));
            }
            if closing {
                self.doubt = None;
            }
        }
    }

    /// What became of the transaction whose commit was not answered? The server knows its number, or does not.
    fn resolve(&mut self) {
        let Some(session) = &self.session else { return };
        let Some(doubt) = self.doubt.take() else { return };
        let done = session.last >= doubt.number;
        tracing::debug!(number = doubt.number, done, "a commit that was not answered");
        if !done {
            // As it was, and before what came later. What was given up is not done after all.
            for waiting in doubt.batch.into_iter().rev() {
                self.waiting.push_front(waiting);
            }
            return;
        }
        let (held, moved) =
            if doubt.given_up { (doubt.done.held.clone(), doubt.done.moved.clone()) } else { Default::default() };
        self.finish(doubt.batch, doubt.done);
        self.let_go(held);
        if !moved.is_empty() {
            // Before those who were told that it had failed ask again.
            self.waiting.push_front(Waiting::now(Command::Undo(moved)));
        }
    }

    /// Does the next of what is waiting.
    async fn carry_out(&mut self) {
        let most = if self.alone > 0 { 1 } else { BATCH };
        let mut batch: Vec<_> = self.waiting.drain(..self.waiting.len().min(most)).collect();
        let Some(mut session) = self.session.take() else { return };
        let (number, mut done) = (session.last + 1, None);
        let result = {
            let Self { shared, numbers, news, .. } = self;
            let backend = session.backend;
            let run = batch::run(&mut session, shared.boot, &mut batch, numbers, news, &mut done);
            let mut run = std::pin::pin!(run);
            loop {
                match timeout(PATIENCE, &mut run).await {
                    Ok(result) => break Some(result),
                    // It may have much to do; or the other side is gone, and nobody says so.
                    Err(_elapsed) if is_at_work(&shared.readers, backend).await => {}
                    Err(_elapsed) => break None,
                }
            }
        };
        match (result, done) {
            (Some(Ok(())), done) => {
                session.last = number;
                self.session = Some(session);
                (self.failures, self.tries, self.trouble) = (0, 0, None);
                self.alone = self.alone.saturating_sub(1);
                self.finish(batch, done.unwrap_or_default());
            }
            (Some(Err(Failed::Perhaps(error))), Some(done)) => {
                self.lost(store_error(&self.shared.address, error));
                self.doubt = Some(Doubt { number, batch, done, given_up: false });
            }
            (None, Some(done)) => {
                self.lost(no_answer(&self.shared.address));
                self.doubt = Some(Doubt { number, batch, done, given_up: false });
            }
            (None, None) => {
                self.lost(no_answer(&self.shared.address));
                self.put_back(batch);
            }
            (Some(Err(Failed::Not(error) | Failed::Perhaps(error))), _) => {
                self.failed(session, batch, error).await;
            }
            (Some(Err(Failed::Numbers(count))), _) => {
                if raw_sql("ROLLBACK").execute(&mut session.connection).await.is_ok()
                    && self.numbers.reserve(&mut session.connection, count + 1_024).await.is_ok()
                {
                    self.session = Some(session);
                }
                self.put_back(batch);
            }
        }
    }

    /// A transaction was not carried out.
    async fn failed(&mut self, mut session: Session, batch: Vec<Waiting>, error: sqlx::Error) {
        let class = class(&error);
        let error = store_error(&self.shared.address, error);
        if class == Class::Later || raw_sql("ROLLBACK").execute(&mut session.connection).await.is_err() {
            drop(session);
            self.lost(error);
            self.put_back(batch);
            self.expire();
            return;
        }
        self.session = Some(session);
        if class == Class::Again && self.tries < TRIES {
            self.tries += 1;
            self.put_back(batch);
            sleep(Duration::from_millis(fastrand::u64(0..=u64::from(self.tries) * 2))).await;
        } else if batch.len() > 1 {
            // One of them may be at fault; alone, it fails alone.
            (self.alone, self.tries) = (batch.len(), 0);
            self.put_back(batch);
        } else {
            (self.alone, self.tries) = (self.alone.saturating_sub(1), 0);
            for waiting in batch {
                waiting.finish(Err(error.copy()));
            }
        }
    }

    fn lost(&mut self, error: StoreError) {
        if self.failures == 0 {
            tracing::warn!(%error, "the store cannot be used just now");
        }
        self.shared.suspect.notify_one();
        self.failures = self.failures.saturating_add(1);
        self.trouble = Some(error);
    }

    fn put_back(&mut self, batch: Vec<Waiting>) {
        for waiting in batch.into_iter().rev() {
            self.waiting.push_front(waiting);
        }
    }

    /// Tells whoever waits, and all the others.
    fn finish(&mut self, batch: Vec<Waiting>, done: Done) {
        let changes = self.shared.changes.tell_events(done.changes);
        let mut nobodys = Vec::new();
        for waiting in batch {
            nobodys.extend(waiting.finish(Ok(())));
        }
        for change in changes {
            self.shared.changes.tell(change);
        }
        if done.passed_by {
            let changes = self.shared.changes.clone();
            self.shared.tasks.spawn(async move {
                sleep(AGAIN).await;
                changes.tell(Change::Owed);
            });
        }
        self.let_go(nobodys);
    }

    /// Lets go of rows that nobody in this process knows of.
    fn let_go(&mut self, rows: Vec<Held>) {
        if !rows.is_empty() {
            self.waiting.push_back(Waiting::now(Command::GiveBack(rows, Answer::to_nobody())));
        }
    }

    /// The last words.
    async fn leave(mut self) {
        if let Some(mut session) = self.session.take() {
            let leave = "DELETE FROM ork.process WHERE boot = $1";
            let leave = sqlx::query(leave).bind(Uid::from(self.shared.boot)).execute(&mut session.connection);
            // A row that stays is removed by others, a week later.
            drop(timeout(Duration::from_secs(1), leave).await);
            drop(timeout(Duration::from_secs(1), sqlx::Connection::close(session.connection)).await);
        }
        while let Ok(waiting) = self.queue.try_recv() {
            waiting.finish(Err(closed()));
        }
    }
}

/// Whether the server is still at work for us, as far as another connection can tell.
async fn is_at_work(readers: &PgPool, backend: i64) -> bool {
    let look = async {
        let query = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active')";
        sqlx::query(query).bind(backend).fetch_one(readers).await?.try_get::<bool, _>(0)
    };
    matches!(timeout(PATIENCE / 2, look).await, Ok(Ok(true)))
}
