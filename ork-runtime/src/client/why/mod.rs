//! Explains what a job waits for, in one sentence with numbers and times. Pure: it only reads the facts it is given.

#![warn(clippy::wildcard_enum_match_arm)]

mod format;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use self::format::{ago, attempt, counted, list, span};
use crate::clock::Timestamp;
use crate::failure::FailureKind;
use crate::id::JobId;
use crate::job::{JobKind, Phase, State};
use crate::store::{JobDiagnostics, JobView, LiveProcess};
use crate::tree::Tree;
use crate::tx::job_of_end;
use crate::workflow_run::{StepState, WorkflowRun};

/// The condition that a job waits for, as one word for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WaitsFor {
    /// Nothing: the job has ended, or it is a paused schedule.
    Nothing,
    /// The job's message has not been sent to the broker yet.
    Broker,
    /// A worker has to take the job.
    Worker,
    /// All permits of a concurrency limit are taken.
    Permit,
    /// The next attempt, or the next time of a schedule, is not due yet.
    Time,
    /// The job's function or its join is running.
    Run,
    /// The job's split is running.
    Split,
    /// Parts of the job have not ended.
    Parts,
    /// Jobs below the job, or steps of a workflow run, have not ended.
    Children,
    /// A job that this one follows has not ended.
    Job,
}

/// An explanation of what a job waits for. Returned by [`Client::why`](crate::client::Client::why).
///
/// For a job that has ended it describes the end, and what a retry would do. `Display` also writes [`Why::below`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Why {
    /// The id of the job.
    pub id: JobId,
    /// The name of its task.
    pub task: String,
    /// The state of the job.
    pub state: State,
    /// The condition that the job waits for.
    pub waits_for: WaitsFor,
    /// The explanation for people, in one line. The subject is left out, so that it can follow `job 42 is ready:`.
    pub sentence: String,
    /// The jobs that the job follows and that have not ended. Filled only if it waits for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub follows: Vec<JobId>,
    /// The name of the step that the job runs, if it belongs to a workflow run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// For a workflow run, what its started steps wait for; at most 20 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub below: Vec<Self>,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)?;
        for why in &self.below {
            write!(f, "\n  `{}` is {}: {why}", why.step.as_ref().unwrap_or(&why.task), why.state)?;
        }
        Ok(())
    }
}

/// Everything that the explanation is derived from.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) now: Timestamp,
    pub(super) view: JobView,
    pub(super) diagnostics: JobDiagnostics,
    /// The process of the client. It is alive, but it is not counted as a worker for the job.
    pub(super) own_boot: [u8; 16],
    /// The time for which a heartbeat is valid.
    pub(super) ttl: Duration,
    /// The broker's name for the queue of the task; `None` if there is no broker, so that the outbox is the queue.
    pub(super) queue: Option<String>,
    /// The number of messages in that queue; `None` if there is no broker, or if it does not report the number.
    pub(super) in_queue: Option<u64>,
    /// The options of the function that runs next; `None` if this program does not know the task.
    pub(super) options: Option<Limits>,
}

/// The limits that a task declares.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    /// The number of attempts, including the first one.
    pub(super) attempts: u32,
    /// The time limit of one attempt.
    pub(super) timeout: Option<Duration>,
}

/// Explains what a job waits for. Every state has an explanation.
pub(super) fn why(facts: &Facts) -> Why {
    let job = &facts.view.job;
    let (waits_for, sentence) = match job.state {
        State::Ready => ready(facts),
        State::Running => running(facts),
        State::Retrying => {
            match job.schedule_state().and_then(|schedule| schedule.next).filter(|next| *next > facts.now) {
                Some(next) => (WaitsFor::Time, format!("starts its next run in {}, at {next}", span(next - facts.now))),
                None => retrying(facts),
            }
        }
        State::Waiting if job.own_work_ended() => children(facts),
        State::Waiting => match (job.workflow_run(), job.schedule_state()) {
            (Some(run), _) => (WaitsFor::Children, steps(job.id, run)),
            (None, Some(_)) => (WaitsFor::Nothing, "paused; starts no runs until it is resumed".to_owned()),
            (None, None) => waiting(facts),
        },
        State::Succeeded => (WaitsFor::Nothing, success(facts)),
        State::Failed => (WaitsFor::Nothing, failed(facts)),
        State::Cancelled => (WaitsFor::Nothing, cancelled(facts)),
    };
    let step = job.step().map(|(_, name)| name.to_owned());
    let follows = if waits_for == WaitsFor::Job { follows(facts) } else { Vec::new() };
    Why { id: job.id, task: job.task.clone(), state: job.state, waits_for, sentence, follows, step, below: Vec::new() }
}

