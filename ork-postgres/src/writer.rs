//! The task that writes: it applies all commands that wait in one transaction, and replies after the commit.
//!
//! Commands that wait for a lock of another process are set aside, and retried between other work.
//!
//! The task owns the writing connection. If the connection is lost, it reconnects, and commands that have waited for
//! too long get an error. No result is returned before it is known, and nothing is applied twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sqlx::raw_sql;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::batch::{self, Done, Failed, Round};
use crate::codec::Uid;
use crate::command::{Answer, Command, Waiting};
use crate::error::{Class, class, closed, is_lock_timeout, no_answer, store_error};
use crate::locked::{Aside, FIRST_WAIT, HeldLock, LONGEST_WAIT, Locks};
use crate::news::News;
use crate::numbers::Numbers;
use crate::outbox::Held;
use crate::readers::Readers;
use crate::session::{PATIENCE, Session, pause};
use crate::url::Address;
use ork_core::tx::StoreNotice;
use ork_ports::store::{Notifier, StoreError, StoreErrorKind};

/// The maximum number of commands in one transaction, so that those behind them do not wait for too long.
const BATCH: usize = 2_048;

/// The number of times that a transaction that conflicted with another one is retried immediately.
const TRIES: u32 = 10;

/// If rows were skipped because others had locked them, they are looked for again after this time.
const AGAIN: Duration = Duration::from_millis(10);

/// Commands that need a lock of another process are retried after this time, or together with commands that arrive in
/// the meantime.
const LOCKED: Duration = Duration::from_millis(50);

/// A transaction whose commit was sent, but not acknowledged.
struct Doubt {
    number: i64,
    batch: Vec<Waiting>,
    done: Done,
    /// Whether a caller got the error that the outcome is unknown. No caller then knows of the rows that the
    /// transaction holds.
    given_up: bool,
}

/// The data that the writer shares with the rest of the store.
pub(crate) struct Shared {
    /// The address of the database, for connecting and for errors.
    pub(crate) address: Address,
    /// The id under which this process is recorded in `ork.writer`, with the number of its last transaction.
    pub(crate) boot: Uuid,
    /// Announces committed changes to the listeners in this process.
    pub(crate) notifier: Notifier,
    /// The reading connections, which are replaced when the writer reconnects.
    pub(crate) readers: Arc<Readers>,
    /// Notifies the listener that its connection may be dead, too.
    pub(crate) suspect: Arc<Notify>,
    /// The tasks of the store. Closing it waits for them.
    pub(crate) tasks: TaskTracker,
}

pub(crate) struct Writer {
    shared: Shared,
    /// Receives the commands of the callers.
    queue: UnboundedReceiver<Waiting>,
    /// The commands to execute, in order. Those of a transaction that was not committed return to the front.
    waiting: VecDeque<Waiting>,
    /// The connection; `None` while it is lost.
    session: Option<Session>,
    /// A transaction whose outcome is unknown until the next connection is open. Nothing is executed before.
    doubt: Option<Doubt>,
    /// The reserved numbers for new outbox rows.
    numbers: Numbers,
    /// The changes to announce to other processes with the next transaction.
    news: News,
    /// The error that keeps everything from being written at present. Callers that have waited too long get it.
    last_error: Option<StoreError>,
    /// The number of consecutive failed attempts to connect or to write.
    failures: u32,
    /// The number of consecutive transactions that conflicted with others.
    tries: u32,
    /// The number of commands that are still to be executed one by one, to find the one at fault.
    alone: usize,
    /// The number of commands at the front of `waiting` that were set aside, because they need a lock that another
    /// process holds.
    set_aside: usize,
    /// The time at which these are retried if no other command arrives before.
    again_at: Instant,
    /// The treatment of locks of others by the next transaction.
    locks: Locks,
    /// The time that a transaction waits for locks, if it waits. It doubles each time that this was in vain.
    lock_wait: Duration,
    /// Whether the warning that work waits for a lock was logged already.
    has_warned: bool,
    /// Whether the store is being closed. The writer then ends after the commands that wait.
    closing: bool,
}

