//! The exact explanation for each state.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::context::Progress;
use crate::failure::{Failure, FailureKind};
use crate::job::Job;
use crate::ledger::{Counts, Head};
use crate::role::JobRole;
use crate::store::PendingOutbox;
use crate::tx::{Limit, end_of, ends_before};
use crate::workflow_run::RunStep;
use ork_core::role::ScheduleState;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const ME: [u8; 16] = [0; 16];
const ONE: [u8; 16] = [1; 16];
const TWO: [u8; 16] = [2; 16];

fn before(secs: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 - i64::try_from(secs * 1_000).unwrap())
}

fn after(secs: u64) -> Timestamp {
    NOW + Duration::from_secs(secs)
}

/// A job in this state, submitted 100 s ago, without a broker, of a task with two retries and a timeout of a minute.
fn facts(state: State) -> Facts {
    let mut job = Job::new(JobId::from_bytes([7; 16]), "count", before(100));
    job.state = state;
    let view = JobView {
        job,
        counts: Counts::default(),
        head: Head::default(),
        progress: None,
        input: Bytes::new(),
        output: None,
    };
    Facts {
        now: NOW,
        view,
        diagnostics: JobDiagnostics {
            processes: vec![LiveProcess::new("me", ME, after(15))],
            ..JobDiagnostics::default()
        },
        own_boot: ME,
        ttl: Duration::from_secs(15),
        queue: None,
        in_queue: None,
        options: Some(Limits { attempts: 3, timeout: Some(Duration::from_mins(1)) }),
    }
}

fn over_a_broker(state: State) -> Facts {
    Facts { queue: Some("ork.task.count".into()), ..facts(state) }
}

/// Adds another process, with its last heartbeat `secs_ago` seconds ago.
fn with(mut facts: Facts, name: &str, boot: [u8; 16], secs_ago: u64) -> Facts {
    let until = before(secs_ago) + facts.ttl;
    facts.diagnostics.processes.push(LiveProcess::new(name, boot, until));
    facts
}

fn with_outbox(mut facts: Facts, outbox: PendingOutbox) -> Facts {
    facts.diagnostics.outbox = outbox;
    facts
}

#[track_caller]
fn assert_why(facts: &Facts, waits_for: WaitsFor, sentence: &str) {
    let why = why(facts);
    assert_eq!((why.waits_for, why.sentence.as_str()), (waits_for, sentence));
}

fn no_luck() -> Failure {
    Failure::new(FailureKind::Task, "no luck\nat all")
}

#[test]
fn ready_without_other_processes() {
    let facts = with_outbox(facts(State::Ready), PendingOutbox { free: 1, ..PendingOutbox::default() });
    let text = "submitted 1m 40s ago, not started: no worker has taken its message; no other process is up: start a \
                worker";
    assert_why(&facts, WaitsFor::Worker, text);
}

#[test]
fn ready_with_other_live_processes() {
    let facts = with(facts(State::Ready), "one", ONE, 2);
    let facts = with(with(facts, "two", TWO, 3), "dead", [3; 16], 40);
    let facts = with_outbox(facts, PendingOutbox { free: 1, losses: 2, ..PendingOutbox::default() });
    let text = "submitted 1m 40s ago, not started: no worker has taken its message; 2 other processes are up, \
                one/01010101, two/02020202: they may be busy, stopping, or lack this task; lost with its worker 2 \
                times";
    assert_why(&facts, WaitsFor::Worker, text);
}

#[test]
fn ready_and_held_by_a_worker() {
    let base = facts(State::Ready);
    let outbox = PendingOutbox { held: vec![(ONE, 1)], ..PendingOutbox::default() };
    let facts = with_outbox(with(base.clone(), "one", ONE, 4), outbox.clone());
    let text = "submitted 1m 40s ago, not started: one/01010101 (last heartbeat 4s ago, presumed dead at \
                1970-01-01T00:16:51.000Z without another one) has taken its message and has not started it";
    assert_why(&facts, WaitsFor::Worker, text);

    let late = with_outbox(with(base, "one", ONE, 20), outbox);
    let text = "submitted 1m 40s ago, not started: one/01010101 (last heartbeat 20s ago, presumed dead since \
                1970-01-01T00:16:35.000Z) has taken its message and has not started it";
    assert_why(&late, WaitsFor::Worker, text);
}

