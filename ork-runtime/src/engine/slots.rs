//! Slots: how many of the user's functions run at once in this process.
//!
//! Work is claimed only under a slot. So `running` means that a call is under way, and work without a slot stays
//! where another process, a cancel or a drain can reach it. Calls that are known to be short are the exception: one
//! slot admits as many of them as fill a millisecond. Splits take no slot, but they are claimed only when no work runs
//! alone in this process, and none may run alone beside them.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, OwnedSemaphorePermit, RwLock, Semaphore};

use crate::task::def::{Run, TaskDef};
use crate::workflow_run::{PROCESS, PYTHON};

/// The two kinds of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SlotKind {
    /// Slots for `async fn` tasks, which run on the runtime (`concurrency`).
    Async,
    /// Slots for `fn` tasks and external programs, each of which occupies a thread or a process
    /// (`blocking_concurrency`).
    Blocking,
}

impl SlotKind {
    /// Returns the kind of slot that this function takes.
    pub(crate) fn of(def: &TaskDef) -> Self {
        match def.run {
            // Each is a separate process, which works as a thread would.
            Run::Async(_) if matches!(def.name, PYTHON | PROCESS) => Self::Blocking,
            Run::Async(_) | Run::AsyncSplit(_) => Self::Async,
            Run::Blocking(_) | Run::BlockingSplit(_) => Self::Blocking,
        }
    }
}

/// The resource that a call needs before it may be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A slot of this kind.
    Slot(SlotKind),
    /// No slot, as the call is a split; but no work may run alone beside it.
    Split,
}

impl Need {
    /// Returns what a call of this function needs.
    pub(super) fn of(def: &TaskDef) -> Self {
        match def.run {
            Run::AsyncSplit(_) | Run::BlockingSplit(_) => Self::Split,
            Run::Async(_) | Run::Blocking(_) => Self::Slot(SlotKind::of(def)),
        }
    }
}

/// The slots of this process.
#[derive(Debug)]
pub(crate) struct Slots {
    tasks: Pool,
    blocking: Pool,
    /// Held for reading by splits, which take no slot, and for writing by a call that has to run alone.
    alone: Arc<RwLock<()>>,
}

#[derive(Debug, Clone)]
struct Pool {
    size: usize,
    free: Arc<Semaphore>,
}

impl Pool {
    fn new(size: usize) -> Self {
        Self { size, free: Arc::new(Semaphore::new(size)) }
    }
}

/// Observes the slots of a process, for tests.
#[cfg(feature = "_mutants")]
#[derive(Debug, Clone)]
pub struct SlotObserver {
    pools: [Pool; 2],
    alone: Arc<RwLock<()>>,
}

#[cfg(feature = "_mutants")]
impl SlotObserver {
    /// Returns how many slots of both kinds are taken; `None` while work runs alone, or waits for that: it may take all
    /// of them.
    pub fn n_taken(&self) -> Option<usize> {
        let _not_alone = self.alone.try_read().ok()?;
        Some(self.pools.iter().map(|pool| pool.size.saturating_sub(pool.free.available_permits())).sum())
    }
}

/// One or more slots, released on drop.
#[derive(Debug)]
pub(crate) struct Slot(OwnedSemaphorePermit);

/// A slot that short calls use one after the other. It is free again when the last of them has ended.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    turn: Arc<Semaphore>,
    slot: Arc<Slot>,
}

/// The right of a split to run: until this is dropped, no other work runs alone in this process.
#[derive(Debug)]
pub(super) struct SplitGuard {
    /// `None` if the split runs alone itself.
    _not_alone: Option<OwnedRwLockReadGuard<()>>,
}

/// The place where a call runs.
#[derive(Debug)]
pub(super) enum Place {
    /// A slot for this call only.
    Slot(Slot),
    /// A slot that short calls of one batch use one after the other.
    Lane(Lane),
    /// No slot: the call is a split, beside which no work runs alone.
    Split(SplitGuard),
}

/// The right to run one call.
#[derive(Debug)]
pub(super) enum CallSlot {
    /// An exclusive slot.
    Exclusive { _slot: Slot },
    /// The current turn in a lane, which shares one slot.
    Shared { _turn: OwnedSemaphorePermit, _slot: Arc<Slot> },
    /// The right of a split, which takes no slot.
    Split { _guard: SplitGuard },
}

impl Lane {
    /// Returns a lane for each of these slots.
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

    /// Takes the turn if no other call has it.
    pub(super) fn try_turn(self) -> Result<CallSlot, Self> {
        match Arc::clone(&self.turn).try_acquire_owned() {
            Ok(turn) => Ok(CallSlot::Shared { _turn: turn, _slot: self.slot }),
            Err(_) => Err(self),
        }
    }

    /// Waits for the turn.
    ///
    /// # Cancel safety
    /// If the future is dropped, no turn is taken, and the place in the queue is lost.
    pub(super) async fn turn(self) -> Option<CallSlot> {
        let turn = self.turn.acquire_owned().await.ok()?;
        Some(CallSlot::Shared { _turn: turn, _slot: self.slot })
    }
}