fn steps(id: JobId, run: &WorkflowRun) -> String {
    let in_state = |state| run.steps.iter().filter(move |step| step.state == state);
    let ended = run.steps.iter().filter(|step| step.state.is_final()).count();
    let started = in_state(StepState::Started).map(|step| format!("`{}` (job {})", step.name, step.job(id)));
    let ahead = in_state(StepState::Waiting).map(|step| format!("`{}`", step.name));
    let (started, ahead): (Vec<_>, Vec<_>) = (started.collect(), ahead.collect());
    let mut sentence = format!("waiting for its steps: {ended} of {} ended", run.steps.len());
    for (what, steps) in [("started", started), ("not started", ahead)] {
        if !steps.is_empty() {
            sentence = format!("{sentence}; {what}: {}", list(&steps));
        }
    }
    sentence
}

fn ready(facts: &Facts) -> (WaitsFor, String) {
    let job = &facts.view.job;
    let (waits_for, message) = message(facts, "its message");
    let what = match job.phase {
        Phase::Join => {
            let counts = facts.view.counts;
            let (ended, well, not) = (counted(counts.settled(), "part"), counts.succeeded, counts.unsuccessful());
            format!("all {ended} ended ({well} succeeded, {not} not), and its join runs next")
        }
        Phase::Start if job.started.is_some() => {
            let attempt = attempt(job.phase_attempt(), facts.options.map(|task| task.attempts));
            format!("{attempt} was requeued and runs next")
        }
        Phase::Start => format!("submitted {}, not started", ago(facts.now, job.created)),
    };
    (waits_for, format!("{what}: {message}"))
}

fn retrying(facts: &Facts) -> (WaitsFor, String) {
    let job = &facts.view.job;
    let counted = job.phase_attempt();
    let next = attempt(counted, facts.options.map(|task| task.attempts));
    let why = match &job.failure {
        Some(failure) => format!("attempt {} failed: {}", counted.saturating_sub(1), first_line(failure)),
        None => "the previous attempt failed".to_owned(),
    };
    // Only a parked job is retried with this kind of failure.
    let parked = job.failure.as_ref().filter(|failure| failure.kind == FailureKind::Input);
    match job.due {
        Some(due) if let Some(parked) = parked.filter(|_| due > facts.now) => {
            let (what, pause) = (&parked.message, span(due - facts.now));
            (WaitsFor::Time, format!("its input is {what}; it is checked again in {pause}, at {due}"))
        }
        Some(due) if due > facts.now => {
            (WaitsFor::Time, format!("{next} is due in {}, at {due}, because {why}", span(due - facts.now)))
        }
        due => {
            let since = due.map(|due| format!(" {}", ago(facts.now, due))).unwrap_or_default();
            let (waits_for, message) = message(facts, "its message");
            (waits_for, format!("{next} was due{since}, because {why}: {message}"))
        }
    }
}

