//! `jobs tree`: a job and the jobs below it, drawn with their states.

use super::Output;
use super::output::printable;
use crate::client::Status;

/// Draws jobs that come with their depth, each after the one that submitted it.
pub(super) fn tree(jobs: &[(usize, Status)], output: &Output) {
    if output.is_json() {
        let jobs = jobs.iter().map(|(depth, status)| serde_json::json!({ "depth": depth, "job": status }));
        output.json(&jobs.collect::<Vec<_>>());
        return;
    }
    let depths: Vec<_> = jobs.iter().map(|(depth, _)| *depth).collect();
    for ((_, job), branch) in jobs.iter().zip(branches(&depths)) {
        let why = job.failure.as_ref().map(|failure| printable(&format!(": {failure}"))).unwrap_or_default();
        let why = why.lines().next().unwrap_or_default().to_owned();
        let share = match job.below {
            0 => String::new(),
            below => format!(" ({} of {below} below it ended)", job.below_ended),
        };
        output.line(format!("{branch}{} {} {}{share}{why}", super::jobs::name(job), job.id, job.state));
    }
}

/// What stands before each line: bars from a job down to its last child.
fn branches(depths: &[usize]) -> Vec<String> {
    // From the last line to the first: on which levels something follows further down.
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
    fn a_tree_is_drawn_with_bars_down_to_the_last_child() {
        let drawn = branches(&[0, 1, 2, 2, 1, 1, 2]);
        assert_eq!(drawn, ["", "├─ ", "│  ├─ ", "│  └─ ", "├─ ", "└─ ", "   └─ "]);
    }
}
