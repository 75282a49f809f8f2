//! Slots: how many of the user's functions run at once in this process.
//!
//! Work is claimed from the store only under a slot, so that `running` means that a call is under way, and so that
//! whatever this process has no slot for stays where another process, a cancel or a drain can reach it. Calls that are
//! known to be short are the exception: a slot admits as many of them as it takes to fill a millisecond.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore};
use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::hook::Hooks;
use crate::message::{Message, WorkKind};
use crate::mutant::{self, Mutant};
use crate::registry::{Registry, Task};
use crate::task::builtin;
use crate::task::def::{Run, TaskDef};
use crate::workflow_run::{PROCESS, PYTHON};

/// How long a call that was claimed together with others may wait for its slot before it is given back.
const AHEAD: Duration = Duration::from_millis(100);

/// How long a suspect waits until nothing else runs in this process.
const ALONE: Duration = Duration::from_secs(30);

/// Which slots a function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SlotKind {
    /// Those of `async fn` tasks, which run on the runtime (`concurrency`).
    Async,
    /// Those of `fn` tasks and of programs, each of which keeps a thread or a process busy (`blocking`).
    Blocking,
}

impl SlotKind {
    /// The slots that this function takes.
    pub(crate) fn of(def: &TaskDef) -> Self {
        match def.run {
            // Each is a process of its own, which works as a thread would.
            Run::Async(_) if matches!(def.name, PYTHON | PROCESS) => Self::Blocking,
            Run::Async(_) | Run::AsyncSplit(_) => Self::Async,
            Run::Blocking(_) | Run::BlockingSplit(_) => Self::Blocking,
        }
    }

    /// The slots that the function takes which a message of this task asks for; `None` if it is no call: a split, or
    /// what the engine does itself.
    pub(super) fn of_message(task: &Task, message: &Message) -> Option<Self> {
        if builtin::is_brought_on(task.name()) {
            return None;
        }
        let is_part = message.hooks.as_deref().is_some_and(|Hooks { part, .. }| part.is_some());
        let def = match message.kind {
            WorkKind::Hooks(_) => return None,
            WorkKind::Job | WorkKind::Step if task.split.is_some() && !is_part => return None,
            WorkKind::Join => task.join.as_ref()?,
            WorkKind::Job | WorkKind::Step | WorkKind::Single | WorkKind::Part { .. } => &task.work,
        };
        Some(Self::of(def))
    }

    /// The slots that the function takes which a message asks for, as far as the message alone says; `None` also if
    /// the task is unknown, or is the step of a workflow, which may be a call or make many.
    pub(crate) fn needed(registry: &Registry, message: &Message) -> Option<Self> {
        let task = registry.get(&message.task).ok().filter(|_| message.kind != WorkKind::Step)?;
        Self::of_message(task, message)
    }
}

/// The slots of this process.
#[derive(Debug)]
pub(crate) struct Slots {
    tasks: Pool,
    blocking: Pool,
    /// Read by splits, which take no slot, and written by a call that has to be alone.
    alone: RwLock<()>,
}

#[derive(Debug)]
struct Pool {
    size: usize,
    free: Arc<Semaphore>,
}

impl Pool {
    fn new(size: usize) -> Self {
        Self { size, free: Arc::new(Semaphore::new(size)) }
    }
}

/// One slot or more, until they are dropped.
#[derive(Debug)]
pub(crate) struct Slot(OwnedSemaphorePermit);

/// A slot that short calls use one after the other, free again when the last of them has ended.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    turn: Arc<Semaphore>,
    slot: Arc<Slot>,
}

/// The right to run one call.
#[derive(Debug)]
pub(super) enum Place {
    /// A slot of its own.
    Own { _slot: Slot },
    /// Its turn in a lane.
    Turn { _turn: OwnedSemaphorePermit, _slot: Arc<Slot> },
}

impl Lane {
    /// A lane for each of these slots.
    pub(super) fn of(mut slots: Slot) -> Vec<Self> {
        let mut lanes = Vec::with_capacity(slots.count());
        while let Some(one) = slots.split_off() {
            lanes.push(Self::new(one));
        }
        lanes.push(Self::new(slots));
        lanes
    }

    fn new(slot: Slot) -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), slot: Arc::new(slot) }
    }
}

impl Slot {
    /// How many slots these are.
    pub(super) fn count(&self) -> usize {
        self.0.num_permits()
    }

    /// Takes one out of several; the last one is left.
    fn split_off(&mut self) -> Option<Self> {
        let more = self.0.num_permits() > 1;
        more.then(|| self.0.split(1)).flatten().map(Self)
    }

    /// As many as can be had now beside these, until there are `wanted`.
    pub(super) fn widen(&mut self, slots: &Slots, kind: SlotKind, wanted: usize) {
        let free = &slots.pool(kind).free;
        let more = wanted.saturating_sub(self.count()).min(free.available_permits());
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if let Ok(more) = Arc::clone(free).try_acquire_many_owned(more) {
            self.0.merge(more);
        }
    }
}

/// All other slots of this process: until it is dropped, nothing else of the user runs in it.
#[derive(Debug)]
pub(super) struct Alone<'a> {
    _splits: RwLockWriteGuard<'a, ()>,
    _slots: [Slot; 2],
}

impl Slots {
    pub(super) fn new(tasks: usize, blocking: usize) -> Self {
        Self { tasks: Pool::new(tasks), blocking: Pool::new(blocking), alone: RwLock::new(()) }
    }

    const fn pool(&self, kind: SlotKind) -> &Pool {
        match kind {
            SlotKind::Async => &self.tasks,
            SlotKind::Blocking => &self.blocking,
        }
    }

