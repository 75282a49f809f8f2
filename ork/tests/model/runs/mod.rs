//! Workflow runs, explored: workers that die at any point and come back as zombies, messages that are delivered twice
//! and in any order, a client that retries and cancels the run and its steps. The production operations decide, over
//! the jobs of one tree; the rest is environment.

mod explore;
mod mutants;
mod tables;
mod world;

use ork_core::workflow_run::{RunStep, WorkflowRun};

use self::explore::explore;
use super::proof;

/// Faults, of each of which a useful proof must find a consequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// The messages of the steps that start after a step are sent by the worker that ended it, after its transaction.
    MessagesOutside,
    /// A retry does not restart the steps that ran without the result of the step that it retries.
    NothingAnew,
    /// A step that is running when a step before it is retried counts all the same.
    NeverStale,
    /// The end of a job counts, even if its step has been restarted.
    OldOnesCount,
}

/// A workflow, and how much goes wrong in its run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Config {
    /// For each step, the steps that it needs, and whether it runs even if they fail.
    pub(super) tasks: &'static [(&'static [usize], bool)],
    pub(super) workers: usize,
    pub(super) left: Left,
    pub(super) mutant: Option<Mutant>,
}

/// How often each fault may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) crashes: u8,
    /// A message is redelivered while its worker continues.
    pub(super) duplicates: u8,
    pub(super) failures: u8,
    /// A client retries the run, or the job of a step.
    pub(super) retries: u8,
    pub(super) cancels: u8,
}

pub(super) const CALM: Left = Left { crashes: 0, duplicates: 0, failures: 0, retries: 0, cancels: 0 };

/// One step, two that need it, and one that needs both.
const DIAMOND: &[(&[usize], bool)] = &[(&[], false), (&[0], false), (&[0], false), (&[1, 2], false)];

/// One step, one that runs however the first ends, and one that needs the second.
const ANYWAY: &[(&[usize], bool)] = &[(&[], false), (&[0], true), (&[1], false)];

/// Two steps, and one that runs however they end.
const TIDY: &[(&[usize], bool)] = &[(&[], false), (&[], false), (&[0, 1], true)];

impl Config {
    pub(super) fn workflow_run(&self) -> WorkflowRun {
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
        panic!("{name}: violated: {property}:\n  {path}");
    }
    println!("{name}: {} states", found.states);
    proof::note("states", found.states);
}

#[test]
fn workers_die_between_any_two_steps() {
    holds("a run and crashes", DIAMOND, Left { crashes: 2, ..CALM });
}

#[test]
fn messages_are_redelivered_and_zombies_continue() {
    holds("a run and duplicates", DIAMOND, Left { duplicates: 2, crashes: 1, ..CALM });
}

#[test]
fn steps_fail_and_others_run_anyway() {
    holds("a run and failures", TIDY, Left { failures: 2, crashes: 1, duplicates: 1, ..CALM });
}

#[test]
fn client_retries_the_run_and_its_steps() {
    holds("a run that is retried", ANYWAY, Left { failures: 2, retries: 2, crashes: 1, ..CALM });
    holds("a run of two that is retried", TIDY, Left { failures: 2, retries: 2, ..CALM });
    holds("a diamond that is retried", DIAMOND, Left { failures: 2, retries: 2, ..CALM });
}

#[test]
fn client_cancels_the_run_and_retries_it() {
    holds("a run that is cancelled", ANYWAY, Left { cancels: 1, retries: 1, failures: 1, ..CALM });
    holds("a diamond that is cancelled", DIAMOND, Left { cancels: 1, retries: 1, crashes: 1, ..CALM });
}
