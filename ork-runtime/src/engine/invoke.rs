//! Running the user's function: timeout, cancel, panic. Called by `engine::process`; answers how it ended.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::progress::Of;
use super::running_calls::Guest;
use super::slots::Place;
use super::{Engine, large_outputs, services};
use crate::context::{About, Context, Made, Split};
use crate::message::Message;
use crate::mutant::{self, Mutant};
use crate::task::CallError;
use crate::task::arg::Call;
use crate::task::def::{Run, TaskDef};
use crate::task::parts::RawParts;
use crate::task::wait;

/// What a call holds while it runs.
pub(super) struct Hold<'a> {
    /// Its place among what runs here, so that a cancel reaches it.
    pub(super) running: &'a Guest,
    /// The place in which it runs.
    pub(super) place: Place,
}

/// How a call ended.
#[derive(Debug)]
pub(super) enum CallOutcome<T = Bytes> {
    /// It returned this.
    Returned(T),
    /// It failed.
    Failed(CallError),
    /// It was stopped: the worker has to stop, or its job has ended and nobody wants its result.
    Interrupted,
}

impl<T> CallOutcome<T> {
    /// What it returned.
    pub(super) const fn returned(&self) -> Option<&T> {
        match self {
            Self::Returned(output) => Some(output),
            Self::Failed(_) | Self::Interrupted => None,
        }
    }
}

/// Calls the function of a task on a message. Answers how that ended, and the parts that it has made of its job: if it
/// returned, they are sealed.
pub(super) async fn invoke(
    engine: &Arc<Engine>,
    def: &TaskDef,
    message: &Message,
    about: About,
    parts: Option<RawParts>,
    Hold { running, place }: Hold<'_>,
) -> (CallOutcome, Option<Made>) {
    if let Err(error) = def.check_rules(&message.body) {
        return (CallOutcome::Failed(CallError::Input(error)), None);
    }
    let cancelled = running.token();
    // It may have waited: nothing begins that is not wanted any more, or after the worker was told to stop.
    let drained = engine.drain.is_cancelled() && !mutant::is_on(Mutant::BeginsAfterDrain);
    if cancelled.is_cancelled() || drained {
        return (CallOutcome::Interrupted, None);
    }
    let begun = engine.clock.now();
    let token = token(def, cancelled);
    let part = about.index;
    let call = call(engine, def, message, about, parts, &token);
    let context = call.context.clone();
    let called = match def.run {
        Run::Async(run) => {
            let joins = call.parts.is_some();
            let run = async move { run(call).await };
            let output = AssertUnwindSafe(async { if joins { wait::join(run).await } else { run.await } });
            guard(engine, def, &token, async { flatten(output.catch_unwind().await) }).await
        }
        Run::Blocking(run) => {
            let (unwanted, drain) = (cancelled.clone(), engine.drain.clone());
            // It may have waited for its thread, too.
            let is_wanted =
                move || !unwanted.is_cancelled() && !drain.is_cancelled() || mutant::is_on(Mutant::BeginsAfterWait);
            let output = engine.runtime.call_blocking(move || is_wanted().then(|| run(call)).transpose());
            match guard(engine, def, &token, async { flatten(output.await) }).await {
                CallOutcome::Returned(Some(output)) => CallOutcome::Returned(output),
                CallOutcome::Returned(None) | CallOutcome::Interrupted => CallOutcome::Interrupted,
                CallOutcome::Failed(error) => CallOutcome::Failed(error),
            }
        }
        Run::AsyncSplit(_) | Run::BlockingSplit(_) => {
            CallOutcome::Failed(CallError::Panicked("a split was called as a task".into()))
        }
    };
    let split = context.end_split();
    let took = engine.clock.now() - begun;
    engine.calls.add(&message.task, took);
    engine.paces.called(def.name, took);
    last_word(engine, (message.job, part));
    // Of a part that has ended nobody asks how far it is. Short ones may report faster than that is written.
    if part.is_some() {
        engine.reports.forget((message.job, part));
    }
    let called = match called {
        // Under its slot: while outputs cannot be put aside, not ever more of them pile up.
        CallOutcome::Returned(output) if engine.large.is_large(output.len()) => {
            Box::pin(large_outputs::put_aside(engine, message, output, cancelled)).await
        }
        called => called,
    };
    drop(place);
    match (called, split) {
        (called, Split::Made(made)) => (called, Some(made)),
        // Whoever has split it anew settles it.
        (_, Split::Overtaken) => (CallOutcome::Interrupted, None),
        (CallOutcome::Returned(_), Split::Begun) => {
            let words = "it returned before its split had come to its end";
            (CallOutcome::Failed(CallError::Task(crate::Error::new(words))), None)
        }
        (called, Split::Not | Split::Begun | Split::Over) => (called, None),
    }
}

/// Tells how far a job, or a part, said it was, before anything can tell its end.
pub(super) fn last_word(engine: &Engine, of: Of) {
    if let Some(report) = engine.reports.last(of) {
        engine.tell_progress(&report.about, &report.progress);
    }
}

/// The token of one attempt. Only a timeout ends an attempt and not the other parts of its job, so only then it needs
/// one of its own.
pub(super) fn token(def: &TaskDef, job: &CancellationToken) -> CancellationToken {
    match def.options.timeout {
        Some(_) => job.child_token(),
        None => job.clone(),
    }
}

/// What a function is given.
pub(super) fn call(
    engine: &Arc<Engine>,
    def: &TaskDef,
    message: &Message,
    mut about: About,
    parts: Option<RawParts>,
    token: &CancellationToken,
) -> Call {
    about.deadline = def.options.timeout.map(|timeout| engine.clock.now() + timeout);
    let context = Context::new(about, token.clone(), services::of(engine));
    Call { body: message.body.clone(), context, states: engine.states.clone(), parts }
}

/// Lets a call run until it returns, its time is up, its job is cancelled, or the worker has to stop.
pub(super) async fn guard<T>(
    engine: &Engine,
    def: &TaskDef,
    token: &CancellationToken,
    output: impl Future<Output = Result<T, CallError>>,
) -> CallOutcome<T> {
    let timeout = async {
        match def.options.timeout {
            Some(timeout) if !mutant::is_on(Mutant::NeverTimesOut) => {
                engine.clock.pause(timeout).await;
                timeout
            }
            _ => std::future::pending::<Duration>().await,
        }
    };
    let unwanted = async {
        token.cancelled().await;
        // It may want to tidy up; then it is dropped. A blocking function goes on alone, unheard.
        engine.clock.pause(engine.settings.grace).await;
    };
    tokio::select! {
        biased;
        output = output => output.map_or_else(CallOutcome::Failed, CallOutcome::Returned),
        timeout = timeout => {
            token.cancel();
            CallOutcome::Failed(CallError::TimedOut(timeout))
        }
        () = unwanted => CallOutcome::Interrupted,
        () = engine.force.cancelled() => {
            token.cancel();
            CallOutcome::Interrupted
        }
    }
}

/// The outcome of a call that may have panicked.
pub(super) fn flatten<T>(output: Result<Result<T, CallError>, Box<dyn Any + Send>>) -> Result<T, CallError> {
    output.unwrap_or_else(|panic| Err(CallError::Panicked(words(&*panic))))
}

/// The message of a panic.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it said nothing".into())
}
