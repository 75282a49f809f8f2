//! Sends hooks: messages whose ids are derived from the job that has ended, so that a hook that is sent twice can be
//! recognized.

use super::super::Engine;
use super::super::retry::{self, Interrupted};
use crate::hook::OnComplete;
use crate::id::JobId;
use crate::message::{HookMessage, Outgoing};

/// The job, or the set of parts, that has ended, as its hooks describe it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HookSubject<'a> {
    /// The id from which the ids of the messages are derived.
    pub(crate) job: JobId,
    /// The id of the job, or the name of the part queue of the set, for hooks that do not set their own inputs.
    pub(crate) name: &'a str,
    /// The name of the task.
    pub(crate) task: &'a str,
    /// The input of the job; `null` for a set.
    pub(crate) inputs: &'a [u8],
    /// Whether it has succeeded.
    pub(crate) success: bool,
}

impl HookSubject<'_> {
    /// Returns the message of the hook at this position in the list.
    pub(crate) fn message(&self, at: usize, hook: &OnComplete) -> HookMessage {
        HookMessage {
            id: self.job.following(at),
            route: hook.route.clone(),
            task: hook.task().to_owned(),
            body: hook.body(self.name, self.task, self.inputs).into(),
            failed: None,
        }
    }
}

/// The reason why hooks were not sent.
#[derive(Debug)]
pub(super) enum SendFailure {
    /// The worker has to stop; the hooks are sent again later, under the same ids.
    Interrupted,
    /// No queue takes this hook, so those after it were not sent.
    NoRoute(Box<HookMessage>, String),
}

/// Sends the hooks of a storeless job. A hook that no queue takes goes to the dead letters, and the hooks after it
/// are not sent.
pub(in super::super) async fn fire(
    engine: &Engine,
    hooks: &[OnComplete],
    ended: HookSubject<'_>,
) -> Result<(), Interrupted> {
    let due = hooks.iter().enumerate().filter(|(_, hook)| hook.when.holds(ended.success));
    let messages = due.map(|(at, hook)| (at, ended.message(at, hook)));
    match send(engine, messages).await {
        Ok(()) => Ok(()),
        Err(SendFailure::NoRoute(message, why)) => {
            tracing::error!(
                job = ended.name,
                route = message.route,
                why,
                "cannot send a hook; the hooks after it were not sent either"
            );
            let dead = HookMessage { failed: Some(why), ..*message };
            retry::publish(engine, &Outgoing::Hook(dead)).await.map(drop)
        }
        Err(SendFailure::Interrupted) => Err(Interrupted),
    }
}

/// Sends messages of hooks in order, up to the first one that cannot be sent.
pub(super) async fn send(
    engine: &Engine,
    messages: impl Iterator<Item = (usize, HookMessage)> + Send,
) -> Result<(), SendFailure> {
    for (at, message) in messages {
        match retry::publish(engine, &Outgoing::Hook(message.clone())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(SendFailure::no_route(at, message, &error)),
            Err(Interrupted) => return Err(SendFailure::Interrupted),
        }
    }
    Ok(())
}

impl SendFailure {
    /// Returns the failure to send this hook.
    pub(super) fn no_route(at: usize, message: HookMessage, why: &dyn std::fmt::Display) -> Self {
        Self::NoRoute(Box::new(message), format!("hook {at} of `on_complete` was not sent: {why}"))
    }
}
