//! Tests of workflow runs with fixed and random graphs: which steps start, are skipped or run again, and how the run
//! ends.

use proptest::prelude::*;

use super::*;

fn run(steps: &[(&[usize], bool)]) -> WorkflowRun {
    let step = |(at, (needs, run_on_failure)): (usize, &(&[usize], bool))| RunStep {
        needs: needs.to_vec(),
        run_on_failure: *run_on_failure,
        ..RunStep::new(format!("t{at}"), "t".into())
    };
    WorkflowRun { workflow: "w".into(), steps: steps.iter().enumerate().map(step).collect() }
}

fn stages(run: &WorkflowRun) -> Vec<StepState> {
    run.steps.iter().map(|step| step.state).collect()
}

#[test]
fn failed_step_skips_its_dependents_and_other_branches_continue() {
    use StepState::{Failed, Skipped, Started, Succeeded, Waiting};
    // 0 -> 1 -> 2, 0 -> 3, {2, 3} -> 4, and 4 runs on failure.
    let mut run = run(&[(&[], false), (&[0], false), (&[1], false), (&[0], false), (&[2, 3], true)]);
    assert_eq!(run.begin(), [0]);
    run.ended(0, State::Succeeded, None);
    assert_eq!(run.begin(), [1, 3]);
    run.ended(1, State::Failed, Some(&Failure::new(FailureKind::Task, "no luck\nat all")));
    assert_eq!(run.begin(), Vec::<usize>::new());
    assert_eq!(stages(&run), [Succeeded, Failed, Skipped, Started, Waiting]);
    run.ended(3, State::Succeeded, None);
    assert_eq!(run.begin(), [4]);
    assert_eq!(run.verdict(), None);
    run.ended(4, State::Succeeded, None);
    let (state, failure) = run.verdict().unwrap();
    assert_eq!(state, State::Failed);
    assert_eq!(failure.unwrap().message, "1 of 5 tasks failed, and 1 was skipped; `t1`: no luck");
    // After a resume, the skipped step runs, and the step that ran without it runs again.
    run.reopened(1);
    assert_eq!(stages(&run), [Succeeded, Started, Waiting, Succeeded, Waiting]);
    run.ended(1, State::Succeeded, None);
    assert_eq!(run.begin(), [2]);
    run.ended(2, State::Succeeded, None);
    assert_eq!(run.begin(), [4]);
    run.ended(4, State::Succeeded, None);
    assert_eq!(run.verdict(), Some((State::Succeeded, None)));
}

#[test]
fn step_that_ran_on_failure_runs_again_after_a_resume_but_never_concurrently() {
    use StepState::{Failed, Skipped, Started, Succeeded, Waiting};
    // 0 -> 1 -> 2, where 1 runs on failure; 3 is independent.
    let mut run = run(&[(&[], false), (&[0], true), (&[1], false), (&[], false)]);
    assert_eq!(run.begin(), [0, 3]);
    run.ended(0, State::Failed, None);
    assert_eq!(run.begin(), [1]);
    let (id, first) = (JobId::new(), run.steps[1].clone());
    // Step 1 is running with an input that is now outdated.
    run.reopened(0);
    assert_eq!((stages(&run), run.steps[1].stale), (vec![Started, Started, Waiting, Started], true));
    run.ended(0, State::Succeeded, None);
    assert_eq!(run.begin(), Vec::<usize>::new());
    run.ended(1, State::Succeeded, None);
    assert_eq!(stages(&run), [Succeeded, Waiting, Waiting, Started]);
    assert_eq!(run.begin(), [1]);
    assert_ne!(run.steps[1].job(id), first.job(id));
    // A step that has ended starts again as well. Steps that do not depend on it stay unchanged.
    run.ended(1, State::Failed, None);
    run.ended(3, State::Succeeded, None);
    assert_eq!(run.begin(), Vec::<usize>::new());
    assert_eq!(stages(&run), [Succeeded, Failed, Skipped, Succeeded]);
    run.reopened(1);
    assert_eq!((stages(&run), run.steps[1].restarts), (vec![Succeeded, Started, Waiting, Succeeded], 1));
}

/// The steps that a step needs, and whether it runs on failure.
type Needs = (Vec<usize>, bool);

