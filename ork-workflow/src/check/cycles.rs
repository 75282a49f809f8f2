//! Sorts the tasks topologically, and reports the cycles that prevent this.

use std::collections::{BTreeSet, VecDeque};

use super::Check;
use crate::diagnostic::{Code, Diagnostic, Problems};

/// Returns the tasks sorted so that each one comes after its dependencies, and otherwise in the order of the file.
/// Returns `None` if there is a cycle, which is then reported.
pub(super) fn order(check: &Check<'_>, problems: &mut Problems) -> Option<Vec<usize>> {
    let count = check.dependencies.len();
    let mut waits: Vec<usize> = check.dependencies.iter().map(|it| it.needs.len()).collect();
    let mut ready: BTreeSet<usize> = (0..count).filter(|index| waits.get(*index) == Some(&0)).collect();
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (index, dependencies) in check.dependencies.iter().enumerate() {
        for (need, _) in &dependencies.needs {
            if let Some(list) = followers.get_mut(*need) {
                list.push(index);
            }
        }
    }
    let mut order = Vec::new();
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for follower in followers.get(index).into_iter().flatten() {
            if let Some(left) = waits.get_mut(*follower) {
                *left -= 1;
                if *left == 0 {
                    ready.insert(*follower);
                }
            }
        }
    }
    if order.len() == count {
        return Some(order);
    }
    let mut reported = BTreeSet::new();
    for index in (0..count).filter(|index| waits.get(*index) > Some(&0)) {
        if reported.contains(&index) {
            continue;
        }
        if let Some(cycle) = shortest_cycle(check, index) {
            // The tasks of a strongly connected component can be in many cycles; only the shortest one is reported.
            reported.extend(reached(check, index).into_iter().filter(|it| reached(check, *it).contains(&index)));
            problems.add(diagnostic(check, &cycle));
        }
    }
    None
}

fn needs(check: &Check<'_>, index: usize) -> impl Iterator<Item = usize> {
    check.dependencies.get(index).into_iter().flat_map(|it| it.needs.iter().map(|(need, _)| *need))
}

/// Returns all direct and indirect dependencies of a task.
fn reached(check: &Check<'_>, from: usize) -> BTreeSet<usize> {
    let (mut seen, mut queue) = (BTreeSet::new(), vec![from]);
    while let Some(index) = queue.pop() {
        queue.extend(needs(check, index).filter(|need| seen.insert(*need)));
    }
    seen
}

/// Returns the shortest cycle through a task.
fn shortest_cycle(check: &Check<'_>, from: usize) -> Option<Vec<usize>> {
    let mut previous: Vec<Option<usize>> = vec![None; check.dependencies.len()];
    let mut queue = VecDeque::from([from]);
    while let Some(index) = queue.pop_front() {
        for need in needs(check, index) {
            if need == from {
                let mut cycle = vec![index];
                let mut at = index;
                while at != from {
                    at = previous.get(at).copied().flatten()?;
                    cycle.push(at);
                }
                cycle.reverse();
                return Some(cycle);
            }
            if let Some(slot) = previous.get_mut(need).filter(|it| it.is_none()) {
                *slot = Some(index);
                queue.push_back(need);
            }
        }
    }
    None
}

fn diagnostic(check: &Check<'_>, cycle: &[usize]) -> Diagnostic {
    let name = |index: usize| check.document.tasks.get(index).map_or("", |task| task.name.text.as_str());
    let names: Vec<&str> = cycle.iter().chain(cycle.first()).map(|index| name(*index)).collect();
    let mut problem = Diagnostic::new(Code::Cycle, format!("cyclic dependency between tasks: {}", names.join(" -> ")));
    let next = cycle.iter().skip(1).chain(cycle.first());
    for (index, need) in cycle.iter().zip(next) {
        let place = check.dependencies.get(*index).and_then(|it| it.needs.iter().find(|(it, _)| it == need));
        let Some((_, span)) = place else { continue };
        let text = format!("`{}` depends on `{}`", name(*index), name(*need));
        problem = if problem.span.is_none() { problem.at(*span, text) } else { problem.and(*span, text) };
    }
    problem.help("remove one of these dependencies")
}