    /// How many slots of this kind there are, busy ones included.
    pub(crate) const fn size(&self, kind: SlotKind) -> usize {
        self.pool(kind).size
    }

    /// A slot, if one is free now.
    pub(crate) fn try_take(&self, kind: SlotKind) -> Option<Slot> {
        Arc::clone(&self.pool(kind).free).try_acquire_owned().ok().map(Slot)
    }

    /// Waits for a slot.
    ///
    /// # Cancel safety
    /// Nothing is taken if the future is dropped; its place in the queue is lost.
    pub(crate) fn ask(&self, kind: SlotKind) -> impl Future<Output = Option<Slot>> + Send + use<> {
        let free = Arc::clone(&self.pool(kind).free);
        async move { free.acquire_owned().await.ok().map(Slot) }
    }

    /// Lets the user's code run that takes no slot: a split.
    pub(super) async fn beside(&self) -> RwLockReadGuard<'_, ()> {
        self.alone.read().await
    }

    /// Waits until nothing of the user runs in this process, and keeps it so but for one slot of this kind.
    async fn take_all(&self, kind: SlotKind) -> Option<(Slot, Alone<'_>)> {
        let splits = self.alone.write().await;
        let all = async |pool: &Pool| {
            let n = u32::try_from(pool.size).unwrap_or(u32::MAX);
            Arc::clone(&pool.free).acquire_many_owned(n).await.ok().map(Slot)
        };
        let mut slots = [all(&self.tasks).await?, all(&self.blocking).await?];
        let [tasks, blocking] = &mut slots;
        let own = match kind {
            SlotKind::Async => tasks,
            SlotKind::Blocking => blocking,
        };
        let slot = own.0.split(1).map(Slot)?;
        Some((slot, Alone { _splits: splits, _slots: slots }))
    }
}

/// Waits for a slot for work that is not claimed; `None` if the work is to be given back: the worker has to stop, or it
/// would take so long that another worker should have the work.
pub(super) async fn wait(engine: &Engine, kind: SlotKind) -> Option<Slot> {
    if engine.drain.is_cancelled() {
        return None;
    }
    if let Some(slot) = engine.slots.try_take(kind) {
        return Some(slot);
    }
    let too_long = async {
        if engine.broker.needs_relay() {
            engine.clock.pause(engine.settings.ack_within).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = engine.drain.cancelled() => None,
        slot = engine.slots.ask(kind) => slot,
        () = too_long => None,
    }
}

/// Waits for a slot for work that no store keeps and that has begun: given back, it would begin anew, and two of its
/// kind could hinder each other for ever. `None` if the worker has to stop.
pub(super) async fn wait_begun(engine: &Engine, kind: SlotKind) -> Option<Slot> {
    if mutant::is_on(Mutant::GivesBackRetries) {
        return wait(engine, kind).await;
    }
    tokio::select! {
        biased;
        () = engine.drain.cancelled() => None,
        slot = engine.slots.ask(kind) => slot,
    }
}

/// Waits for the turn of a call that was claimed together with others because such calls are short; `None` if it is not
/// to be made: its turn did not come soon, its job has ended, or the worker has to stop.
pub(super) async fn turn(engine: &Engine, lane: Lane, cancelled: &CancellationToken) -> Option<Place> {
    let Lane { turn, slot } = lane;
    if let Ok(turn) = Arc::clone(&turn).try_acquire_owned() {
        return Some(Place::Turn { _turn: turn, _slot: slot });
    }
    tokio::select! {
        biased;
        () = engine.drain.cancelled() => None,
        () = cancelled.cancelled() => None,
        turn = turn.acquire_owned() => turn.ok().map(|turn| Place::Turn { _turn: turn, _slot: slot }),
        () = engine.clock.pause(AHEAD) => None,
    }
}

/// Waits for the slot of a call that has none yet; answers none if `kind` says that there is no call, or if the
/// worker has to stop. A suspect gets its slot when nothing else runs here, or after [`ALONE`].
pub(super) async fn for_call(
    engine: &Engine,
    kind: Option<SlotKind>,
    slot: Option<Slot>,
    is_suspect: bool,
) -> (Option<Slot>, Option<Alone<'_>>) {
    let Some(kind) = kind else { return (None, None) };
    if is_suspect {
        drop(slot);
        return wait_alone(engine, kind).await.map_or((None, None), |(slot, alone)| (Some(slot), alone));
    }
    match slot {
        Some(slot) => (Some(slot), None),
        None => (wait(engine, kind).await, None),
    }
}

/// Waits for a slot in a process in which nothing else runs, for work that is not claimed. Where that takes long, any
/// slot will do, so that nothing stands still for good.
async fn wait_alone(engine: &Engine, kind: SlotKind) -> Option<(Slot, Option<Alone<'_>>)> {
    tokio::select! {
        biased;
        () = engine.drain.cancelled() => return None,
        all = engine.slots.take_all(kind) => return all.map(|(slot, alone)| (slot, Some(alone))),
        () = engine.clock.pause(ALONE) => {}
    }
    tracing::warn!("this process is too busy for a suspect to run alone in it; it runs beside others");
    wait(engine, kind).await.map(|slot| (slot, None))
}

/// Lets work run alone for a while. It may itself wait for others that need a slot here, so that they get one in the
/// end.
pub(super) async fn keep_alone<T>(engine: &Engine, alone: Option<Alone<'_>>, work: impl Future<Output = T>) -> T {
    let Some(alone) = alone else { return work.await };
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        end = &mut work => return end,
        () = engine.clock.pause(ALONE) => drop(alone),
    }
    work.await
}