impl Slot {
    /// Returns how many slots these are.
    pub(super) fn count(&self) -> usize {
        self.0.num_permits()
    }

    /// Returns one of these slots. The others are free again.
    pub(super) fn into_one(mut self) -> Self {
        self.split_off().unwrap_or(self)
    }

    /// Splits one slot off; `None` if only one is left.
    fn split_off(&mut self) -> Option<Self> {
        let more = self.0.num_permits() > 1;
        more.then(|| self.0.split(1)).flatten().map(Self)
    }

    /// Adds slots that are free now, until there are `wanted`.
    pub(super) fn widen(&mut self, slots: &Slots, kind: SlotKind, wanted: usize) {
        let free = &slots.pool(kind).free;
        let more = wanted.saturating_sub(self.count()).min(free.available_permits());
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if let Ok(more) = Arc::clone(free).try_acquire_many_owned(more) {
            self.0.merge(more);
        }
    }
}

/// All slots of this process that the work does not need itself: until this is dropped, no other user code runs in it.
#[derive(Debug)]
pub(super) struct Alone {
    splits: OwnedRwLockWriteGuard<()>,
    _slots: [Slot; 2],
}

impl Alone {
    /// Lets other work run beside this, but none alone.
    pub(super) fn beside_others(self) -> SplitGuard {
        SplitGuard { _not_alone: Some(self.splits.downgrade()) }
    }
}

impl Slots {
    pub(super) fn new(tasks: usize, blocking: usize) -> Self {
        Self { tasks: Pool::new(tasks), blocking: Pool::new(blocking), alone: Arc::default() }
    }

    const fn pool(&self, kind: SlotKind) -> &Pool {
        match kind {
            SlotKind::Async => &self.tasks,
            SlotKind::Blocking => &self.blocking,
        }
    }

    /// Returns how many slots of this kind there are, including busy ones.
    pub(crate) const fn size(&self, kind: SlotKind) -> usize {
        self.pool(kind).size
    }

    /// Returns an observer of these slots.
    #[cfg(feature = "_mutants")]
    pub(crate) fn observer(&self) -> SlotObserver {
        SlotObserver { pools: [self.tasks.clone(), self.blocking.clone()], alone: Arc::clone(&self.alone) }
    }

    /// Takes a slot if one is free now.
    pub(crate) fn try_take(&self, kind: SlotKind) -> Option<Slot> {
        Arc::clone(&self.pool(kind).free).try_acquire_owned().ok().map(Slot)
    }

    /// Waits for a slot.
    ///
    /// # Cancel safety
    /// If the future is dropped, no slot is taken, and its place in the queue is lost.
    pub(crate) fn acquire(&self, kind: SlotKind) -> impl Future<Output = Option<Slot>> + Send + use<> {
        let free = Arc::clone(&self.pool(kind).free);
        async move { free.acquire_owned().await.ok().map(Slot) }
    }

    /// Waits until a split may run.
    ///
    /// # Cancel safety
    /// If the future is dropped, the right is not taken, and its place in the queue is lost.
    pub(super) async fn enter_split(&self) -> SplitGuard {
        SplitGuard { _not_alone: Some(Arc::clone(&self.alone).read_owned().await) }
    }

    /// Waits until no user code runs in this process, then takes all slots. Returns what the call needs, and the
    /// others.
    pub(super) async fn take_all(&self, need: Need) -> Option<(Place, Alone)> {
        let splits = Arc::clone(&self.alone).write_owned().await;
        let all = async |pool: &Pool| {
            let n = u32::try_from(pool.size).unwrap_or(u32::MAX);
            Arc::clone(&pool.free).acquire_many_owned(n).await.ok().map(Slot)
        };
        let mut slots = [all(&self.tasks).await?, all(&self.blocking).await?];
        let [tasks, blocking] = &mut slots;
        let place = match need {
            Need::Slot(SlotKind::Async) => Place::Slot(tasks.0.split(1).map(Slot)?),
            Need::Slot(SlotKind::Blocking) => Place::Slot(blocking.0.split(1).map(Slot)?),
            Need::Split => Place::Split(SplitGuard { _not_alone: None }),
        };
        Some((place, Alone { splits, _slots: slots }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression test: a batch of one delivery, for which several slots had been taken, kept all of them until its
    /// call had ended.
    #[test]
    fn one_of_several_slots_leaves_the_others_free() {
        let slots = Slots::new(4, 1);
        let mut slot = slots.try_take(SlotKind::Async).unwrap();
        slot.widen(&slots, SlotKind::Async, 3);
        assert_eq!((slot.count(), slots.tasks.free.available_permits()), (3, 1));
        let one = slot.into_one();
        assert_eq!((one.count(), slots.tasks.free.available_permits()), (1, 3));
        let one = one.into_one();
        assert_eq!((one.count(), slots.tasks.free.available_permits()), (1, 3));
        drop(one);
        assert_eq!(slots.tasks.free.available_permits(), 4);
    }
}
