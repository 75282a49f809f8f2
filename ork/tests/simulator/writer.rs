//! The writer of a connection to the store: waiting operations go into one transaction, one transaction at a time.
//!
//! Operations that wait too long, for a lock or for a connection that was lost, fail like those of the adapters. Some
//! of them were carried out, but their callers cannot know. What their process holds because of them is released later.

use std::sync::Arc;

use ork::JobState;
use ork_core::tx::StoreNotice;
use ork_ports::store::{JobView, StoreError, StoreErrorKind, Work};
use ork_runtime::store::memory::Holdings;

use super::executor::Owner;
use super::names::Reached;
use super::store::End;
use super::store_troubles::{Access, PATIENCE, doubtful, lock_timeout};

/// The maximum number of operations in one transaction.
const BATCH: usize = 64;

/// Operations that wait, and since when.
pub(crate) struct Waiting {
    pub(crate) work: Box<dyn Work>,
    pub(crate) since: u64,
}

impl Waiting {
    const fn is_late(&self, now: u64) -> bool {
        self.since + PATIENCE <= now
    }
}

impl End {
    pub(crate) async fn write(self: Arc<Self>) {
        while self.lives() {
            let batch = self.next_batch();
            if batch.is_empty() {
                self.some.notified().await;
                continue;
            }
            self.delay().await;
            let batch = self.lock(batch).await;
            let until = self.world.doubt_until();
            let is_in_doubt = self.world.executor.now() < until;
            // The connection was lost before the commit, which is found out later, or during it.
            let is_lost_before = is_in_doubt && self.dice.lock().unwrap().percent(50);
            let batch = if is_lost_before { self.wait_in_doubt(until, batch).await } else { batch };
            let batch = self.refuse(batch);
            if batch.is_empty() {
                continue;
            }
            if !self.lives() {
                return self.world.keep_unanswered(works(batch));
            }
            let is_in_doubt = is_in_doubt && !is_lost_before;
            let before = is_in_doubt.then(|| self.holdings());
            let (mut works, since) = split(batch);
            let (changes, refused) = self.world.commit(self.owner, &mut works);
            let after = is_in_doubt.then(|| self.holdings());
            let n_works = works.len();
            let batch: Vec<_> = works.into_iter().zip(since).map(|(work, since)| Waiting { work, since }).collect();
            let batch = if is_in_doubt && refused.is_empty() { self.wait_in_doubt(until, batch).await } else { batch };
            self.delay().await;
            if !self.lives() {
                return self.world.keep_unanswered(batch.into_iter().map(|waiting| waiting.work).collect());
            }
            let is_given_up = batch.len() < n_works;
            let notices: Vec<_> = self.changes.send_events(changes).collect();
            for (at, waiting) in batch.into_iter().enumerate() {
                let kind = StoreErrorKind::Data;
                let refused = refused.contains(&at).then(|| StoreError::new(kind, "it cannot be held"));
                waiting.work.finish(refused.map_or(Ok(()), Err));
            }
            self.notify(notices);
            if let (true, Some(before), Some(after)) = (is_given_up, before, after) {
                self.let_go(&before, &after);
            }
        }
    }

    fn next_batch(&self) -> Vec<Waiting> {
        let mut queue = self.queue.lock().unwrap();
        let n = queue.len().min(BATCH);
        queue.drain(..n).collect()
    }

    fn fails(&self, waiting: Waiting, error: StoreError) {
        let now = self.world.executor.now();
        if error.kind() == StoreErrorKind::Corrupt {
            for at in 0..waiting.work.count() {
                let job = waiting.work.job(at);
                // The operation may also be a parent's that submits the job again, which has ended.
                let runs = |view: JobView| view.job.state == JobState::Running;
                if self.world.truth(|tables| tables.job(job)).is_some_and(runs) {
                    self.world.oracle(|oracle| oracle.cannot_record(self.owner, job, now));
                }
            }
        }
        waiting.work.finish(Err(error));
    }

    /// Refuses operations if the store cannot execute them, and returns the others.
    fn refuse(&self, batch: Vec<Waiting>) -> Vec<Waiting> {
        if !self.lives() {
            return batch;
        }
        let mut others = Vec::new();
        for waiting in batch {
            let error = self.world.refusal(self.owner, Access::Write, &mut self.dice.lock().unwrap());
            match error {
                Some(error) => self.fails(waiting, error),
                None => others.push(waiting),
            }
        }
        others
    }

