//! Messages that ask for the same work, and deliveries that come to nothing: the oracle must know of both.

use std::sync::Arc;

use ork::message::WorkKind;

use super::{Letter, NotTaken};
use crate::executor::Owner;
use crate::world::World;

/// The work that a letter asks for, if nothing keeps two of them apart.
pub(super) fn asks_for(letter: &Letter, keeps: bool, is_double: bool) -> Option<String> {
    letter.message.as_ref().ok().and_then(|message| match message.kind {
        WorkKind::Part { index, .. } => Some(format!("{}.{index} attempt {}", message.job, message.attempt)),
        _ if !keeps => Some(message.job.to_string()),
        _ if is_double => Some(format!("{} attempt {}", message.job, message.attempt)),
        _ => None,
    })
}

impl World {
    /// Tells the oracle that a message of a stored job is a duplicate: a relay publishes a row again if it cannot know
    /// whether the broker has its message.
    pub(super) fn note_duplicate(&self, letter: &Letter) {
        let key = |letter: &Letter| asks_for(letter, true, true);
        let Some(asked) = key(letter).filter(|_| self.keeps()) else { return };
        let is_duplicate = self.server().inner(|inner| {
            let ready = inner.queues.values().flat_map(|queue| &queue.ready);
            let unacked = inner.sessions.values().flat_map(|session| session.unacked.values());
            ready.chain(unacked).any(|stored| key(&stored.letter).as_ref() == Some(&asked))
        });
        if is_duplicate {
            self.oracle(|oracle| oracle.copied(asked));
        }
    }

    /// A copy arrives that takes the place of a delivery, which is acknowledged after that.
    pub(super) fn takes_copy(
        self: &Arc<Self>,
        from: Owner,
        letter: Letter,
        (session, tag): (u64, u64),
    ) -> Result<(), NotTaken> {
        let asked = asks_for(&letter, self.keeps(), true);
        self.takes_letter(from, letter, true)?;
        let was_copied = self.server().inner(|inner| {
            let held = inner.sessions.get_mut(&session).and_then(|session| session.unacked.get_mut(&tag));
            held.map(|stored| std::mem::replace(&mut stored.is_copied, true))
        });
        // A copy that was not confirmed in time is published once more, and there are two.
        if let Some(asked) = asked.filter(|_| was_copied != Some(false)) {
            self.oracle(|oracle| oracle.copied(asked));
        }
        Ok(())
    }

    /// A delivery comes to nothing, and that counts.
    pub(super) fn loses_delivery(&self, session: u64, tag: u64) {
        let lost = self.server().inner(|inner| inner.sessions.get(&session)?.unacked.get(&tag).cloned());
        if let Some(message) = lost.as_ref().and_then(|stored| stored.letter.message.as_ref().ok()) {
            self.oracle(|oracle| oracle.loses_message(message));
        }
    }
}
