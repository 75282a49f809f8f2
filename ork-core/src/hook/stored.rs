//! The hooks of a job in a store, and which of them have been sent.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Allowed, Hooks, OnComplete, PartHook};
use crate::job::reply_to::ReplyTo;

/// The hooks of a job, as a store keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredHooks {
    /// The hooks as they were submitted.
    pub hooks: Hooks,
    /// A bit mask of the hooks that were due once. A later end of the job does not send them again.
    pub sent_mask: u32,
    /// The reason why a hook was not sent. The hooks after it were not sent either. `None` if there was no failure.
    pub failure: Option<String>,
    /// Further addresses to which the outcome is sent, because other messages requested it.
    pub replies: Vec<ReplyTo>,
}

/// The stored form of the hooks.
#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<(u64, u64, String)>,
    on_complete: Box<RawValue>,
    #[serde(default)]
    sent_mask: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// The queue and the correlation id of each reply address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replies: Vec<(String, String)>,
}

impl StoredHooks {
    /// Returns the stored form of hooks that have not been due yet, or `None` if there are none.
    pub fn new(hooks: &Hooks) -> Option<Box<Self>> {
        (!hooks.is_empty()).then(|| Box::new(Self { hooks: hooks.clone(), ..Self::default() }))
    }

    /// Returns a bit mask of the hooks that are due now that the job has ended, and marks them as sent. All bits are
    /// set if the job is one of a set of parts, because only the end of the set decides which hooks run.
    pub fn take_due(&mut self, success: bool) -> u32 {
        if self.hooks.part.is_some() {
            return u32::MAX;
        }
        let due = self.hooks.on_complete.iter().zip(0..u32::BITS);
        let due = due.filter(|(hook, _)| hook.when.holds(success)).fold(0, |due, (_, at)| due | (1 << at));
        let new = due & !self.sent_mask;
        self.sent_mask |= new;
        new
    }

    /// Returns the hooks selected by a bit mask, with their positions.
    pub fn due(&self, mask: u32) -> impl Iterator<Item = (usize, &OnComplete)> {
        let all = self.hooks.on_complete.iter().enumerate().zip(0..u32::BITS);
        all.filter(move |(_, at)| mask & (1 << at) != 0).map(|(hook, _)| hook)
    }
}

impl Serialize for StoredHooks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { hooks, sent_mask, failure, replies } = self;
        let replies = replies.iter().map(|reply| (reply.queue.clone(), reply.correlation.clone())).collect();
        let part = hooks.part.as_ref().map(|part| (part.part_id, part.total_parts, part.part_queue.clone()));
        let on_complete = RawValue::from_string(OnComplete::write_all(&hooks.on_complete)).unwrap_or_default();
        Row { part, on_complete, sent_mask: *sent_mask, failure: failure.clone(), replies }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StoredHooks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Row { part, on_complete, sent_mask, failure, replies } = Row::deserialize(deserializer)?;
        let everything = Allowed { part_queues: Vec::new(), routes: vec![String::new()] };
        let on_complete = OnComplete::read_all(on_complete.get().as_bytes(), &everything).map_err(D::Error::custom)?;
        let part = part.map(|(part_id, total_parts, part_queue)| PartHook { part_id, total_parts, part_queue });
        let reply = |(queue, correlation)| ReplyTo { queue, correlation };
        let replies = replies.into_iter().map(reply).collect();
        Ok(Self { hooks: Hooks { part, on_complete }, sent_mask, failure, replies })
    }
}

#[cfg(test)]
mod tests {
    use super::super::When;
    use super::*;

    #[test]
    fn each_hook_is_due_once_and_rows_round_trip() {
        let hook = |when| OnComplete { when, ..OnComplete::new("a", Some("{\"x\": 1.0}".to_owned())) };
        let on_complete = vec![hook(When::Always), hook(When::Success), hook(When::Failure)];
        let mut stored = StoredHooks::new(&Hooks { part: None, on_complete }).unwrap();
        assert_eq!(stored.take_due(false), 0b101);
        assert_eq!(stored.due(0b101).map(|(at, _)| at).collect::<Vec<_>>(), [0, 2]);
        // The job is resumed and then succeeds.
        assert_eq!((stored.take_due(true), stored.take_due(true)), (0b010, 0));
        stored.failure = Some("no".to_owned());
        stored.replies.push(ReplyTo { queue: "q".to_owned(), correlation: "c".to_owned() });
        stored.hooks.part = Some(PartHook { part_id: 1, total_parts: 2, part_queue: "part.a".to_owned() });
        assert_eq!(stored.take_due(true), u32::MAX);
        let json = serde_json::to_string(&stored).unwrap();
        assert_eq!(serde_json::from_str::<Box<StoredHooks>>(&json).unwrap(), stored);
        serde_json::from_str::<StoredHooks>("{}").unwrap_err();
    }
}
