//! The hooks of a job that a store keeps: what they are, and what became of them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Allowed, Hooks, OnComplete, PartHook};
use crate::job::ReplyTo;

/// The hooks of a job, and which of them it owes no more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredHooks {
    /// What they are.
    pub hooks: Hooks,
    /// A bit for each hook that was owed once: no end of the job owes it again.
    pub sent_mask: u32,
    /// Why one was not sent, nor those after it.
    pub failure: Option<String>,
    /// Where else the outcome goes, as it was asked for again.
    pub replies: Vec<ReplyTo>,
}

/// How a store writes them.
#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<(u64, u64, String)>,
    on_complete: Box<RawValue>,
    #[serde(default)]
    sent_mask: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// The queues, and what their owners want to see again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replies: Vec<(String, String)>,
}

impl StoredHooks {
    /// Hooks of which none was owed yet; `None` if there are none.
    pub fn new(hooks: &Hooks) -> Option<Box<Self>> {
        (!hooks.is_empty()).then(|| Box::new(Self { hooks: hooks.clone(), ..Self::default() }))
    }

    /// The job has ended. Answers which hooks it owes now, a bit for each; all of them if it is one of a set of parts,
    /// for only the end of the set says which.
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

    /// The hooks that are owed together, with their numbers.
    pub fn due(&self, mask: u32) -> impl Iterator<Item = (usize, &OnComplete)> {
        let all = self.hooks.on_complete.iter().enumerate().zip(0..u32::BITS);
        all.filter(move |(_, at)| mask & (1 << at) != 0).map(|(hook, _)| hook)
    }

    /// Their JSON.
    pub fn to_row(&self) -> String {
        let Self { hooks, sent_mask, failure, replies } = self;
        let replies = replies.iter().map(|reply| (reply.queue.clone(), reply.correlation.clone())).collect();
        let part = hooks.part.as_ref().map(|part| (part.part_id, part.total_parts, part.part_queue.clone()));
        let on_complete = RawValue::from_string(OnComplete::write_all(&hooks.on_complete)).unwrap_or_default();
        serde_json::to_string(&Row { part, on_complete, sent_mask: *sent_mask, failure: failure.clone(), replies })
            .unwrap_or_default()
    }

    /// The hooks of this JSON.
    ///
    /// # Errors
    /// When it is not what [`StoredHooks::to_row`] writes, in words.
    pub fn from_row(row: &str) -> Result<Box<Self>, String> {
        let Row { part, on_complete, sent_mask, failure, replies } =
            serde_json::from_str(row).map_err(|error| error.to_string())?;
        let everything = Allowed { part_queues: Vec::new(), routes: vec![String::new()] };
        let on_complete =
            OnComplete::read_all(on_complete.get().as_bytes(), &everything).map_err(|error| error.to_string())?;
        let part = part.map(|(part_id, total_parts, part_queue)| PartHook { part_id, total_parts, part_queue });
        let reply = |(queue, correlation)| ReplyTo { queue, correlation };
        let replies = replies.into_iter().map(reply).collect();
        Ok(Box::new(Self { hooks: Hooks { part, on_complete }, sent_mask, failure, replies }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::When;
    use super::*;

    #[test]
    fn every_hook_is_owed_once_and_rows_come_back() {
        let hook = |when| OnComplete { when, ..OnComplete::new("a", Some("{\"x\": 1.0}".to_owned())) };
        let on_complete = vec![hook(When::Always), hook(When::Success), hook(When::Failure)];
        let mut stored = StoredHooks::new(&Hooks { part: None, on_complete }).unwrap();
        assert_eq!(stored.take_due(false), 0b101);
        assert_eq!(stored.due(0b101).map(|(at, _)| at).collect::<Vec<_>>(), [0, 2]);
        // Taken up again, it ends well.
        assert_eq!((stored.take_due(true), stored.take_due(true)), (0b010, 0));
        stored.failure = Some("no".to_owned());
        stored.replies.push(ReplyTo { queue: "q".to_owned(), correlation: "c".to_owned() });
        stored.hooks.part = Some(PartHook { part_id: 1, total_parts: 2, part_queue: "part.a".to_owned() });
        assert_eq!(stored.take_due(true), u32::MAX);
        assert_eq!(StoredHooks::from_row(&stored.to_row()).unwrap(), stored);
        StoredHooks::from_row("{}").unwrap_err();
    }
}