/// A random graph: the needs of each step and whether it runs on failure. Then the order in which the steps end, and
/// whether they succeed.
fn graphs() -> impl Strategy<Value = (Vec<Needs>, Vec<(usize, bool)>)> {
    let steps = (1_usize..12).prop_flat_map(|n| {
        let step = |at: usize| (proptest::collection::vec(0..at.max(1), 0..=at.min(3)), any::<bool>());
        (0..n).map(step).collect::<Vec<_>>()
    });
    (steps, proptest::collection::vec((any::<usize>(), any::<bool>()), 64))
}

proptest! {
    #[test]
    fn each_step_starts_at_most_once_after_its_needs_and_the_run_ends((steps, ends) in graphs()) {
        let mut steps = steps;
        steps[0].0.clear();
        for (needs, _) in &mut steps {
            needs.sort_unstable();
            needs.dedup();
        }
        let shape: Vec<_> = steps.iter().map(|(needs, run_on_failure)| (needs.as_slice(), *run_on_failure)).collect();
        let mut run = run(&shape);
        let (mut running, mut started) = (Vec::new(), std::collections::BTreeSet::new());
        let mut ends = ends.into_iter();
        loop {
            for at in run.begin() {
                prop_assert!(started.insert(at), "{at} twice");
                for needs in &steps[at].0 {
                    let state = run.steps[*needs].state;
                    prop_assert!(state.is_final() && (steps[at].1 || state == StepState::Succeeded));
                }
                running.push(at);
            }
            prop_assert_eq!(run.verdict().is_some(), running.is_empty(), "it ends when nothing runs, and not before");
            if running.is_empty() {
                break;
            }
            let (which, succeeds) = ends.next().unwrap();
            let at = running.swap_remove(which % running.len());
            run.ended(at, if succeeds { State::Succeeded } else { State::Failed }, None);
        }
        for (at, step) in run.steps.iter().enumerate() {
            prop_assert_eq!(step.state == StepState::Skipped, !started.contains(&at));
            let blocked = !step.run_on_failure && step.needs.iter().any(|needs| run.steps[*needs].state != StepState::Succeeded);
            prop_assert_eq!(step.state == StepState::Skipped, blocked);
        }
    }

    #[test]
    fn steps_never_succeed_with_outputs_from_before_a_resume((mut steps, ends) in graphs()) {
        steps[0].0.clear();
        let shape: Vec<_> = steps.iter().map(|(needs, run_on_failure)| (needs.as_slice(), *run_on_failure)).collect();
        let mut run = run(&shape);
        let (mut clock, mut ends) = (1.., ends.into_iter());
        let (mut began, mut ended) = (vec![0; steps.len()], vec![0; steps.len()]);
        let mut running = Vec::new();
        loop {
            let mut started = run.begin();
            let failed = |run: &WorkflowRun| -> Vec<_> {
                let failed = run.steps.iter().enumerate().filter(|(_, step)| step.state == StepState::Failed);
                failed.map(|(at, step)| (at, step.restarts)).collect()
            };
            let (which, succeeds) = ends.next().unwrap_or((0, true));
            let resumed = failed(&run);
            if running.is_empty() && started.is_empty() {
                if run.verdict().unwrap().0 == State::Succeeded {
                    break;
                }
                // Resumes the whole run, as its worker does.
                for (at, restarts) in resumed {
                    if failed(&run).contains(&(at, restarts)) {
                        run.reopened(at);
                        started.push(at);
                    }
                }
                run.unskip();
            } else if let (false, Some((at, _))) = (succeeds, resumed.get(which % 5)) {
                run.reopened(*at);
                started.push(*at);
            }
            for at in started {
                prop_assert!(!running.contains(&at), "{} twice at once", at);
                running.push(at);
                began[at] = clock.next().unwrap();
            }
            if !running.is_empty() {
                let at = running.swap_remove(which % running.len());
                ended[at] = clock.next().unwrap();
                run.ended(at, if succeeds { State::Succeeded } else { State::Failed }, None);
            }
        }
        for (at, (needs, _)) in steps.iter().enumerate() {
            prop_assert!(needs.iter().all(|needs| ended[*needs] < began[at]), "{} of {:?}", at, run);
        }
    }
}