#[test]
fn ready_and_not_sent_to_the_broker() {
    let facts = with(over_a_broker(State::Ready), "one", ONE, 4);
    let held = with_outbox(facts.clone(), PendingOutbox { held: vec![(ONE, 1)], ..PendingOutbox::default() });
    let text = "submitted 1m 40s ago, not started: one/01010101 (last heartbeat 4s ago, presumed dead at \
                1970-01-01T00:16:51.000Z without another one) is sending its message to the broker, which has not \
                confirmed it; if this persists, the broker is unavailable: run `doctor`";
    assert_why(&held, WaitsFor::Broker, text);

    let free = with_outbox(facts, PendingOutbox { free: 1, ..PendingOutbox::default() });
    let text = "submitted 1m 40s ago, not started: its message has not been sent to the broker yet; any connected \
                process will send it; 1 other process is up, one/01010101: it may be busy, stopping, or lack this \
                task";
    assert_why(&free, WaitsFor::Broker, text);
}

#[test]
fn ready_and_in_the_broker_queue() {
    let text = "submitted 1m 40s ago, not started: its message was sent to queue `ork.task.count` of the broker, and \
                no worker has started it; no other process is up: start a worker";
    assert_why(&over_a_broker(State::Ready), WaitsFor::Worker, text);
    let text = |in_queue| {
        let facts = Facts { in_queue: Some(in_queue), ..over_a_broker(State::Ready) };
        why(&facts).sentence
    };
    let empty = "which is empty: a worker has it, or it was lost and will be resent within minutes, \
                 or now by `jobs retry`; ";
    assert!(text(0).contains(empty));
    assert!(text(1).contains("which holds 1 message; ") && text(7).contains("which holds 7 messages; "));
}

#[test]
fn process_that_holds_a_message_of_a_job_is_named() {
    let mut facts = with(over_a_broker(State::Ready), "one", ONE, 4);
    for process in &mut facts.diagnostics.processes {
        process.running = if process.boot == ONE { vec![facts.view.job.id] } else { Vec::new() };
    }
    assert!(
        why(&facts).sentence.ends_with("no worker has started it; in progress on one/01010101"),
        "{}",
        why(&facts).sentence
    );
}

#[test]
fn ready_but_this_process_has_no_broker() {
    let text = "submitted 1m 40s ago, not started: this store has no message for it: its messages are in a broker, \
                and this process has none; set ORK_BROKER as on its workers";
    assert_why(&facts(State::Ready), WaitsFor::Worker, text);
}

#[test]
fn requeued_attempt_is_ready() {
    let mut facts = with_outbox(facts(State::Ready), PendingOutbox { free: 1, losses: 1, ..PendingOutbox::default() });
    facts.view.job.started = Some(before(50));
    let text = "attempt 1 of 3 was requeued and runs next: no worker has taken its message; no other process is up: \
                start a worker; lost with its worker once";
    assert_why(&facts, WaitsFor::Worker, text);
}

#[test]
fn ready_for_its_join() {
    let mut facts = with_outbox(facts(State::Ready), PendingOutbox { free: 1, ..PendingOutbox::default() });
    facts.view.job.phase = Phase::Join;
    facts.view.counts = Counts { succeeded: 8, failed: 2, ..Counts::default() };
    let text = "all 10 parts ended (8 succeeded, 2 not), and its join runs next: no worker has taken its message; no other \
                process is up: start a worker";
    assert_why(&facts, WaitsFor::Worker, text);
}

/// Marks the job as running for 20 s.
fn runs(mut facts: Facts) -> Facts {
    facts.view.job.started = Some(before(20));
    facts.view.job.worker = Some("one/01010101".into());
    facts
}

#[test]
fn running() {
    let mut facts = with(runs(facts(State::Running)), "one", ONE, 1);
    facts.view.progress = Some(Progress { percent: 40.0, info: "reading".into() });
    let text = "running on one/01010101, attempt 1 of 3; first started at 1970-01-01T00:16:20.000Z (20s ago); times \
                out in 40s, at 1970-01-01T00:17:20.000Z; last reported progress: 40 % (reading); last heartbeat 1s \
                ago, presumed dead at 1970-01-01T00:16:54.000Z without another one";
    assert_why(&facts, WaitsFor::Run, text);
}

#[test]
fn running_with_a_worker_that_is_gone() {
    let mut facts = runs(facts(State::Running));
    facts.view.job.attempt = 2;
    facts.view.job.failure = Some(no_luck());
    facts.options = None;
    let text = "running on one/01010101, attempt 2; first started at 1970-01-01T00:16:20.000Z (20s ago); the previous \
                attempt failed: no luck; one/01010101 is gone (no heartbeat): the next free worker will take it over";
    assert_why(&facts, WaitsFor::Run, text);
    facts.queue = Some("q".into());
    assert!(why(&facts).sentence.ends_with("(no heartbeat): the broker will redeliver the job"));
}

