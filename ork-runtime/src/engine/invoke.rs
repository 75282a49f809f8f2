//! Calls the user's function. [`guard`] ends the call at its timeout, when its job is cancelled, or when the worker has
//! to stop; a panic becomes an error. The result is a [`CallOutcome`].

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::outcome::CallOutcome;
use super::progress::ReportKey;
use super::running_calls::RunningCall;
use super::slots::CallSlot;
use super::{Engine, large_outputs, retry};
use crate::context::{CallInfo, Context, MadeParts, SplitState};
use crate::message::Message;
use crate::mutant::{self, Mutant};
use crate::output::OutputRef;
use crate::task::CallError;
use crate::task::call::Call;
use crate::task::def::{Run, TaskDef};
use crate::task::parts::RawParts;
use crate::task::wait;

/// The resources that a call holds while it runs.
pub(super) struct Hold<'a> {
    /// Its registration among the running calls, so that a cancel reaches it.
    pub(super) running: &'a RunningCall,
    /// Its slot.
    pub(super) place: CallSlot,
}

/// Calls a function for the work of a message. Returns how the call ended, and the parts that it has made of its job,
/// which are to be sealed if it returned.
pub(super) async fn invoke(
    engine: &Arc<Engine>,
    def: &TaskDef,
    message: &Message,
    input: &Bytes,
    info: CallInfo,
    parts: Option<RawParts>,
    Hold { running, place }: Hold<'_>,
) -> (CallOutcome, Option<MadeParts>) {
    if let Err(error) = def.check_rules(input) {
        return (CallOutcome::Failed(CallError::Input(error)), None);
    }
    let cancelled = running.token();
    // The call may have waited. It must not start if it is not wanted any more, or after the worker was asked to drain.
    let drained = engine.drain.is_cancelled() && !mutant::is_on(Mutant::BeginsAfterDrain);
    if cancelled.is_cancelled() || drained {
        return (CallOutcome::Interrupted, None);
    }
    let begun = engine.clock.now();
    let token = token(def, cancelled);
    let part = info.index;
    let call = call(engine, def, input, info, parts, &token);
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
            // The call may also have waited for its thread.
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
    engine.batch_sizer.called(def.name, took);
    emit_last_progress(engine, (message.job, part));
    // The progress of a part that has ended is not needed. Short parts may report faster than reports are written.
    if part.is_some() {
        engine.reports.forget((message.job, part));
    }
    let called = match called {
        // The call keeps its slot until then, so that large outputs do not pile up while they cannot be written.
        CallOutcome::Returned(output) if engine.large.is_large(output.len()) => {
            Box::pin(store_output(engine, message, output, cancelled)).await
        }
        called => called,
    };
    drop(place);
    match (called, split) {
        (called, SplitState::Completed(made)) => (called, Some(made)),
        // Another worker has split the job again, and settles it.
        (_, SplitState::Superseded) => (CallOutcome::Interrupted, None),
        (CallOutcome::Returned(_), SplitState::Started) => {
            let detail = "the task returned before its split had finished";
            (CallOutcome::Failed(CallError::Task(crate::task::Error::new(detail))), None)
        }
        (called, SplitState::Not | SplitState::Started | SplitState::CallEnded) => (called, None),
    }
}

/// Writes a large output to a new object; the settlement then records a reference to it. If the storage does not work,
/// this is tried again, as with a store: the result must not be lost, nor become a failure.
async fn store_output(engine: &Engine, message: &Message, output: Bytes, unwanted: &CancellationToken) -> CallOutcome {
    let Some(place) = engine.large.place() else { return CallOutcome::Returned(output) };
    let bytes = u64::try_from(output.len()).unwrap_or(u64::MAX);
    let object = large_outputs::name(&place, message, engine.entropy.uuid());
    let written = retry::objects(engine, unwanted, |_any| true, || place.objects.put(&object, output.clone())).await;
    match written {
        Some(Ok(())) => CallOutcome::Returned(OutputRef { bytes, object: Some(object) }.to_row()),
        Some(Err(_)) | None => CallOutcome::Interrupted,
    }
}

/// Publishes the last progress report of a job or part before the event of its end.
pub(super) fn emit_last_progress(engine: &Engine, report_key: ReportKey) {
    if let Some(report) = engine.reports.take_unpublished(report_key) {
        engine.emit_progress(&report.info, &report.progress);
    }
}

/// Returns the cancellation token of one attempt. Only a timeout ends one attempt without the other parts of its job,
/// so only then the attempt gets a separate token.
pub(super) fn token(def: &TaskDef, job: &CancellationToken) -> CancellationToken {
    match def.options.timeout {
        Some(_) => job.child_token(),
        None => job.clone(),
    }
}

/// Builds the arguments of a function call.
pub(super) fn call(
    engine: &Arc<Engine>,
    def: &TaskDef,
    input: &Bytes,
    mut info: CallInfo,
    parts: Option<RawParts>,
    token: &CancellationToken,
) -> Call {
    info.deadline = def.options.timeout.map(|timeout| engine.clock.now() + timeout);
    let context = Context::new(info, token.clone(), Arc::<Engine>::clone(engine));
    Call { body: input.clone(), context, states: engine.states.clone(), parts }
}

/// Runs a call until it returns, times out, its job is cancelled, or the worker has to stop.
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
        // The function may need time to clean up; then it is dropped. A blocking function runs on, and its result is
        // ignored.
        engine.clock.pause(engine.settings.cancel_grace).await;
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

/// Turns a panic into an error of the call.
pub(super) fn flatten<T>(output: Result<Result<T, CallError>, Box<dyn Any + Send>>) -> Result<T, CallError> {
    output.unwrap_or_else(|panic| Err(CallError::Panicked(panic_message(&*panic))))
}

/// Returns the message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no panic message".into())
}
