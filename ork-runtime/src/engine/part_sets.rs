//! Sets of parts that were not complete when this process ended a part of theirs: they are counted again later.
//!
//! The worker that ends the last part of a set sees all of its records, unless a program that knows nothing of ork
//! holds one at that moment: RabbitMQ counts only what nobody holds, and gives no sign when it is back. So as long as
//! a set is open, each process that has ended a part of it looks again after a pause. A part of the set that ends
//! begins the pauses anew, so sets whose parts are short are not looked at at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Engine;
use super::barrier::{Bodies, Fire, Passed, pass_until};
use super::hooks::{Ended, fire};
use super::storeless::join;
use crate::barrier::{Barrier, End, Whose};
use crate::broker::PartRecord;
use crate::clock::Timestamp;
use crate::hook::OnComplete;
use crate::id::JobId;
use crate::message::Message;
use crate::mutant::{self, Mutant};
use crate::registry::Task;

/// How long after a part, or after so many looks, the next look comes.
const fn pause_after(n_looks: u32) -> Duration {
    match n_looks {
        0 => Duration::from_secs(1),
        1 => Duration::from_secs(10),
        _ => Duration::from_mins(1),
    }
}

/// What a process needs to look at a set again.
#[derive(Debug)]
pub(crate) struct Look {
    pub(super) whose: Whose,
    /// What this process has put into the queue last, of a part or of the whole. Published once more, it follows all
    /// that is given back.
    pub(super) record: PartRecord,
    pub(super) follows: Follows,
}

/// What follows a set that is complete.
#[derive(Debug, Clone)]
pub(super) enum Follows {
    /// The end of the job that was split into it, which this message of a part names.
    Join(Box<Message>),
    /// Hooks.
    Hooks { task: String, hooks: Vec<OnComplete> },
}

impl Look {
    async fn run(&self, engine: &Arc<Engine>) -> Passed {
        let whose = Whose { mark: engine.entropy.uuid().as_u128(), ..self.whose };
        let (task, mut stop);
        let (bodies, fire) = match &self.follows {
            Follows::Join(message) => {
                let Ok(known) = engine.registry.get(&message.task) else { return Passed::NoParts };
                task = Arc::clone(known);
                // A worker that has to stop calls no join, so that it must not read either: a part of its own that ends
                // meanwhile would leave the set to this reader.
                stop = task.join.is_some().then_some(&engine.drain);
                (Bodies::Keep, follow_job(engine, &task, message))
            }
            Follows::Hooks { task, hooks } => {
                stop = None;
                (Bodies::Drop, follow_set(engine, task, &self.record.queue, hooks))
            }
        };
        if mutant::is_on(Mutant::LooksWhileDraining) {
            stop = None;
        }
        pass_until(engine, stop, (Barrier::look(whose), bodies), self.record.clone(), fire).await
    }
}

/// What follows the parts of a job: its join, its outcome, its hooks.
pub(super) fn follow_job<'a>(engine: &'a Arc<Engine>, task: &'a Task, message: &'a Message) -> Fire<'a> {
    Box::new(move |set, kept| Box::pin(join::join(engine, task, message, (set, kept))))
}

/// What follows a set of others: hooks. No part speaks for the others, so the set is called by its queue and has no
/// input.
pub(super) fn follow_set<'a>(engine: &'a Engine, task: &'a str, queue: &'a str, hooks: &'a [OnComplete]) -> Fire<'a> {
    Box::new(move |set, _kept| {
        let job = JobId::from_foreign(queue);
        let ended = Ended { job, name: queue, task, inputs: b"null", success: set.n_failed() == 0 };
        Box::pin(async move { fire(engine, hooks, ended).await.is_ok() })
    })
}

/// A set that is open.
#[derive(Debug)]
struct Open {
    look: Arc<Look>,
    n_looks: u32,
    due: Timestamp,
}

/// The open sets of a process, by their queues.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    open: Mutex<Inner>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    sets: BTreeMap<String, Open>,
    /// When the next look comes, as far as its service knows.
    waits_until: Option<Timestamp>,
}

impl Sets {
    /// Notes how a part of this process has passed the barrier of its set.
    pub(super) fn note(&self, queue: &str, passed: &Passed, now: Timestamp, look: impl FnOnce() -> Look) {
        match passed {
            Passed::Done(End::Waits) if mutant::is_on(Mutant::ForgetsOpenSets) => {}
            Passed::Done(End::Waits) => self.made(look(), now),
            Passed::Done(End::Fired | End::NoQueue | End::Gone) => self.forget(queue),
            Passed::Interrupted | Passed::NoParts => {}
        }
    }

    /// Notes that a set is open.
    pub(super) fn made(&self, look: Look, now: Timestamp) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now + pause_after(0);
        open.sets.insert(look.record.queue.clone(), Open { look: Arc::new(look), n_looks: 0, due });
        if open.waits_until.is_none_or(|until| due < until) {
            self.news.notify_one();
        }
    }

    fn forget(&self, queue: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).sets.remove(queue);
    }

    /// When the next look is due, if any is; asked again after [`Sets::news`].
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.waits_until = open.sets.values().map(|set| set.due).min();
        open.waits_until
    }

    /// Waits until a look is due earlier than was said.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// The looks that are due; each comes again later, unless its set is done with by then.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<Arc<Look>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let due = open.sets.values_mut().filter(|set| set.due <= now);
        due.map(|set| {
            set.n_looks = set.n_looks.saturating_add(1);
            set.due = now + pause_after(set.n_looks);
            Arc::clone(&set.look)
        })
        .collect()
    }
}

/// Counts a set again, and does what follows it if it is complete.
pub(crate) async fn look(engine: Arc<Engine>, look: Arc<Look>) {
    let passed = look.run(&engine).await;
    if let Passed::Done(End::Fired) = passed {
        tracing::info!(queue = look.record.queue, "a set is complete whose records were held by another program");
    }
    if matches!(passed, Passed::Done(End::Fired | End::NoQueue | End::Gone)) {
        engine.sets.forget(&look.record.queue);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::barrier::Entry;

    fn look(queue: &str) -> Look {
        let entry = Entry::Part { epoch: 0, id: 0, total: 2, ok: true };
        Look {
            whose: Whose { total: 2, headed: false, mark: 0, suspect: false },
            record: PartRecord { queue: queue.to_owned(), id: String::new(), entry, body: Bytes::new() },
            follows: Follows::Hooks { task: String::new(), hooks: Vec::new() },
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn an_open_set_is_looked_at_after_1_10_and_each_60_seconds_until_it_is_done() {
        let sets = Sets::default();
        assert_eq!(sets.next(), None);
        sets.note("q", &Passed::Done(End::Waits), at(0), || look("q"));
        for seconds in [1, 11, 71, 131, 191] {
            assert_eq!(sets.next(), Some(at(seconds)));
            assert!(sets.due(at(seconds - 1)).is_empty());
            assert_eq!(sets.due(at(seconds)).len(), 1);
        }
        sets.note("q", &Passed::Interrupted, at(191), || look("q"));
        assert_eq!(sets.next(), Some(at(251)));
        sets.note("q", &Passed::Done(End::Gone), at(192), || look("q"));
        assert_eq!(sets.next(), None, "nothing is looked at while no set is open");
    }

    #[test]
    fn a_part_that_ends_puts_off_the_next_look() {
        let sets = Sets::default();
        for part in 0..9 {
            sets.note("q", &Passed::Done(End::Waits), at(part), || look("q"));
            assert!(sets.due(at(part)).is_empty());
            assert_eq!(sets.next(), Some(at(part + 1)));
        }
    }
}
