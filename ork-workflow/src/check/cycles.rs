//! Sorts the tasks topologically, and reports the cycles that prevent this.

use std::collections::{BTreeSet, VecDeque};

use super::Check;
use crate::diagnostic::{Code, Diagnostic, Problems};

/// Returns the tasks sorted so that each one comes after its dependencies, and otherwise in the order of the file.
/// Returns `None` if there is a cycle, which is then reported.
pub(super) fn order(check: &Check<'_>, problems: &mut Problems) -> Option<Vec<usize>> {
    let count = check.wires.len();
    let mut waits: Vec<usize> = check.wires.iter().map(|it| it.needs.len()).collect();
    let mut ready: BTreeSet<usize> = (0..count).filter(|index| waits.get(*index) == Some(&0)).collect();
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (index, wires) in check.wires.iter().enumerate() {
        for (need, _) in &wires.needs {
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
        if let Some(circle) = circle(check, index) {
            // The tasks of a strongly connected component can be in many cycles; only the shortest one is reported.
            reported.extend(reached(check, index).into_iter().filter(|it| reached(check, *it).contains(&index)));
            problems.add(diagnostic(check, &circle));
        }
    }
    None
}

fn needs(check: &Check<'_>, index: usize) -> impl Iterator<Item = usize> {
    check.wires.get(index).into_iter().flat_map(|it| it.needs.iter().map(|(need, _)| *need))
}

/// Returns all direct and indirect dependencies of a task.
fn reached(check: &Check<'_>, from: usize) -> BTreeSet<usize> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(index) = open.pop() {
        open.extend(needs(check, index).filter(|need| seen.insert(*need)));
    }
    seen
}

/// Returns the shortest cycle through a task.
fn circle(check: &Check<'_>, from: usize) -> Option<Vec<usize>> {
    let mut came: Vec<Option<usize>> = vec![None; check.wires.len()];
    let mut open = VecDeque::from([from]);
    while let Some(index) = open.pop_front() {
        for need in needs(check, index) {
            if need == from {
                let mut way = vec![index];
                let mut at = index;
                while at != from {
                    at = came.get(at).copied().flatten()?;
                    way.push(at);
                }
                way.reverse();
                return Some(way);
            }
            if let Some(slot) = came.get_mut(need).filter(|it| it.is_none()) {
                *slot = Some(index);
                open.push_back(need);
            }
        }
    }
    None
}

fn diagnostic(check: &Check<'_>, circle: &[usize]) -> Diagnostic {
    let name = |index: usize| check.document.tasks.get(index).map_or("", |task| task.name.text.as_str());
    let names: Vec<&str> = circle.iter().chain(circle.first()).map(|index| name(*index)).collect();
    let mut problem = Diagnostic::new(Code::Cycle, format!("cyclic dependency between tasks: {}", names.join(" -> ")));
    let next = circle.iter().skip(1).chain(circle.first());
    for (index, need) in circle.iter().zip(next) {
        let place = check.wires.get(*index).and_then(|it| it.needs.iter().find(|(it, _)| it == need));
        let Some((_, span)) = place else { continue };
        let text = format!("`{}` depends on `{}`", name(*index), name(*need));
        problem = if problem.span.is_none() { problem.at(*span, text) } else { problem.and(*span, text) };
    }
    problem.help("remove one of these dependencies")
}
