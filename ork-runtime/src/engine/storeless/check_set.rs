//! The work that follows a set of parts, and the repeated check of a set that was not complete.

use std::sync::Arc;

use super::super::Engine;
use super::super::barrier::{Bodies, Fire, pass_until};
use super::super::hooks::send::{HookSubject, fire};
use super::super::part_sets::{Follows, Passed, SetCheck};
use super::join;
use crate::barrier::{Arrival, Barrier, End};
use crate::hook::OnComplete;
use crate::id::JobId;
use crate::message::Message;
use crate::mutant::{self, Mutant};
use crate::registry::Task;

/// Checks a set, and does what follows it if it is complete.
pub(crate) async fn check(engine: Arc<Engine>, check: Arc<SetCheck>) {
    let passed = check.run(&engine).await;
    if let Passed::Done(End::Fired) = passed {
        tracing::info!(queue = check.record.queue, "a part set is complete after another program released its records");
    }
    if matches!(passed, Passed::Done(End::Fired | End::NoQueue | End::Gone)) {
        engine.sets.forget(&check.record.queue);
    }
}

impl SetCheck {
    async fn run(&self, engine: &Arc<Engine>) -> Passed {
        let arrival = Arrival { mark: engine.entropy.uuid().as_u128(), ..self.arrival };
        let (task, mut stop);
        let (bodies, fire) = match &self.follows {
            Follows::Join(message) => {
                let Ok(known) = engine.registry.get(&message.task) else { return Passed::NoParts };
                task = Arc::clone(known);
                // A worker that has to stop calls no join, so it must not become the reader of the set either: a part
                // that ends meanwhile in this process would leave the set to this reader.
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
        pass_until(engine, stop, Barrier::look(arrival), bodies, self.record.clone(), fire).await
    }
}

/// Returns what follows the parts of a job: its join, its outcome and its hooks.
pub(in super::super) fn follow_job<'a>(engine: &'a Arc<Engine>, task: &'a Task, message: &'a Message) -> Fire<'a> {
    Box::new(move |set, records| Box::pin(join::join(engine, task, message, set, records)))
}

/// Returns what follows an external set: its hooks. No single part represents the set, so the hooks get the name of its
/// queue and no input.
pub(in super::super) fn follow_set<'a>(
    engine: &'a Engine,
    task: &'a str,
    queue: &'a str,
    hooks: &'a [OnComplete],
) -> Fire<'a> {
    Box::new(move |set, _records| {
        let job = JobId::from_foreign(queue);
        let ended = HookSubject { job, name: queue, task, inputs: b"null", success: set.n_failed() == 0 };
        Box::pin(async move { fire(engine, hooks, ended).await.is_ok() })
    })
}