#[test]
fn splitting() {
    let mut facts = with(runs(facts(State::Running)), "one", ONE, 1);
    facts.view.head = Head { epoch: 1, appended: 3_000, ..Head::default() };
    facts.view.counts = Counts { succeeded: 5, running: 2, ..Counts::default() };
    facts.options = Some(Limits { attempts: 1, timeout: None });
    let text = "splitting on one/01010101, attempt 1 of 1; first started at 1970-01-01T00:16:20.000Z (20s ago); 3000 \
                parts so far, 5 ended, 2 running; last heartbeat 1s ago, presumed dead at 1970-01-01T00:16:54.000Z \
                without another one";
    assert_why(&facts, WaitsFor::Split, text);
}

#[test]
fn joining() {
    let mut facts = with(runs(facts(State::Running)), "one", ONE, 1);
    facts.view.head = Head { epoch: 1, appended: 3, sealed: Some(3), ..Head::default() };
    facts.view.job.phase = Phase::Join;
    assert!(why(&facts).sentence.starts_with("running its join on one/01010101, attempt 1 of 3; first started at "));
}

#[test]
fn retrying() {
    let mut facts = with_outbox(
        facts(State::Retrying),
        PendingOutbox { later: 1, next_due: Some(after(12)), ..PendingOutbox::default() },
    );
    facts.view.job.attempt = 2;
    facts.view.job.failure = Some(no_luck());
    facts.view.job.due = Some(after(12));
    let text = "attempt 2 of 3 is due in 12s, at 1970-01-01T00:16:52.000Z, because attempt 1 failed: no luck";
    assert_why(&facts, WaitsFor::Time, text);

    facts.view.job.due = Some(before(5));
    facts.diagnostics.outbox = PendingOutbox { free: 1, ..PendingOutbox::default() };
    let text = "attempt 2 of 3 was due 5s ago, because attempt 1 failed: no luck: no worker has taken its message; no \
                other process is up: start a worker";
    assert_why(&facts, WaitsFor::Worker, text);
}

#[test]
fn waiting_for_parts() {
    let mut facts = with(over_a_broker(State::Waiting), "one", ONE, 1);
    facts.view.head = Head { epoch: 1, appended: 100, sealed: Some(100), ..Head::default() };
    facts.view.counts = Counts { succeeded: 90, failed: 3, running: 4, ..Counts::default() };
    facts.diagnostics.open = vec![3, 17, 18, 40, 41];
    facts.diagnostics.outbox = PendingOutbox { later: 2, next_due: Some(after(6)), ..PendingOutbox::default() };
    let text = "waiting for its parts: 90 of 100 parts succeeded, 3 failed, 4 running, 3 pending; not ended: 3, 17, \
                18, 40, 41, ..; 2 parts to be retried, the first in 6s, at 1970-01-01T00:16:46.000Z; 1 other process \
                is up, one/01010101: it may be busy, stopping, or lack this task";
    assert_why(&facts, WaitsFor::Parts, text);

    facts.view.counts = Counts { succeeded: 97, skipped: 1, ..Counts::default() };
    facts.diagnostics.open = vec![3, 17];
    facts.diagnostics.outbox = PendingOutbox { free: 2, ..PendingOutbox::default() };
    let text = "waiting for its parts: 97 of 100 parts succeeded, 0 failed, 0 running, 2 pending; 1 skipped, 0 \
                cancelled; not ended: 3, 17; their work (2 messages) has not been sent to the broker yet; any \
                connected process will send it; 1 other process is up, one/01010101: it may be busy, stopping, or \
                lack this task";
    assert_why(&facts, WaitsFor::Parts, text);
}

#[test]
fn success() {
    let mut facts = runs(facts(State::Succeeded));
    facts.view.job.ended = Some(before(15));
    facts.diagnostics.outbox.replies = 1;
    let text = "succeeded 15s ago at 1970-01-01T00:16:25.000Z, 5s after it started; waiting for nothing; its reply \
                has not been sent yet";
    assert_why(&facts, WaitsFor::Nothing, text);
}

#[test]
fn failed() {
    let mut facts = runs(facts(State::Failed));
    facts.view.job.ended = Some(before(15));
    facts.view.job.attempt = 3;
    facts.view.job.failure = Some(no_luck());
    let id = facts.view.job.id;
    let text = format!(
        "failed 15s ago at 1970-01-01T00:16:25.000Z, 5s after it started in attempt 3 of 3: no luck; `jobs retry {id}` \
         runs it again"
    );
    assert_why(&facts, WaitsFor::Nothing, &text);

    facts.view.head = Head { epoch: 1, appended: 9, sealed: Some(9), has_join: true, ..Head::default() };
    facts.view.counts = Counts { succeeded: 7, failed: 2, ..Counts::default() };
    assert!(why(&facts).sentence.ends_with("retries the 2 parts that did not succeed"));
    facts.view.counts = Counts { succeeded: 9, ..Counts::default() };
    assert!(why(&facts).sentence.ends_with("runs its join again"));
}