fn running(facts: &Facts) -> (WaitsFor, String) {
    let JobView { job, head, counts, progress, .. } = &facts.view;
    let worker = job.worker.as_deref().unwrap_or("a worker");
    let next = attempt(job.phase_attempt(), facts.options.map(|task| task.attempts));
    let splits = job.phase == Phase::Start && job.kind != JobKind::Single && head.epoch > 0;
    let (waits_for, what) = match (job.phase, splits) {
        (Phase::Start, true) => (WaitsFor::Split, "splitting"),
        (Phase::Join, _) => (WaitsFor::Run, "running its join"),
        (Phase::Start, false) => (WaitsFor::Run, "running"),
    };
    let mut clauses = vec![format!("{what} on {worker}, {next}")];
    // The store records only when the first attempt began, so the end of the timeout is known only for that one.
    let first = job.attempt == 1 && job.losses == 0;
    if let Some(started) = job.started {
        clauses.push(format!("first started at {started} ({})", ago(facts.now, started)));
    }
    if splits {
        let (yielded, settled) = (counted(head.appended, "part"), counts.settled());
        clauses.push(format!("{yielded} so far, {settled} ended, {} running", counts.running));
    }
    if let Some(timeout) = facts.options.and_then(|task| task.timeout) {
        clauses.push(match job.started.filter(|_| first) {
            Some(started) if started + timeout > facts.now => {
                format!("times out in {}, at {}", span(started + timeout - facts.now), started + timeout)
            }
            Some(started) => format!("its timeout expired {}", ago(facts.now, started + timeout)),
            None => format!("timeout of each attempt: {}", span(timeout)),
        });
    }
    if let Some(progress) = progress {
        let info = if progress.info.is_empty() { String::new() } else { format!(" ({})", progress.info) };
        clauses.push(format!("last reported progress: {:.0} %{info}", progress.percent));
    }
    if let Some(failure) = &job.failure {
        clauses.push(format!("the previous attempt failed: {}", first_line(failure)));
    }
    let process = facts.diagnostics.processes.iter().find(|process| Some(&process.worker) == job.worker.as_ref());
    clauses.push(match process {
        Some(process) => last_heartbeat(facts, process),
        None => format!("{worker} is gone (no heartbeat): {}", takeover(facts)),
    });
    (waits_for, clauses.join("; "))
}

fn takeover(facts: &Facts) -> &'static str {
    match facts.queue {
        Some(_) => "the broker will redeliver the job",
        None => "the next free worker will take it over",
    }
}

fn waiting(facts: &Facts) -> (WaitsFor, String) {
    let JobView { counts, head, .. } = &facts.view;
    let total = head.sealed.unwrap_or(head.appended);
    let open = total.saturating_sub(counts.settled());
    let mut clauses = vec![format!(
        "{} of {} succeeded, {} failed, {} running, {} pending",
        counts.succeeded,
        counted(total, "part"),
        counts.failed,
        counts.running,
        open.saturating_sub(counts.running)
    )];
    if counts.skipped + counts.cancelled > 0 {
        clauses.push(format!("{} skipped, {} cancelled", counts.skipped, counts.cancelled));
    }
    if !facts.diagnostics.open.is_empty() {
        let more =
            if u64::try_from(facts.diagnostics.open.len()).is_ok_and(|named| named < open) { ", .." } else { "" };
        clauses.push(format!("not ended: {}{more}", list(&facts.diagnostics.open)));
    }
    let outbox = &facts.diagnostics.outbox;
    if let (later @ 1.., Some(due)) = (outbox.later, outbox.next_due) {
        let when = if due > facts.now {
            format!("in {}, at {due}", span(due - facts.now))
        } else {
            format!("due for {}", span(facts.now - due))
        };
        clauses.push(format!("{} to be retried, the first {when}", counted(later, "part")));
    }
    if outbox.waiting > 0 {
        clauses.push(format!("{} waiting for {}", counted(outbox.waiting, "part"), permit(facts)));
    }
    let now = outbox.free + outbox.held.iter().map(|(_, n)| n).sum::<u64>();
    if now > 0 || (counts.running == 0 && outbox.later == 0 && outbox.waiting == 0) {
        let what = if now > 0 { format!("their work ({})", counted(now, "message")) } else { "their work".to_owned() };
        clauses.push(message(facts, &what).1);
    } else if counts.running > 0 {
        clauses.push(live_processes(facts));
    }
    (WaitsFor::Parts, format!("waiting for its parts: {}", clauses.join("; ")))
}

fn children(facts: &Facts) -> (WaitsFor, String) {
    let job = &facts.view.job;
    let Tree {
        descendants: submitted,
        descendants_ended: ended,
        open_children: open,
        failed_children: failed,
        cancelled_children: cancelled,
        verdict,
        cancel_mode,
        ..
    } = job.tree;
    let own = match verdict {
        Some(State::Succeeded) => "its own work succeeded",
        Some(State::Cancelled) => "it was cancelled",
        _ => "its own work failed",
    };
    let mut clauses = vec![format!("{own}; waiting for {} that it submitted", counted(open, "job"))];
    clauses.push(format!("{ended} of {} in its subtree ended", counted(submitted, "job")));
    if failed + cancelled > 0 {
        clauses.push(format!("of its children, {failed} failed and {cancelled} were cancelled"));
    }
    if cancel_mode.is_some() {
        clauses.push("it is being cancelled, so no more jobs in its subtree start".to_owned());
    }
    clauses.push(format!("`jobs tree {}` shows them", job.id));
    (WaitsFor::Children, clauses.join("; "))
}

