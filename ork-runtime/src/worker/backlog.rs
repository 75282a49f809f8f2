//! Deliveries that wait for a slot, unclaimed: what a cancel, a drain or another worker can still have.

use std::collections::VecDeque;

use futures_util::future::{BoxFuture, FutureExt as _, select};

use crate::broker::{Delivery, Disposition};
use crate::engine::Engine;
use crate::engine::batch::{self, Batch};
use crate::engine::slots::{Slot, SlotKind};

/// What can begin now.
#[derive(Debug)]
pub(super) enum Begun {
    /// One delivery; without a slot if it needs none.
    One(Box<Delivery>, Option<Slot>),
    /// Deliveries that are processed together.
    Together(Batch),
}

/// The deliveries of one subscription that wait for a slot, a line for each kind of slots.
#[derive(Default)]
pub(super) struct Backlog {
    tasks: Line,
    blocking: Line,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<(Option<batch::Kind>, Delivery)>,
    /// Asks for a slot as long as something waits, so that its place in the queue for slots is kept.
    asked: Option<BoxFuture<'static, Option<Slot>>>,
}

impl Backlog {
    /// Takes a delivery in; answers it if it can begin at once, because it needs no slot.
    pub(super) fn push(&mut self, engine: &Engine, delivery: Delivery) -> Option<Begun> {
        let message = delivery.message.as_ref().ok();
        match message.and_then(|message| SlotKind::needed(&engine.registry, message)) {
            None => Some(Begun::One(Box::new(delivery), None)),
            Some(kind) => {
                self.line(kind).waiting.push_back((batch::kind(engine, &delivery), delivery));
                None
            }
        }
    }

    /// What can begin now, if anything can.
    pub(super) fn pop(&mut self, engine: &Engine) -> Option<Begun> {
        [SlotKind::Async, SlotKind::Blocking].into_iter().find_map(|kind| {
            let line = self.line(kind);
            let ready = !line.waiting.is_empty() && line.asked.is_none();
            let slot = ready.then(|| engine.slots.try_take(kind)).flatten()?;
            line.begin(engine, kind, slot)
        })
    }

    /// Waits until something can begin that could not at [`Backlog::pop`]; for ever if nothing waits.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped, nor its place in the queue for slots.
    pub(super) async fn next(&mut self, engine: &Engine) -> Option<Begun> {
        let (tasks, blocking) = (&mut self.tasks, &mut self.blocking);
        let tasks = tasks.slot(engine, SlotKind::Async).map(|slot| (SlotKind::Async, slot)).boxed();
        let blocking = blocking.slot(engine, SlotKind::Blocking).map(|slot| (SlotKind::Blocking, slot)).boxed();
        let (kind, slot) = select(tasks, blocking).await.factor_first().0;
        self.line(kind).begin(engine, kind, slot?)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.waiting.is_empty() && self.blocking.waiting.is_empty()
    }

    /// Gives back all that waits.
    pub(super) fn give_back(&mut self) {
        for line in [&mut self.tasks, &mut self.blocking] {
            line.asked = None;
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
    /// Waits for a slot for the first in line.
    async fn slot(&mut self, engine: &Engine, kind: SlotKind) -> Option<Slot> {
        if self.waiting.is_empty() {
            std::future::pending::<()>().await;
        }
        let asked = self.asked.get_or_insert_with(|| engine.slots.acquire(kind).boxed());
        let slot = asked.await;
        self.asked = None;
        slot
    }

    /// Begins the first in line under this slot, with as many after it as can begin together with it.
    fn begin(&mut self, engine: &Engine, kind: SlotKind, mut slot: Slot) -> Option<Begun> {
        // The broker delivers these again.
        while self.waiting.pop_front_if(|(_, delivery)| delivery.acker.is_channel_closed()).is_some() {}
        let (together, first) = self.waiting.pop_front()?;
        let Some(together) = together else { return Some(Begun::One(Box::new(first), Some(slot))) };
        let size = batch::size(engine, &first, &mut slot, kind);
        let mut deliveries = vec![first];
        while deliveries.len() < size {
            let Some((_, next)) = self.waiting.pop_front_if(|(kind, _)| kind.as_ref() == Some(&together)) else {
                break;
            };
            if !next.acker.is_channel_closed() {
                deliveries.push(next);
            }
        }
        Some(Begun::Together(Batch { kind: together, deliveries, slot }))
    }
}
