//! An executor on one thread: it draws which future is polled next, and time is virtual.
//!
//! Time advances only when nothing can be polled, and then to the next timer. Each future belongs to an owner: the
//! futures of an owner that dies are dropped, those of an owner that is held wait.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use ork_ports::runtime::Spawned;

use super::dice::Dice;

/// The owner of a future: a process, or the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner(pub(crate) u32);

impl Owner {
    /// Outlives every process.
    pub(crate) const WORLD: Self = Self(0);
    /// Another program, of which nothing runs here.
    pub(crate) const OTHER_PROGRAM: Self = Self(u32::MAX);
}

/// More polls than these without an advance of time are a loop.
const MOST_POLLS: u32 = 200_000;

type TaskId = u64;

#[derive(Debug)]
pub(crate) struct Executor {
    inner: Mutex<Inner>,
    ready: Arc<Mutex<BTreeSet<TaskId>>>,
}

struct Inner {
    /// Virtual microseconds.
    now: u64,
    next: u64,
    tasks: BTreeMap<TaskId, Task>,
    timers: BTreeMap<(u64, u64), Waker>,
    held: BTreeSet<Owner>,
    polled: Owner,
    dice: Dice,
    polls: u64,
    polls_now: u32,
}

struct Task {
    owner: Owner,
    /// `None` while it is polled.
    future: Option<Spawned>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tasks at {} us", self.tasks.len(), self.now)
    }
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Polled,
    /// Time advanced.
    Advanced,
    /// Nothing will ever happen any more.
    Quiet,
    /// It polls without end while time stands still.
    Loops,
}

struct TaskWaker {
    id: TaskId,
    ready: Arc<Mutex<BTreeSet<TaskId>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap().insert(self.id);
    }
}

impl Executor {
    pub(crate) fn new(dice: Dice) -> Arc<Self> {
        let inner = Inner {
            now: 0,
            next: 0,
            tasks: BTreeMap::new(),
            timers: BTreeMap::new(),
            held: BTreeSet::new(),
            polled: Owner::WORLD,
            dice,
            polls: 0,
            polls_now: 0,
        };
        Arc::new(Self { inner: Mutex::new(inner), ready: Arc::default() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Virtual microseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.inner().now
    }

    /// The owner of the future that is polled now.
    pub(crate) fn polled(&self) -> Owner {
        self.inner().polled
    }

    pub(crate) fn polls(&self) -> u64 {
        self.inner().polls
    }

    pub(crate) fn spawn(&self, owner: Owner, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn_boxed(owner, Box::pin(future));
    }

    pub(crate) fn spawn_boxed(&self, owner: Owner, future: Spawned) {
        let mut inner = self.inner();
        let id = inner.next;
        inner.next += 1;
        inner.tasks.insert(id, Task { owner, future: Some(future) });
        drop(inner);
        self.ready.lock().unwrap().insert(id);
    }

    /// Drops the futures of an owner, in the order in which they were spawned.
    pub(crate) fn kill(&self, owner: Owner) {
        let mut inner = self.inner();
        let of_owner = inner.tasks.iter().filter(|(_, task)| task.owner == owner);
        let ids: Vec<_> = of_owner.map(|(id, _)| *id).collect();
        let dead: Vec<_> = ids.into_iter().filter_map(|id| inner.tasks.remove(&id)).collect();
        inner.held.remove(&owner);
        drop(inner);
        drop(dead);
    }

    /// Makes the futures of an owner wait, or continue.
    pub(crate) fn hold(&self, owner: Owner, held: bool) {
        let mut inner = self.inner();
        if held {
            inner.held.insert(owner);
        } else {
            inner.held.remove(&owner);
        }
    }

    /// How many futures of an owner have not ended.
    pub(crate) fn n_tasks(&self, owner: Owner) -> usize {
        self.inner().tasks.values().filter(|task| task.owner == owner).count()
    }

    pub(crate) fn sleep(self: &Arc<Self>, micros: u64) -> Sleep {
        Sleep { at: self.now() + micros, executor: Arc::clone(self), key: None }
    }

    /// Polls one future, or advances time.
    pub(crate) fn step(&self) -> Step {
        let mut inner = self.inner();
        let mut ready = self.ready.lock().unwrap();
        ready.retain(|id| inner.tasks.contains_key(id));
        let may_run = |id: &&TaskId| inner.tasks.get(*id).is_some_and(|task| !inner.held.contains(&task.owner));
        let runnable: Vec<_> = ready.iter().filter(may_run).copied().collect();
        if runnable.is_empty() {
            drop(ready);
            return Self::advance(inner);
        }
        let at = inner.dice.index(runnable.len());
        let Some(&id) = runnable.get(at) else { return Step::Quiet };
        ready.remove(&id);
        drop(ready);
        inner.polls += 1;
        inner.polls_now += 1;
        if inner.polls_now > MOST_POLLS {
            return Step::Loops;
        }
        let Some(task) = inner.tasks.get_mut(&id) else { return Step::Polled };
        let owner = task.owner;
        let Some(mut future) = task.future.take() else { return Step::Polled };
        inner.polled = owner;
        drop(inner);
        let waker = Waker::from(Arc::new(TaskWaker { id, ready: Arc::clone(&self.ready) }));
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut inner = self.inner();
        let ended = match inner.tasks.get_mut(&id) {
            Some(task) if polled.is_pending() => {
                task.future = Some(future);
                None
            }
            _ => Some((inner.tasks.remove(&id), future)),
        };
        drop(inner);
        drop(ended);
        Step::Polled
    }

    fn advance(mut inner: MutexGuard<'_, Inner>) -> Step {
        let Some((&(at, _), _)) = inner.timers.first_key_value() else { return Step::Quiet };
        inner.now = inner.now.max(at);
        inner.polls_now = 0;
        let due = inner.timers.extract_if(..=(at, u64::MAX), |_, _| true);
        let due: Vec<_> = due.map(|(_, waker)| waker).collect();
        drop(inner);
        due.into_iter().for_each(Waker::wake);
        Step::Advanced
    }
}

/// A timer: it completes at its moment.
#[derive(Debug)]
pub(crate) struct Sleep {
    at: u64,
    executor: Arc<Executor>,
    key: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let executor = Arc::clone(&self.executor);
        let mut inner = executor.inner();
        if inner.now >= self.at {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            inner.next += 1;
            (self.at, inner.next)
        });
        self.key = Some(key);
        inner.timers.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = self.executor.inner().timers.remove(&key);
            drop(waker);
        }
    }
}
