//! The messages that other programs publish and consume.

use std::sync::Arc;

use super::{Letter, NotTaken, Queue, Through};
use crate::executor::Owner;
use crate::world::World;

impl World {
    /// Another program publishes up to `most` waiting messages of each queue a second time.
    pub(crate) fn double(self: &Arc<Self>, most: usize) {
        let letters: Vec<_> = self.server().inner(|inner| {
            let ready = inner.queues.values().flat_map(|queue| queue.ready.iter().take(most));
            // Messages of other programs may be requeued elsewhere for minutes, one after the other.
            ready.map(|stored| &stored.letter).filter(|letter| !letter.foreign).cloned().collect()
        });
        for letter in letters {
            let _refused = self.takes_letter(Owner::WORLD, letter, Through::Work);
        }
    }

    /// Another program publishes this into the queue of its task, or into another one.
    pub(crate) fn publishes(self: &Arc<Self>, letter: Letter, is_unknown: bool) -> Result<(), NotTaken> {
        self.takes_letter(if is_unknown { Owner::WORLD } else { Owner::OTHER_PROGRAM }, letter, Through::Work)
    }

    /// Another program publishes this letter.
    pub(crate) fn publish_as_other_program(self: &Arc<Self>, letter: Letter) {
        let _refused = self.takes_letter(Owner::WORLD, letter, Through::Work);
    }

    /// Another program takes up to `most` waiting messages of each queue, and requeues them after a while, or keeps
    /// them.
    pub(crate) fn take_as_other_program(self: &Arc<Self>, most: usize, lasts: u64, keeps: bool) {
        let queues: Vec<_> = self.server().inner(|inner| inner.queues.keys().cloned().collect());
        for name in queues {
            let (of, taken): (_, Vec<_>) = self.server().inner(|inner| {
                let take =
                    |Queue { ready, number }: &mut Queue| (*number, ready.drain(..ready.len().min(most)).collect());
                inner.queues.get_mut(&name).map_or_else(Default::default, take)
            });
            if taken.is_empty() || keeps {
                continue;
            }
            let world = Arc::clone(self);
            self.executor.spawn(Owner::WORLD, async move {
                world.executor.sleep(lasts * 1_000).await;
                world.requeue(&name, of, taken);
            });
        }
    }
}
