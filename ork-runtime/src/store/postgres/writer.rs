//! The one task that writes: takes all that waits, does it in one transaction, answers after the commit.
//!
//! What waits for a lock of another process is set aside, and tried again between other work.
//!
//! It owns the connection that writes. Without one it goes on trying to connect, and what has waited for too long is
//! told so. Nothing is answered before it is known, and nothing is done twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sqlx::raw_sql;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::batch::{self, Done, Failed, Round};
use super::codec::Uid;
use super::command::{Answer, Command, Waiting};
use super::error::{Class, class, closed, is_lock_timeout, no_answer, store_error};
use super::locked::{Aside, FIRST_WAIT, HeldLock, LONGEST_WAIT, Locks};
use super::news::News;
use super::numbers::Numbers;
use super::outbox::Held;
use super::readers::Readers;
use super::session::{PATIENCE, Session};
use super::url::Address;
use crate::store::{Notifier, StoreError, StoreErrorKind};
use crate::tx::StoreNotice;

/// At most so many commands make one transaction: what waits behind them should not wait for too long.
const BATCH: usize = 2_048;

/// How often a transaction that met another one is tried again at once.
const TRIES: u32 = 10;

/// The longest pause between two attempts to reach the server: once it can be reached again, nobody waits for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// When rows were passed by because others had them locked, they are looked for again after this.
const AGAIN: Duration = Duration::from_millis(10);

/// What needs a lock that another process has is tried again after this, or together with what comes in the meantime.
const LOCKED: Duration = Duration::from_millis(50);

/// How long to wait before the next attempt, after so many that failed: longer and longer, never all at once.
pub(super) fn pause(failures: u32) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let longest = Duration::from_millis(50).saturating_mul(1 << failures.min(7)).min(LONGEST_PAUSE);
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
    pub(super) notifier: Notifier,
    pub(super) readers: Arc<Readers>,
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
    /// So many of the first that wait were set aside: they need a lock that another process has.
    set_aside: usize,
    /// When these are tried again, if nothing else is to be done before.
    again_at: Instant,
    /// How the next transaction meets the locks of others.
    locks: Locks,
    /// How long one waits for them, where it waits.
    lock_wait: Duration,
    /// Whether it was said already that work waits for a lock.
    has_warned: bool,
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
            set_aside: 0,
            again_at: Instant::now(),
            locks: Locks::Wait(FIRST_WAIT),
            lock_wait: FIRST_WAIT,
            has_warned: false,
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
            } else if self.waiting.is_empty() {
            } else if self.waiting.len() <= self.set_aside && Instant::now() < self.again_at {
                self.more_or_again().await;
            } else {
                self.carry_out().await;
            }
        }
        self.leave().await;
    }

    /// Waits for something else to do, until what was set aside is tried again.
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
            // The lives of others depend on nothing else that waits here.
            self.waiting.push_front(waiting);
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
                self.shared.readers.renew();
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
        let late = |waiting: &Waiting| waiting.is_late(now, closing);
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
        let most = if self.alone > 0 { 1 } else { BATCH + self.set_aside };
        let batch: Vec<_> = self.waiting.drain(..self.waiting.len().min(most)).collect();
        let Some(mut session) = self.session.take() else { return };
        // While something is set aside, nothing else waits for its locks.
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
                    // It may have much to do; or the other side is gone, and nobody says so.
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
                (self.failures, self.tries, self.trouble) = (0, 0, None);
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

    /// Keeps what a transaction has set aside for the next one. Whoever has waited for too long is told what is locked.
    fn set_aside(&mut self, Aside { commands, held }: Aside) {
        if commands.is_empty() {
            (self.locks, self.lock_wait, self.has_warned) = (Locks::Wait(FIRST_WAIT), FIRST_WAIT, false);
            return;
        }
        // Behind one that is at work, its turn comes in the queue; one that does nothing gives its turn to nobody.
        let is_stalled = held.as_ref().is_some_and(HeldLock::is_stalled);
        self.locks = if is_stalled { Locks::Skip } else { Locks::Wait(self.lock_wait) };
        let address = &self.shared.address;
        let error = held.map_or_else(|| no_answer(address), |held| held.to_error(address));
        if is_stalled && !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(%error, "some work waits for a lock, all other work goes on");
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
            // The others have their turn first.
            self.waiting.extend(still_waiting);
        } else {
            self.set_aside = still_waiting.len();
            self.put_back(still_waiting);
        }
    }

    /// A transaction has waited for a lock for as long as it may.
    fn lock_timed_out(&mut self, locks: Locks, batch: Vec<Waiting>, error: &StoreError) {
        let (now, closing) = (Instant::now(), self.closing);
        if locks != Locks::Skip {
            // The next one finds out what is locked, and does the rest.
            (self.locks, self.lock_wait) = (Locks::Skip, self.lock_wait.saturating_mul(2).min(LONGEST_WAIT));
            self.put_back(batch);
        } else if batch.len() > 1 {
            // It is a lock that cannot be looked at before, such as that of a table: alone, each waits for its own.
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

    /// A transaction was not carried out.
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
        let notifier = self.shared.notifier.send_events(done.notifier);
        let mut nobodys = Vec::new();
        for waiting in batch {
            nobodys.extend(waiting.finish(Ok(())));
        }
        for change in notifier {
            self.shared.notifier.notify(change);
        }
        if done.passed_by {
            let notifier = self.shared.notifier.clone();
            self.shared.tasks.spawn(async move {
                sleep(AGAIN).await;
                notifier.notify(StoreNotice::OutboxReady);
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