    /// Waits for the lock of a file, and sets operations aside whose jobs others have locked on a server. Returns the
    /// operations that can be executed.
    async fn lock(self: &Arc<Self>, batch: Vec<Waiting>) -> Vec<Waiting> {
        let (now, until) = (self.world.executor.now(), self.world.file_locked_until());
        if now < until {
            self.world.executor.sleep(PATIENCE.min(until - now)).await;
            if self.world.executor.now() >= until || !self.lives() {
                return batch;
            }
            for waiting in batch {
                self.lock_times_out(waiting);
            }
            return Vec::new();
        }
        let (mut free, mut locked) = (Vec::new(), Vec::new());
        for waiting in batch {
            match self.world.jobs_locked_until(waiting.work.as_ref()) {
                Some(until) => locked.push((waiting, until)),
                None => free.push(waiting),
            }
        }
        if let Some((_, until)) = locked.first() {
            let (end, until) = (Arc::clone(self), *until);
            let locked = locked.into_iter().map(|(waiting, _)| waiting).collect();
            self.world.executor.spawn(Owner::WORLD, end.set_aside(locked, until));
        }
        free
    }

    /// Keeps operations until their jobs are free. Those that wait too long fail.
    async fn set_aside(self: Arc<Self>, mut locked: Vec<Waiting>, until: u64) {
        while let Some(first) = locked.iter().map(|waiting| waiting.since + PATIENCE).min() {
            let now = self.world.executor.now();
            self.world.executor.sleep(first.min(until).saturating_sub(now)).await;
            if !self.lives() {
                return self.world.keep_unanswered(works(locked));
            }
            let now = self.world.executor.now();
            if now >= until {
                let mut queue = self.queue.lock().unwrap();
                locked.into_iter().rev().for_each(|waiting| queue.push_front(waiting));
                return self.some.notify_one();
            }
            for waiting in locked.extract_if(.., |waiting| waiting.is_late(now)) {
                self.lock_times_out(waiting);
            }
        }
    }

    fn lock_times_out(&self, waiting: Waiting) {
        self.world.oracle(|oracle| oracle.reaches(Reached::LockTimedOut));
        self.fails(waiting, lock_timeout());
    }

    /// Waits until the store can be reached again. Operations that wait too long fail, those of a transaction only
    /// together; also those that have arrived since. Returns the operations of the transaction unless they have failed.
    async fn wait_in_doubt(&self, until: u64, mut batch: Vec<Waiting>) -> Vec<Waiting> {
        loop {
            let now = self.world.executor.now();
            if now >= until || !self.lives() {
                return batch;
            }
            let queued = self.queue.lock().unwrap().iter().map(|waiting| waiting.since).min();
            let youngest = batch.iter().map(|waiting| waiting.since).max();
            // What arrives meanwhile becomes late after this at the earliest.
            let next = queued.into_iter().chain(youngest).min().unwrap_or(now) + PATIENCE;
            self.world.executor.sleep(next.min(until).saturating_sub(now)).await;
            if !self.lives() {
                return batch;
            }
            let now = self.world.executor.now();
            let mut late = Vec::new();
            if batch.iter().all(|waiting| waiting.is_late(now)) {
                late.append(&mut batch);
            }
            {
                let mut queue = self.queue.lock().unwrap();
                let (over, rest): (Vec<_>, Vec<_>) = queue.drain(..).partition(|waiting| waiting.is_late(now));
                queue.extend(rest);
                late.extend(over);
            }
            for waiting in late {
                self.fails(waiting, doubtful());
            }
        }
    }

    fn holdings(&self) -> Holdings {
        let boot = u128::from(self.owner.0).to_be_bytes();
        self.world.truth(|tables| tables.held_by(boot))
    }

    /// Releases what this process holds because of a transaction whose outcome a caller does not know.
    fn let_go(&self, before: &Holdings, after: &Holdings) {
        self.world.oracle(|oracle| oracle.reaches(Reached::InDoubt));
        let boot = u128::from(self.owner.0).to_be_bytes();
        let notices: Vec<StoreNotice> = self.world.truth(|tables| tables.let_go(boot, before, after));
        self.world.keep_durable();
        self.world.releases(self.owner);
        self.world.broadcast(self.owner, &notices);
        self.notify(notices);
    }
}

fn works(batch: Vec<Waiting>) -> Vec<Box<dyn Work>> {
    split(batch).0
}

fn split(batch: Vec<Waiting>) -> (Vec<Box<dyn Work>>, Vec<u64>) {
    batch.into_iter().map(|waiting| (waiting.work, waiting.since)).unzip()
}
