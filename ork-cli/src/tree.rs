//! The command `jobs tree`: draws a job and the jobs below it with their states, steps of a run in the order of the
//! workflow.

use serde_json::json;

use super::Output;
use super::format::{name, printable, settled};
use ork_runtime::client::{Status, StepStatus};

/// A line of the tree.
#[derive(Debug, Clone, Copy)]
enum Node<'a> {
    /// A job.
    Job(&'a Status),
    /// The earlier job of a step that was started again since.
    Replaced(&'a Status),
    /// A step that has not started, and may never start.
    Step(&'a StepStatus),
}

/// Draws jobs, given with their depths and each after its parent.
pub(super) fn tree(jobs: &[(usize, Status)], output: &Output) {
    let mut nodes = Vec::new();
    in_order(jobs, &mut nodes);
    if output.is_json() {
        let jobs = nodes.iter().filter_map(|(depth, node)| match node {
            Node::Job(job) | Node::Replaced(job) => Some(json!({ "depth": depth, "job": job })),
            // The JSON of the run lists its steps.
            Node::Step(_) => None,
        });
        output.json(&jobs.collect::<Vec<_>>());
        return;
    }
    let depths: Vec<_> = nodes.iter().map(|(depth, _)| *depth).collect();
    for ((_, node), branch) in nodes.iter().zip(branches(&depths)) {
        output.line(format_args!("{branch}{}", node_columns(node)));
    }
}

/// Orders a job and all jobs below it, with the steps of a run in the order of its workflow, including those that
/// have not started.
fn in_order<'a>(jobs: &'a [(usize, Status)], nodes: &mut Vec<(usize, Node<'a>)>) {
    let Some(((depth, job), below)) = jobs.split_first() else { return };
    nodes.push((*depth, Node::Job(job)));
    let mut children: Vec<_> = below.chunk_by(|_, (next, _)| *next > depth + 1).collect();
    for step in job.run.iter().flat_map(|run| &run.steps) {
        match children.iter().position(|child| child.first().is_some_and(|(_, child)| child.id == step.job)) {
            Some(at) => in_order(children.remove(at), nodes),
            None => nodes.push((depth + 1, Node::Step(step))),
        }
    }
    for child in children {
        let first = nodes.len();
        in_order(child, nodes);
        if let (Some(_), Some((_, node))) = (&job.run, nodes.get_mut(first))
            && let Node::Job(child) = *node
        {
            *node = Node::Replaced(child);
        }
    }
}

fn node_columns(node: &Node<'_>) -> String {
    let job = match node {
        Node::Step(step) => return format!("{} {}", step.name, step.state.as_str()),
        Node::Job(job) | Node::Replaced(job) => job,
    };
    let mut columns = vec![name(job), job.id.to_string(), job.state.to_string()];
    columns.extend(Some(settled(job)).filter(|parts| !parts.is_empty()));
    if job.below > 0 {
        columns.push(format!("({} of {} descendants ended)", job.below_ended, job.below));
    }
    if let Node::Replaced(_) = node {
        columns.push("(replaced)".into());
    }
    let why = job.failure.as_ref().map(|why| printable(&why.to_string())).unwrap_or_default();
    match why.lines().next() {
        Some(why) => format!("{}: {why}", columns.join(" ")),
        None => columns.join(" "),
    }
}

/// Returns the branches to draw before each line.
fn branches(depths: &[usize]) -> Vec<String> {
    // The lines are visited from the last to the first. For each level: whether another line on it follows further
    // down.
    let mut follows: Vec<bool> = Vec::new();
    let mut lines: Vec<String> = depths
        .iter()
        .rev()
        .map(|depth| {
            follows.resize(follows.len().max(depth + 1), false);
            follows.truncate(depth + 1);
            let last = follows.pop().is_some_and(|more| !more);
            let bars = follows.iter().skip(1).map(|more| if *more { "\u{2502}  " } else { "   " }).collect::<String>();
            follows.push(true);
            match (depth, last) {
                (0, _) => String::new(),
                (_, true) => format!("{bars}\u{2514}\u{2500} "),
                (_, false) => format!("{bars}\u{251c}\u{2500} "),
            }
        })
        .collect();
    lines.reverse();
    lines
}

#[cfg(test)]
mod tests {
    use super::branches;

    #[test]
    fn branches_are_drawn_down_to_the_last_child() {
        let drawn = branches(&[0, 1, 2, 2, 1, 1, 2]);
        assert_eq!(drawn, ["", "├─ ", "│  ├─ ", "│  └─ ", "├─ ", "└─ ", "   └─ "]);
    }
}
