//! Duplicate messages, and deliveries that end without being settled: the oracle must know of both.

use std::sync::Arc;

use ork_core::message::WorkKind;

use super::{Letter, NotTaken, Through};
use crate::executor::Owner;
use crate::world::World;

/// Returns the key of the work that a letter requests, if nothing prevents two letters from running it at once.
pub(super) fn work_key(letter: &Letter, has_store: bool, is_double: bool) -> Option<String> {
    letter.message.as_ref().ok().and_then(|message| match message.kind {
        WorkKind::Part { index, .. } => Some(format!("{}.{index} attempt {}", message.job, message.attempt)),
        _ if !has_store => Some(message.job.to_string()),
        _ if is_double => Some(format!("{} attempt {}", message.job, message.attempt)),
        _ => None,
    })
}

impl World {
    /// Tells the oracle that a message of a stored job is a duplicate: a relay publishes a row again if it cannot know
    /// whether the broker has its message.
    pub(super) fn note_duplicate(&self, letter: &Letter) {
        let key_of = |letter: &Letter| work_key(letter, true, true);
        let Some(key) = key_of(letter).filter(|_| self.has_store()) else { return };
        let is_duplicate = self.server().inner(|inner| {
            let ready = inner.queues.values().flat_map(|queue| &queue.ready);
            let unacked = inner.sessions.values().flat_map(|session| session.unacked.values());
            ready.chain(unacked).any(|stored| key_of(&stored.letter).as_ref() == Some(&key))
        });
        if is_duplicate {
            self.oracle(|oracle| oracle.copied(key));
        }
    }

    /// Handles the arrival of a copy that replaces a delivery, which is acknowledged afterwards.
    pub(super) fn takes_copy(
        self: &Arc<Self>,
        from: Owner,
        letter: Letter,
        (session, tag): (u64, u64),
    ) -> Result<(), NotTaken> {
        let key = work_key(&letter, self.has_store(), true);
        self.takes_letter(from, letter, Through::Default)?;
        let was_copied = self.server().inner(|inner| {
            let held = inner.sessions.get_mut(&session).and_then(|session| session.unacked.get_mut(&tag));
            held.map(|stored| std::mem::replace(&mut stored.is_copied, true))
        });
        // The process publishes a copy again that was not confirmed in time, so that there are two of them.
        if let Some(key) = key.filter(|_| was_copied != Some(false)) {
            self.oracle(|oracle| oracle.copied(key));
        }
        Ok(())
    }

    /// Counts a delivery that has ended without being settled.
    pub(super) fn loses_delivery(&self, session: u64, tag: u64) {
        let lost = self.server().inner(|inner| inner.sessions.get(&session)?.unacked.get(&tag).cloned());
        if let Some(message) = lost.as_ref().and_then(|stored| stored.letter.message.as_ref().ok()) {
            self.oracle(|oracle| oracle.loses_message(message));
        }
    }
}