fn success(facts: &Facts) -> String {
    format!("succeeded{}; waiting for nothing{}", ended(facts), unsent(facts))
}

fn failed(facts: &Facts) -> String {
    let job = &facts.view.job;
    let next = attempt(job.phase_attempt(), facts.options.map(|task| task.attempts));
    let why = job.failure.as_ref().map(first_line).unwrap_or_default();
    format!("failed{} in {next}: {why}; {}{}", ended(facts), retry_effect(facts), unsent(facts))
}

fn cancelled(facts: &Facts) -> String {
    format!("cancelled{}; {}{}", ended(facts), retry_effect(facts), unsent(facts))
}

fn retry_effect(facts: &Facts) -> String {
    let JobView { job, counts, head, .. } = &facts.view;
    let what = match head.sealed {
        Some(total) if !head.cut && total > counts.succeeded => {
            format!("retries the {} that did not succeed", counted(total - counts.succeeded, "part"))
        }
        Some(_) if !head.cut && head.has_join => "runs its join again".to_owned(),
        Some(_) | None => "runs it again".to_owned(),
    };
    format!("`jobs retry {}` {what}", job.id)
}

/// Describes when the job ended, and how long it took.
fn ended(facts: &Facts) -> String {
    let job = &facts.view.job;
    let Some(ended) = job.ended else { return String::new() };
    let after = job.started.map(|started| format!(", {} after it started", span(ended - started)));
    format!(" {} at {ended}{}", ago(facts.now, ended), after.unwrap_or_default())
}

/// Lists replies and hooks that are not sent yet, and hooks that could not be sent.
fn unsent(facts: &Facts) -> String {
    let outbox = &facts.diagnostics.outbox;
    let mut sentence = String::new();
    if outbox.replies > 0 {
        sentence.push_str("; its reply has not been sent yet");
    }
    if outbox.hooks > 0 {
        sentence.push_str("; its hooks have not been sent yet");
    }
    if let Some(why) = facts.view.job.hooks.as_ref().and_then(|hooks| hooks.failure.as_ref()) {
        sentence.push_str("; its hooks could not be sent: ");
        sentence.push_str(why);
    }
    sentence
}

/// Describes where a message is on its way to a worker. `what` names the message in the sentence.
fn message(facts: &Facts, what: &str) -> (WaitsFor, String) {
    let outbox = &facts.diagnostics.outbox;
    let lost = match outbox.losses {
        0 => String::new(),
        n => format!("; lost with its worker {}", if n == 1 { "once".into() } else { format!("{n} times") }),
    };
    if outbox.free == 0 && outbox.held.is_empty() && outbox.limit.is_some() {
        let waits_for = if followed(facts) { WaitsFor::Job } else { WaitsFor::Permit };
        return (waits_for, format!("{what} is waiting for {}{lost}", permit(facts)));
    }
    let (waits_for, sentence) = match (&facts.queue, outbox.held.first(), outbox.free) {
        (Some(_), Some((holder, _)), _) => {
            let sentence =
                format!("{} is sending {what} to the broker, which has not confirmed it", holding(facts, *holder));
            (WaitsFor::Broker, format!("{sentence}; if this persists, the broker is unavailable: run `doctor`"))
        }
        (None, Some((holder, _)), _) => {
            // A row that covers several parts is held as a whole, even if some of these parts have started.
            let not_started = if facts.view.counts.running > 0 { "" } else { " and has not started it" };
            (WaitsFor::Worker, format!("{} has taken {what}{not_started}", holding(facts, *holder)))
        }
        (Some(_), None, 1..) => {
            let sentence = format!("{what} has not been sent to the broker yet; any connected process will send it");
            (WaitsFor::Broker, format!("{sentence}; {}", live_processes(facts)))
        }
        (None, None, 1..) => (WaitsFor::Worker, format!("no worker has taken {what}; {}", live_processes(facts))),
        (Some(queue), None, 0) => (
            WaitsFor::Worker,
            format!("{what} was sent to queue `{queue}` of the broker, {}; {}", in_queue(facts), live_processes(facts)),
        ),
        (None, None, 0) => {
            let sentence = "this store has no message for it: its messages are in a broker, and this process has none";
            (WaitsFor::Worker, format!("{sentence}; set ORK_BROKER as on its workers"))
        }
    };
    (waits_for, sentence + &lost)
}

