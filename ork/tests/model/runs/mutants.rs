//! Each mutant of workflow runs is caught, in a world in which the unchanged code holds.

use ork::JobState;
use ork_core::role::JobRole;
use ork_core::workflow_run::{StepState, WorkflowRun};

use super::super::store::id;
use super::super::{proof, search};
use super::explore::explore;
use super::tables::Tables;
use super::{ANYWAY, CALM, Config, DIAMOND, Left, Mutant};

impl Config {
    /// Lets the mutant change what a transaction writes.
    pub(super) fn falsify(&self, before: &Tables, after: &mut Tables) {
        let Some(mutant) = self.mutant else { return };
        let Some(old) = before.workflow_run() else { return };
        let ended: Vec<_> = after
            .jobs
            .iter()
            .filter(|(job, now)| now.state.is_final() && before.jobs.get(job).is_some_and(|old| !old.state.is_final()))
            .filter_map(|(_, now)| Some((now.step()?.0, now.state)))
            .collect();
        let Some(run) = after.jobs.get_mut(&id()).and_then(|run| run.role.as_deref_mut()).and_then(run_of) else {
            return;
        };
        for (at, (step, old)) in run.steps.iter_mut().zip(&old.steps).enumerate() {
            match mutant {
                Mutant::NothingAnew if step.restarts > old.restarts => *step = old.clone(),
                Mutant::NeverStale => step.stale = false,
                Mutant::OldOnesCount if step.restarts > 0 && ended.contains(&(at, JobState::Succeeded)) => {
                    step.state = StepState::Succeeded;
                }
                Mutant::NothingAnew | Mutant::OldOnesCount | Mutant::MessagesOutside => {}
            }
        }
    }
}

fn run_of(role: &mut JobRole) -> Option<&mut WorkflowRun> {
    match role {
        JobRole::Workflow(run) => Some(run),
        _ => None,
    }
}

fn caught(mutant: Mutant, tasks: &'static [(&'static [usize], bool)], left: Left) {
    let config = Config { tasks, workers: 2, left, mutant: None };
    search::caught(mutant, &explore(config, 0), &explore(Config { mutant: Some(mutant), ..config }, 0));
    proof::note("mutants", 1);
}

#[test]
fn messages_sent_outside_the_transaction_are_caught() {
    caught(Mutant::MessagesOutside, DIAMOND, Left { crashes: 1, ..CALM });
}

#[test]
fn retry_that_keeps_what_ran_without_its_step_is_caught() {
    caught(Mutant::NothingAnew, ANYWAY, Left { failures: 1, retries: 1, ..CALM });
}

#[test]
fn step_with_outdated_input_that_counts_is_caught() {
    caught(Mutant::NeverStale, ANYWAY, Left { failures: 1, retries: 1, ..CALM });
}

#[test]
fn job_of_a_restarted_step_that_counts_is_caught() {
    caught(Mutant::OldOnesCount, ANYWAY, Left { failures: 2, retries: 2, ..CALM });
}
