//! The backlog of a subscription: deliveries that wait for a slot and are not claimed yet, so that they can still be
//! cancelled, or requeued for another worker.

use std::collections::VecDeque;

use futures_util::future::{BoxFuture, FutureExt as _, select};

use crate::broker::{Delivery, Disposition};
use crate::engine::slots::{Slot, SlotKind};
use crate::engine::{Batch, Engine, batch, slot_needed};

/// The deliveries of one subscription that wait for a slot, in one line for each kind of slots.
#[derive(Default)]
pub(super) struct Backlog {
    tasks: Line,
    blocking: Line,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<(Option<batch::Key>, Delivery)>,
    /// The pending request for a slot. It is kept as long as deliveries wait, so that it does not lose its place among
    /// the requests for slots.
    pending_slot: Option<BoxFuture<'static, Option<Slot>>>,
}

impl Backlog {
    /// Adds a delivery to the backlog. Returns it instead if it needs no slot and can start at once.
    pub(super) fn push(&mut self, engine: &Engine, delivery: Delivery) -> Option<Batch> {
        let message = delivery.message.as_ref().ok();
        match message.and_then(|message| slot_needed(&engine.registry, message)) {
            None => Some(Batch::new(vec![delivery], None)),
            Some(kind) => {
                self.line(kind).waiting.push_back((batch::key(engine, &delivery), delivery));
                None
            }
        }
    }

    /// Takes a slot and returns the work that can start under it, if there is any.
    pub(super) fn pop(&mut self, engine: &Engine) -> Option<Batch> {
        [SlotKind::Async, SlotKind::Blocking].into_iter().find_map(|kind| {
            let line = self.line(kind);
            let ready = !line.waiting.is_empty() && line.pending_slot.is_none();
            let slot = ready.then(|| engine.slots.try_take(kind)).flatten()?;
            line.start(engine, kind, slot)
        })
    }

    /// Waits for a slot, and returns the work that can start under it. To be called after [`Backlog::pop`] has returned
    /// `None`; if nothing waits, the future never completes.
    ///
    /// # Cancel safety
    /// If the future is dropped, no delivery is lost, and the request for a slot keeps its place.
    pub(super) async fn next(&mut self, engine: &Engine) -> Option<Batch> {
        let (tasks, blocking) = (&mut self.tasks, &mut self.blocking);
        let tasks = tasks.slot(engine, SlotKind::Async).map(|slot| (SlotKind::Async, slot)).boxed();
        let blocking = blocking.slot(engine, SlotKind::Blocking).map(|slot| (SlotKind::Blocking, slot)).boxed();
        let (kind, slot) = select(tasks, blocking).await.factor_first().0;
        self.line(kind).start(engine, kind, slot?)
    }

    /// Whether no delivery waits.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.waiting.is_empty() && self.blocking.waiting.is_empty()
    }

    /// Requeues all waiting deliveries.
    pub(super) fn requeue_all(&mut self) {
        for line in [&mut self.tasks, &mut self.blocking] {
            line.pending_slot = None;
            for (_, delivery) in line.waiting.drain(..) {
                delivery.acker.settle(Disposition::Requeue);
            }
        }
    }

    const fn line(&mut self, kind: SlotKind) -> &mut Line {
        match kind {
            SlotKind::Async => &mut self.tasks,
            SlotKind::Blocking => &mut self.blocking,
        }
    }
}

impl Line {
    /// Waits for a slot for the first delivery of the line. Never completes if the line is empty.
    async fn slot(&mut self, engine: &Engine, kind: SlotKind) -> Option<Slot> {
        if self.waiting.is_empty() {
            std::future::pending::<()>().await;
        }
        let pending_slot = self.pending_slot.get_or_insert_with(|| engine.slots.acquire(kind).boxed());
        let slot = pending_slot.await;
        self.pending_slot = None;
        slot
    }

    /// Takes the first delivery of the line, and as many of those behind it as fit into one batch with it.
    fn start(&mut self, engine: &Engine, kind: SlotKind, mut slot: Slot) -> Option<Batch> {
        // The broker redelivers those whose channel was closed.
        while self.waiting.pop_front_if(|(_, delivery)| delivery.acker.is_channel_closed()).is_some() {}
        let (key, first) = self.waiting.pop_front()?;
        let size = if key.is_some() { batch::size(engine, &first, &mut slot, kind) } else { 1 };
        let mut deliveries = vec![first];
        while deliveries.len() < size {
            let Some((_, next)) = self.waiting.pop_front_if(|(next, _)| *next == key) else {
                break;
            };
            if !next.acker.is_channel_closed() {
                deliveries.push(next);
            }
        }
        Some(Batch::new(deliveries, Some(slot)))
    }
}
