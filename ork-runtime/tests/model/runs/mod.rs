//! Runs of workflows, explored: workers that die at any point and come back as zombies, messages that come twice and in any
//! order, a client that retries and cancels the run and its tasks. What decides are the production operations, over the
//! jobs of one tree; everything else here is environment.

mod explore;
mod mutants;
mod tables;
mod world;

use ork::workflow_run::{RunStep, WorkflowRun};

use self::explore::explore;
use super::proof;

/// One falsehood each, of which a proof that proves anything must find a consequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// What begins after a task is sent by whoever ended that, when it has said so.
    MessagesOutside,
    /// A retry leaves what ran without the task that it takes up.
    NothingAnew,
    /// What is under way when a task before it is taken up counts all the same.
    NeverStale,
    /// The end of a job counts, even if its task has begun anew.
    OldOnesCount,
}

/// A workflow, and how much goes wrong in its run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Config {
    /// For each task those that it needs, and whether it runs even if they fail.
    pub(super) tasks: &'static [(&'static [usize], bool)],
    pub(super) workers: usize,
    pub(super) left: Left,
    pub(super) mutant: Option<Mutant>,
}

/// How often each may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) crashes: u8,
    /// A message is handed out again while its worker goes on.
    pub(super) doubles: u8,
    pub(super) failures: u8,
    /// A client takes up the run, or the job of a task.
    pub(super) retries: u8,
    pub(super) cancels: u8,
}

pub(super) const CALM: Left = Left { crashes: 0, doubles: 0, failures: 0, retries: 0, cancels: 0 };

/// One task, two that need it, and one that needs both.
const DIAMOND: &[(&[usize], bool)] = &[(&[], false), (&[0], false), (&[0], false), (&[1, 2], false)];

/// One task, one that runs whatever became of it, and one that needs that.
const ANYWAY: &[(&[usize], bool)] = &[(&[], false), (&[0], true), (&[1], false)];

/// Two tasks, and one that runs whatever became of them.
const TIDY: &[(&[usize], bool)] = &[(&[], false), (&[], false), (&[0, 1], true)];

impl Config {
    pub(super) fn flow(&self) -> WorkflowRun {
        let step = |(at, (needs, anyway)): (usize, &(&[usize], bool))| RunStep {
            needs: needs.to_vec(),
            run_on_failure: *anyway,
            ..RunStep::new(format!("t{at}"), "task".into())
        };
        WorkflowRun { workflow: "w".into(), steps: self.tasks.iter().enumerate().map(step).collect() }
    }
}

#[track_caller]
fn holds(name: &str, tasks: &'static [(&'static [usize], bool)], left: Left) {
    let found = explore(Config { tasks, workers: 2, left, mutant: None }, 0);
    if let Some((property, path)) = found.broken {
        panic!("{name}: it is not so that {property}:\n  {path}");
    }
    println!("{name}: {} states", found.states);
    proof::note("states", found.states);
}

#[test]
fn workers_die_between_any_two_steps() {
    holds("a run and crashes", DIAMOND, Left { crashes: 2, ..CALM });
}

#[test]
fn messages_come_twice_and_zombies_go_on() {
    holds("a run and doubles", DIAMOND, Left { doubles: 2, crashes: 1, ..CALM });
}

#[test]
fn tasks_fail_and_others_run_anyway() {
    holds("a run and failures", TIDY, Left { failures: 2, crashes: 1, doubles: 1, ..CALM });
}

#[test]
fn a_client_takes_up_the_run_and_its_tasks() {
    holds("a run that is retried", ANYWAY, Left { failures: 2, retries: 2, crashes: 1, ..CALM });
    holds("a run of two that is retried", TIDY, Left { failures: 2, retries: 2, ..CALM });
    holds("a diamond that is retried", DIAMOND, Left { failures: 2, retries: 2, ..CALM });
}

#[test]
fn a_client_cancels_the_run_and_takes_it_up() {
    holds("a run that is cancelled", ANYWAY, Left { cancels: 1, retries: 1, failures: 1, ..CALM });
    holds("a diamond that is cancelled", DIAMOND, Left { cancels: 1, retries: 1, crashes: 1, ..CALM });
}
