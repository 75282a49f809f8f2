//! Flows by hand, and random ones: what begins, what is skipped, what runs anew, and how it ends.

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
fn a_failure_skips_what_rests_on_it_and_independent_branches_go_on() {
    use StepState::{Failed, Skipped, Started, Succeeded, Waiting};
    // 0 -> 1 -> 2, 0 -> 3, {2, 3} -> 4 anyway
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
    // Taken up again, what was skipped runs after all, and what ran without it runs with it.
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
fn what_ran_on_a_failure_runs_anew_once_that_was_taken_up_and_never_twice_at_once() {
    use StepState::{Failed, Skipped, Started, Succeeded, Waiting};
    // 0 -> 1 anyway -> 2, 3 beside them
    let mut run = run(&[(&[], false), (&[0], true), (&[1], false), (&[], false)]);
    assert_eq!(run.begin(), [0, 3]);
    run.ended(0, State::Failed, None);
    assert_eq!(run.begin(), [1]);
    let (id, first) = (JobId::new(), run.steps[1].clone());
    // It is under way, and what it was given is not what it will be given.
    run.reopened(0);
    assert_eq!((stages(&run), run.steps[1].stale), (vec![Started, Started, Waiting, Started], true));
    run.ended(0, State::Succeeded, None);
    assert_eq!(run.begin(), Vec::<usize>::new());
    run.ended(1, State::Succeeded, None);
    assert_eq!(stages(&run), [Succeeded, Waiting, Waiting, Started]);
    assert_eq!(run.begin(), [1]);
    assert_ne!(run.steps[1].job(id), first.job(id));
    // What ended is begun anew, too; what does not rest on it stays.
    run.ended(1, State::Failed, None);
    run.ended(3, State::Succeeded, None);
    assert_eq!(run.begin(), Vec::<usize>::new());
    assert_eq!(stages(&run), [Succeeded, Failed, Skipped, Succeeded]);
    run.reopened(1);
    assert_eq!((stages(&run), run.steps[1].restarts), (vec![Succeeded, Started, Waiting, Succeeded], 1));
}

/// The tasks that one needs, and whether it runs anyway.
type Needs = (Vec<usize>, bool);

/// A graph: for each task those it needs, and whether it runs anyway; then the order and the way in which they end.
fn graphs() -> impl Strategy<Value = (Vec<Needs>, Vec<(usize, bool)>)> {
    let steps = (1_usize..12).prop_flat_map(|n| {
        let step = |at: usize| (proptest::collection::vec(0..at.max(1), 0..=at.min(3)), any::<bool>());
        (0..n).map(step).collect::<Vec<_>>()
    });
    (steps, proptest::collection::vec((any::<usize>(), any::<bool>()), 64))
}

proptest! {
    #[test]
    fn each_task_begins_at_most_once_after_all_it_needs_and_the_run_ends((steps, ends) in graphs()) {
        let mut steps = steps;
        steps[0].0.clear();
        for (needs, _) in &mut steps {
            needs.sort_unstable();
            needs.dedup();
        }
        let shape: Vec<_> = steps.iter().map(|(needs, run_on_failure)| (needs.as_slice(), *run_on_failure)).collect();
        let mut run = run(&shape);
        let (mut running, mut begun) = (Vec::new(), std::collections::BTreeSet::new());
        let mut ends = ends.into_iter();
        loop {
            for at in run.begin() {
                prop_assert!(begun.insert(at), "{at} twice");
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
            let (which, well) = ends.next().unwrap();
            let at = running.swap_remove(which % running.len());
            run.ended(at, if well { State::Succeeded } else { State::Failed }, None);
        }
        for (at, step) in run.steps.iter().enumerate() {
            prop_assert_eq!(step.state == StepState::Skipped, !begun.contains(&at));
            let blocked = !step.run_on_failure && step.needs.iter().any(|needs| run.steps[*needs].state != StepState::Succeeded);
            prop_assert_eq!(step.state == StepState::Skipped, blocked);
        }
    }

    #[test]
    fn no_task_ends_well_with_what_another_returned_before_it_was_taken_up((mut steps, ends) in graphs()) {
        steps[0].0.clear();
        let shape: Vec<_> = steps.iter().map(|(needs, run_on_failure)| (needs.as_slice(), *run_on_failure)).collect();
        let mut run = run(&shape);
        let (mut clock, mut ends) = (1.., ends.into_iter());
        let (mut began, mut ended) = (vec![0; steps.len()], vec![0; steps.len()]);
        let mut running = Vec::new();
        loop {
            let mut begun = run.begin();
            let failed = |run: &WorkflowRun| -> Vec<_> {
                let failed = run.steps.iter().enumerate().filter(|(_, step)| step.state == StepState::Failed);
                failed.map(|(at, step)| (at, step.restarts)).collect()
            };
            let (which, well) = ends.next().unwrap_or((0, true));
            let taken_up = failed(&run);
            if running.is_empty() && begun.is_empty() {
                if run.verdict().unwrap().0 == State::Succeeded {
                    break;
                }
                // The whole run, as its worker does it.
                for (at, restarts) in taken_up {
                    if failed(&run).contains(&(at, restarts)) {
                        run.reopened(at);
                        begun.push(at);
                    }
                }
                run.unskip();
            } else if let (false, Some((at, _))) = (well, taken_up.get(which % 5)) {
                run.reopened(*at);
                begun.push(*at);
            }
            for at in begun {
                prop_assert!(!running.contains(&at), "{} twice at once", at);
                running.push(at);
                began[at] = clock.next().unwrap();
            }
            if !running.is_empty() {
                let at = running.swap_remove(which % running.len());
                ended[at] = clock.next().unwrap();
                run.ended(at, if well { State::Succeeded } else { State::Failed }, None);
            }
        }
        for (at, (needs, _)) in steps.iter().enumerate() {
            prop_assert!(needs.iter().all(|needs| ended[*needs] < began[at]), "{} of {:?}", at, run);
        }
    }
}
