//! Flows by hand, and random ones: what begins, what is skipped, what runs anew, and how it ends.

use proptest::prelude::*;

use super::*;

fn flow(steps: &[(&[usize], bool)]) -> Flow {
    let step = |(at, (needs, anyway)): (usize, &(&[usize], bool))| FlowStep {
        needs: needs.to_vec(),
        anyway: *anyway,
        ..FlowStep::new(format!("t{at}"), "t".into())
    };
    Flow { workflow: "w".into(), steps: steps.iter().enumerate().map(step).collect() }
}

fn stages(flow: &Flow) -> Vec<Stage> {
    flow.steps.iter().map(|step| step.stage).collect()
}

#[test]
fn a_failure_skips_what_rests_on_it_and_independent_branches_go_on() {
    use Stage::{Begun, Failed, Skipped, Success, Waiting};
    // 0 -> 1 -> 2, 0 -> 3, {2, 3} -> 4 anyway
    let mut flow = flow(&[(&[], false), (&[0], false), (&[1], false), (&[0], false), (&[2, 3], true)]);
    assert_eq!(flow.begin(), [0]);
    flow.ended(0, State::Success, None);
    assert_eq!(flow.begin(), [1, 3]);
    flow.ended(1, State::Failed, Some(&Failure::new(FailureKind::Task, "no luck\nat all")));
    assert_eq!(flow.begin(), Vec::<usize>::new());
    assert_eq!(stages(&flow), [Success, Failed, Skipped, Begun, Waiting]);
    flow.ended(3, State::Success, None);
    assert_eq!(flow.begin(), [4]);
    assert_eq!(flow.verdict(), None);
    flow.ended(4, State::Success, None);
    let (state, failure) = flow.verdict().unwrap();
    assert_eq!(state, State::Failed);
    assert_eq!(failure.unwrap().message, "1 of 5 tasks failed, and 1 was skipped; `t1`: no luck");
    // Taken up again, what was skipped runs after all, and what ran without it runs with it.
    flow.reopened(1);
    assert_eq!(stages(&flow), [Success, Begun, Waiting, Success, Waiting]);
    flow.ended(1, State::Success, None);
    assert_eq!(flow.begin(), [2]);
    flow.ended(2, State::Success, None);
    assert_eq!(flow.begin(), [4]);
    flow.ended(4, State::Success, None);
    assert_eq!(flow.verdict(), Some((State::Success, None)));
}

#[test]
fn what_ran_on_a_failure_runs_anew_once_that_was_taken_up_and_never_twice_at_once() {
    use Stage::{Begun, Failed, Skipped, Success, Waiting};
    // 0 -> 1 anyway -> 2, 3 beside them
    let mut flow = flow(&[(&[], false), (&[0], true), (&[1], false), (&[], false)]);
    assert_eq!(flow.begin(), [0, 3]);
    flow.ended(0, State::Failed, None);
    assert_eq!(flow.begin(), [1]);
    let (run, first) = (JobId::new(), flow.steps[1].clone());
    // It is under way, and what it was given is not what it will be given.
    flow.reopened(0);
    assert_eq!((stages(&flow), flow.steps[1].stale), (vec![Begun, Begun, Waiting, Begun], true));
    flow.ended(0, State::Success, None);
    assert_eq!(flow.begin(), Vec::<usize>::new());
    flow.ended(1, State::Success, None);
    assert_eq!(stages(&flow), [Success, Waiting, Waiting, Begun]);
    assert_eq!(flow.begin(), [1]);
    assert_ne!(flow.steps[1].job(run), first.job(run));
    // What ended is begun anew, too; what does not rest on it stays.
    flow.ended(1, State::Failed, None);
    flow.ended(3, State::Success, None);
    assert_eq!(flow.begin(), Vec::<usize>::new());
    assert_eq!(stages(&flow), [Success, Failed, Skipped, Success]);
    flow.reopened(1);
    assert_eq!((stages(&flow), flow.steps[1].anew), (vec![Success, Begun, Waiting, Success], 1));
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
        let shape: Vec<_> = steps.iter().map(|(needs, anyway)| (needs.as_slice(), *anyway)).collect();
        let mut flow = flow(&shape);
        let (mut running, mut begun) = (Vec::new(), std::collections::BTreeSet::new());
        let mut ends = ends.into_iter();
        loop {
            for at in flow.begin() {
                prop_assert!(begun.insert(at), "{at} twice");
                for needs in &steps[at].0 {
                    let stage = flow.steps[*needs].stage;
                    prop_assert!(stage.is_final() && (steps[at].1 || stage == Stage::Success));
                }
                running.push(at);
            }
            prop_assert_eq!(flow.verdict().is_some(), running.is_empty(), "it ends when nothing runs, and not before");
            if running.is_empty() {
                break;
            }
            let (which, well) = ends.next().unwrap();
            let at = running.swap_remove(which % running.len());
            flow.ended(at, if well { State::Success } else { State::Failed }, None);
        }
        for (at, step) in flow.steps.iter().enumerate() {
            prop_assert_eq!(step.stage == Stage::Skipped, !begun.contains(&at));
            let blocked = !step.anyway && step.needs.iter().any(|needs| flow.steps[*needs].stage != Stage::Success);
            prop_assert_eq!(step.stage == Stage::Skipped, blocked);
        }
    }

    #[test]
    fn no_task_ends_well_with_what_another_returned_before_it_was_taken_up((mut steps, ends) in graphs()) {
        steps[0].0.clear();
        let shape: Vec<_> = steps.iter().map(|(needs, anyway)| (needs.as_slice(), *anyway)).collect();
        let mut flow = flow(&shape);
        let (mut clock, mut ends) = (1.., ends.into_iter());
        let (mut began, mut ended) = (vec![0; steps.len()], vec![0; steps.len()]);
        let mut running = Vec::new();
        loop {
            let mut begun = flow.begin();
            let failed = |flow: &Flow| -> Vec<_> {
                let failed = flow.steps.iter().enumerate().filter(|(_, step)| step.stage == Stage::Failed);
                failed.map(|(at, step)| (at, step.anew)).collect()
            };
            let (which, well) = ends.next().unwrap_or((0, true));
            let taken_up = failed(&flow);
            if running.is_empty() && begun.is_empty() {
                if flow.verdict().unwrap().0 == State::Success {
                    break;
                }
                // The whole run, as its worker does it.
                for (at, anew) in taken_up {
                    if failed(&flow).contains(&(at, anew)) {
                        flow.reopened(at);
                        begun.push(at);
                    }
                }
                flow.unskip();
            } else if let (false, Some((at, _))) = (well, taken_up.get(which % 5)) {
                flow.reopened(*at);
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
                flow.ended(at, if well { State::Success } else { State::Failed }, None);
            }
        }
        for (at, (needs, _)) in steps.iter().enumerate() {
            prop_assert!(needs.iter().all(|needs| ended[*needs] < began[at]), "{} of {:?}", at, flow);
        }
    }
}