impl Writer {
    pub(crate) fn new(shared: Shared, session: Session, queue: UnboundedReceiver<Waiting>) -> Self {
        Self {
            shared,
            queue,
            waiting: VecDeque::new(),
            session: Some(session),
            doubt: None,
            numbers: Numbers::default(),
            news: News::new(),
            last_error: None,
            failures: 0,
            tries: 0,
            alone: 0,
            set_aside: 0,
            again_at: Instant::now(),
            locks: Locks::Wait(FIRST_WAIT),
            lock_wait: FIRST_WAIT,
            has_warned: false,
            closing: false,
        }
    }

    /// Runs until the store is closed, then executes the commands that still wait.
    pub(crate) async fn run(mut self) {
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
            } else if self.waiting.is_empty() {
            } else if self.waiting.len() <= self.set_aside && Instant::now() < self.again_at {
                self.more_or_again().await;
            } else {
                self.carry_out().await;
            }
        }
        self.leave().await;
    }

    /// Waits for another command, or until the commands that were set aside are retried.
    async fn more_or_again(&mut self) {
        tokio::select! {
            () = sleep_until(self.again_at) => {}
            received = self.queue.recv(), if !self.closing => match received {
                Some(waiting) => self.push(waiting),
                None => self.closing = true,
            },
        }
    }

    fn push(&mut self, waiting: Waiting) {
        if matches!(waiting.command, Command::Close) {
            self.closing = true;
            self.queue.close();
        } else if matches!(waiting.command, Command::Heartbeat(..)) {
            // Other processes depend on heartbeats, and a heartbeat depends on nothing else that waits here.
            self.waiting.push_front(waiting);
        } else {
            self.waiting.push_back(waiting);
        }
    }

    /// Waits for a command.
    async fn idle(&mut self) {
        let due = self.news.due();
        let received = tokio::select! {
            received = self.queue.recv() => received,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                // An empty transaction, which carries the notification.
                Some(Waiting::now(Command::Release(Vec::new(), Answer::unawaited())))
            }
        };
        match received {
            Some(waiting) => self.push(waiting),
            None => self.closing = true,
        }
    }

    /// Reconnects. If this fails, commands that have waited for too long get an error.
    async fn connect(&mut self) {
        let (address, boot, failures) = (self.shared.address.clone(), self.shared.boot, self.failures);
        let attempt = async move {
            sleep(pause(failures)).await;
            Session::open(&address, boot, false).await
        };
        match self.meanwhile(attempt).await {
            Ok(session) => {
                tracing::info!(store = %self.shared.address, "reconnected to PostgreSQL");
                self.shared.readers.renew();
                self.session = Some(session);
                self.resolve();
            }
            Err(error) => {
                if self.failures.is_power_of_two() {
                    tracing::warn!(%error, attempts = self.failures, "cannot reach the store");
                }
                self.failures = self.failures.saturating_add(1);
                self.last_error = Some(error);
            }
        }
        self.expire();
    }

    /// Waits for a future. Meanwhile commands are queued, and those that have waited for too long get an error.
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

    /// Returns an error for commands that have waited for too long. While the store is being closed, this includes
    /// commands without a caller.
    fn expire(&mut self) {
        let (now, closing) = (Instant::now(), self.closing);
        let error = |last_error: &Option<StoreError>, address| match last_error {
            Some(error) => error.copy(),
            None => no_answer(address),
        };
        let late = |waiting: &Waiting| waiting.is_late(now, closing);
        if self.waiting.iter().any(late) {
            for waiting in std::mem::take(&mut self.waiting) {
                if late(&waiting) {
                    waiting.finish(Err(error(&self.last_error, &self.shared.address)));
                } else {
                    self.waiting.push_back(waiting);
                }
            }
        }
        let is_over = |doubt: &&mut Doubt| doubt.batch.iter().all(|waiting| late(waiting) || !waiting.is_awaited());
        if let Some(doubt) = self.doubt.as_mut().filter(is_over) {
            let message =
                "the connection to PostgreSQL was lost during a commit, and it is not known yet whether it succeeded";
            // Commands without a caller are kept, and are executed if the transaction was not committed.
            for waiting in doubt.batch.extract_if(.., |waiting| late(waiting)) {
                doubt.given_up = true;
                waiting.finish(Err(StoreError::new(StoreErrorKind::Unavailable, message)));
            }
            if closing {
                self.doubt = None;
            }
        }
    }

    /// Determines the outcome of the transaction whose commit was not acknowledged: the row of the process contains
    /// its number, or does not.
    fn resolve(&mut self) {
        let Some(session) = &self.session else { return };
        let Some(doubt) = self.doubt.take() else { return };
        let done = session.last >= doubt.number;
        tracing::debug!(number = doubt.number, done, "resolved an unacknowledged commit");
        if !done {
            // In the original order, before later commands. Commands that got an error are not executed.
            for waiting in doubt.batch.into_iter().rev() {
                self.waiting.push_front(waiting);
            }
            return;
        }
        let (held, moved) =
            if doubt.given_up { (doubt.done.held.clone(), doubt.done.moved.clone()) } else { Default::default() };
        self.finish(doubt.batch, doubt.done);
        self.release(held);
        if !moved.is_empty() {
            // Before the callers that got an error ask again.
            self.waiting.push_front(Waiting::now(Command::Undo(moved)));
        }
    }

    /// Executes the next batch of commands.
    async fn carry_out(&mut self) {
        let most = if self.alone > 0 { 1 } else { BATCH + self.set_aside };
        let batch: Vec<_> = self.waiting.drain(..self.waiting.len().min(most)).collect();
        let Some(mut session) = self.session.take() else { return };
        // While commands are set aside, others do not wait for locks.
        let locks = if self.set_aside > 0 && Instant::now() < self.again_at { Locks::Skip } else { self.locks };
        self.set_aside = 0;
        let number = session.last + 1;
        let mut round = Round { batch, ..Round::default() };
        let result = {
            let Self { shared, numbers, news, .. } = self;
            let backend = session.backend;
            let run = batch::run(&mut session, shared.boot, locks, &mut round, numbers, news);
            let mut run = std::pin::pin!(run);
            loop {
                match timeout(PATIENCE, &mut run).await {
                    Ok(result) => break Some(result),
                    // The transaction may be long; or the connection may be dead without an error.
                    Err(_elapsed) if shared.readers.see_at_work(backend).await => {}
                    Err(_elapsed) => break None,
                }
            }
        };
        let Round { batch, aside, done } = round;
        match (result, done) {
            (Some(Ok(())), done) => {
                session.last = number;
                self.session = Some(session);
                (self.failures, self.tries, self.last_error) = (0, 0, None);
                self.alone = self.alone.saturating_sub(1);
                self.finish(batch, done.unwrap_or_default());
                self.set_aside(aside);
                return;
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
                self.failed(session, locks, batch, error).await;
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
        self.put_back(aside.commands);
    }

    /// Keeps the commands that a transaction has set aside for the next one. Those that have waited for too long get
    /// an error that names the lock.
    fn set_aside(&mut self, Aside { commands, held }: Aside) {
        if commands.is_empty() {
            (self.locks, self.lock_wait, self.has_warned) = (Locks::Wait(FIRST_WAIT), FIRST_WAIT, false);
            return;
        }
        // If the holder of the lock is working, waiting in the queue of the lock succeeds in time. If it is idle in a
        // transaction, waiting is useless.
        let is_stalled = held.as_ref().is_some_and(HeldLock::is_stalled);
        self.locks = if is_stalled { Locks::Skip } else { Locks::Wait(self.lock_wait) };
        let address = &self.shared.address;
        let error = held.map_or_else(|| no_answer(address), |held| held.to_error(address));
        if is_stalled && !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(%error, "some work is waiting for a lock, all other work continues");
        }
        let (now, closing) = (Instant::now(), self.closing);
        self.again_at = now + LOCKED;
        let mut still_waiting = Vec::with_capacity(commands.len());
        for waiting in commands {
            if waiting.is_late(now, closing) {
                waiting.finish(Err(error.copy()));
            } else {
                still_waiting.push(waiting);
            }
        }
        if self.alone > 0 {
            // The other commands are executed first.
            self.waiting.extend(still_waiting);
        } else {
            self.set_aside = still_waiting.len();
            self.put_back(still_waiting);
        }
    }

    /// Handles a transaction that has waited for a lock as long as it may.
    fn lock_timed_out(&mut self, locks: Locks, batch: Vec<Waiting>, error: &StoreError) {
        let (now, closing) = (Instant::now(), self.closing);
        if locks != Locks::Skip {
            // The next transaction finds out what is locked, and executes the rest.
            (self.locks, self.lock_wait) = (Locks::Skip, self.lock_wait.saturating_mul(2).min(LONGEST_WAIT));
            self.put_back(batch);
        } else if batch.len() > 1 {
            // The lock cannot be checked in advance, e.g. that of a table: each command is executed alone, and waits
            // for its locks.
            self.alone = batch.len();
            self.put_back(batch);
        } else {
            self.alone = self.alone.saturating_sub(1);
            for waiting in batch {
                if waiting.is_late(now, closing) {
                    waiting.finish(Err(error.copy()));
                } else {
                    self.waiting.push_back(waiting);
                }
            }
        }
    }

    /// Handles a transaction that was not committed.
    async fn failed(&mut self, mut session: Session, locks: Locks, batch: Vec<Waiting>, error: sqlx::Error) {
        let (class, is_lock_timeout) = (class(&error), is_lock_timeout(&error));
        let error = store_error(&self.shared.address, error);
        if class == Class::Later || raw_sql("ROLLBACK").execute(&mut session.connection).await.is_err() {
            drop(session);
            self.lost(error);
            self.put_back(batch);
            self.expire();
            return;
        }
        self.session = Some(session);
        if is_lock_timeout {
            self.lock_timed_out(locks, batch, &error);
        } else if class == Class::Again && self.tries < TRIES {
            self.tries += 1;
            self.put_back(batch);
            sleep(Duration::from_millis(fastrand::u64(0..=u64::from(self.tries) * 2))).await;
        } else if batch.len() > 1 {
            // One of the commands may be at fault; each is retried alone, so that only that one fails.
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
            tracing::warn!(%error, "the store is unavailable");
        }
        self.shared.suspect.notify_one();
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error);
    }

    fn put_back(&mut self, batch: Vec<Waiting>) {
        for waiting in batch.into_iter().rev() {
            self.waiting.push_front(waiting);
        }
    }

    /// Sends results to the callers and notices to the listeners.
    fn finish(&mut self, batch: Vec<Waiting>, done: Done) {
        let notices = self.shared.notifier.send_events(done.notices);
        let mut unclaimed = Vec::new();
        for waiting in batch {
            unclaimed.extend(waiting.finish(Ok(())));
        }
        for change in notices {
            self.shared.notifier.notify(change);
        }
        if done.passed_by {
            let notifier = self.shared.notifier.clone();
            self.shared.tasks.spawn(async move {
                sleep(AGAIN).await;
                notifier.notify(StoreNotice::OutboxReady);
            });
        }
        self.release(unclaimed);
    }

    /// Releases rows that no caller in this process knows of.
    fn release(&mut self, rows: Vec<Held>) {
        if !rows.is_empty() {
            self.waiting.push_back(Waiting::now(Command::Release(rows, Answer::unawaited())));
        }
    }

    /// Deletes the row of the process, closes the connection, and returns an error for commands that are still queued.
    async fn leave(mut self) {
        if let Some(mut session) = self.session.take() {
            let leave = "DELETE FROM ork.writer WHERE id = $1";
            let leave = sqlx::query(leave).bind(Uid::from(self.shared.boot)).execute(&mut session.connection);
            // A row that is not deleted is removed by another process a week later.
            drop(timeout(Duration::from_secs(1), leave).await);
            drop(timeout(Duration::from_secs(1), sqlx::Connection::close(session.connection)).await);
        }
        while let Ok(waiting) = self.queue.try_recv() {
            waiting.finish(Err(closed()));
        }
    }
}