fn in_queue(facts: &Facts) -> String {
    match facts.in_queue {
        None => "and no worker has started it".to_owned(),
        Some(0) => {
            let lost = "it was lost and will be resent within minutes, or now by `jobs retry`";
            format!("which is empty: a worker has it, or {lost}")
        }
        Some(1) => "which holds 1 message".to_owned(),
        Some(n) => format!("which holds {n} messages"),
    }
}

/// Names the concurrency limit and how many of its permits are taken; for a follower, the jobs it waits for.
fn permit(facts: &Facts) -> String {
    let Some((limit, taken)) = &facts.diagnostics.outbox.limit else { return "a permit".to_owned() };
    if followed(facts) {
        let follows = follows(facts);
        let named: Vec<_> = follows.iter().take(5).collect();
        let more = if follows.len() > named.len() { ", .." } else { "" };
        return match named.as_slice() {
            // The followed jobs have ended since the outbox was read.
            [] => "the jobs that it follows to end".to_owned(),
            [one] => format!("job {one}, which it follows, to end"),
            several => format!("{} jobs that it follows to end: {}{more}", follows.len(), list(several)),
        };
    }
    format!("a permit of the concurrency limit `{}`: {taken} of {} in use", limit.name, limit.permits)
}

fn follows(facts: &Facts) -> Vec<JobId> {
    let JobDiagnostics { outbox, follows, .. } = &facts.diagnostics;
    let one = outbox.limit.as_ref().and_then(|(limit, _)| job_of_end(&limit.name));
    follows.iter().copied().chain(one).collect()
}

/// Whether the job waits for other jobs to end. It then waits under a limit with 0 permits, which no job can take.
fn followed(facts: &Facts) -> bool {
    facts.diagnostics.outbox.limit.as_ref().is_some_and(|(limit, _)| limit.permits == 0)
}

/// Names the process that holds a message, with the time of its last heartbeat.
fn holding(facts: &Facts, holder: [u8; 16]) -> String {
    match facts.diagnostics.processes.iter().find(|process| process.boot == holder) {
        Some(process) => format!("{} ({})", process.worker, last_heartbeat(facts, process)),
        None => "a process without a heartbeat".to_owned(),
    }
}

/// Describes when the last heartbeat of a process was, and when the process is or was presumed dead.
fn last_heartbeat(facts: &Facts, process: &LiveProcess) -> String {
    let ttl = i64::try_from(facts.ttl.as_millis()).unwrap_or(i64::MAX);
    let last = Timestamp::from_millis(process.expires_at.as_millis().saturating_sub(ttl));
    let last = ago(facts.now, last);
    if process.expires_at < facts.now {
        format!("last heartbeat {last}, presumed dead since {}", process.expires_at)
    } else {
        format!("last heartbeat {last}, presumed dead at {} without another one", process.expires_at)
    }
}

/// Names the live processes besides this one; if there are some that work on the job, only those.
fn live_processes(facts: &Facts) -> String {
    let (job, processes) = (&facts.view.job, &facts.diagnostics.processes);
    let works_on_job = |process: &&LiveProcess| {
        process.expires_at >= facts.now && process.works_on(job.id, job.state, job.worker.as_deref())
    };
    let working: Vec<_> = processes.iter().filter(works_on_job).map(|process| &process.worker).collect();
    if !working.is_empty() {
        return format!("in progress on {}", list(&working));
    }
    let others = processes.iter().filter(|process| process.boot != facts.own_boot);
    let alive: Vec<_> =
        others.filter(|process| process.expires_at >= facts.now).map(|process| &process.worker).collect();
    match alive.len() {
        0 => "no other process is up: start a worker".to_owned(),
        1 => format!("1 other process is up, {}: it may be busy, stopping, or lack this task", list(&alive)),
        n => {
            let most = alive.get(..n.min(5)).unwrap_or_default();
            let more = if n > most.len() { ", .." } else { "" };
            format!("{n} other processes are up, {}{more}: they may be busy, stopping, or lack this task", list(most))
        }
    }
}

fn first_line(failure: &crate::failure::Failure) -> String {
    failure.to_string().lines().next().unwrap_or_default().to_owned()
}