#[test]
fn cancelled() {
    let mut facts = facts(State::Cancelled);
    facts.view.job.ended = Some(before(15));
    let id = facts.view.job.id;
    let text = format!("cancelled 15s ago at 1970-01-01T00:16:25.000Z; `jobs retry {id}` runs it again");
    assert_why(&facts, WaitsFor::Nothing, &text);
}

/// Every combination of facts, even an impossible one, gives a sentence of one line.
#[test]
fn every_state_has_a_sentence_of_one_line() {
    for state in State::ALL {
        for phase in [Phase::Start, Phase::Join] {
            for outbox in [
                PendingOutbox::default(),
                PendingOutbox { free: 3, ..PendingOutbox::default() },
                PendingOutbox { held: vec![(TWO, 9)], ..PendingOutbox::default() },
                PendingOutbox { later: 1, next_due: Some(before(1)), ..PendingOutbox::default() },
            ] {
                for queue in [None, Some("q".to_owned())] {
                    let mut facts = with_outbox(facts(state), outbox.clone());
                    (facts.queue, facts.view.job.phase) = (queue, phase);
                    let why = why(&facts);
                    assert!(!why.sentence.contains('\n') && why.sentence.len() > 20, "{why:?}");
                    assert_eq!(why.waits_for == WaitsFor::Nothing, state.is_final(), "{why:?}");
                }
            }
        }
    }
}

#[test]
fn workflow_run_waits_for_its_steps() {
    let mut facts = facts(State::Waiting);
    let step = |name: &str, stage| RunStep { state: stage, ..RunStep::new(name.into(), "t".into()) };
    let steps = vec![step("a", StepState::Succeeded), step("b", StepState::Started), step("c", StepState::Waiting)];
    let job = steps[1].job(facts.view.job.id);
    facts.view.job.role = Some(Box::new(JobRole::Workflow(WorkflowRun { workflow: "w".into(), steps })));
    let text = format!("waiting for its steps: 1 of 3 ended; started: `b` (job {job}); not started: `c`");
    assert_why(&facts, WaitsFor::Children, &text);
}

#[test]
fn schedule_waits_for_its_next_time_or_is_paused() {
    let mut facts = facts(State::Retrying);
    let schedule = ScheduleState { next: Some(after(6)), ..ScheduleState::default() };
    facts.view.job.role = Some(Box::new(JobRole::Schedule(schedule)));
    assert_why(&facts, WaitsFor::Time, "starts its next run in 6s, at 1970-01-01T00:16:46.000Z");
    facts.view.job.state = State::Waiting;
    facts.view.job.role = Some(Box::new(JobRole::Schedule(ScheduleState { next: None, paused: true, last: None })));
    assert_why(&facts, WaitsFor::Nothing, "paused; starts no runs until it is resumed");
}

#[test]
fn follower_names_the_followed_jobs_that_have_not_ended() {
    let id = |n: u8| JobId::from_bytes([n; 16]);
    let following = |name: Arc<str>, follows: Vec<JobId>| {
        let limit = Some((Limit { name, permits: 0 }, 0));
        let mut facts =
            with_outbox(facts(State::Ready), PendingOutbox { waiting: 1, limit, ..PendingOutbox::default() });
        facts.diagnostics.follows = follows;
        facts
    };
    let begin = "submitted 1m 40s ago, not started: its message is waiting for";
    let one = following(end_of(id(1)), Vec::new());
    assert_why(&one, WaitsFor::Job, &format!("{begin} job {}, which it follows, to end", id(1)));
    assert_eq!(why(&one).follows, [id(1)]);
    let several = |n: u8| following(ends_before(id(7)), (1..=n).map(id).collect());
    assert_why(&several(1), WaitsFor::Job, &format!("{begin} job {}, which it follows, to end", id(1)));
    let text = format!("{begin} 2 jobs that it follows to end: {}, {}", id(1), id(2));
    assert_why(&several(2), WaitsFor::Job, &text);
    let many = why(&several(9));
    assert_eq!(many.follows.len(), 9);
    assert!(many.sentence.contains("waiting for 9 jobs"), "{many}");
    assert!(
        many.sentence.ends_with(&format!("{}, ..", id(5))) && !many.sentence.contains(&id(6).to_string()),
        "{many}"
    );
    // The last followed job has ended between two reads of the store.
    assert_why(&several(0), WaitsFor::Job, &format!("{begin} the jobs that it follows to end"));
}
