//! The flow of a run: which tasks of its workflow have ended, and which begin next. Pure.
//!
//! It is changed by the transaction in which the job of a task ends, so that what follows is owed with that end.

#![warn(clippy::wildcard_enum_match_arm)]

use ork_workflow::{OnFailure, Plan, Runs};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::failure::{Failure, FailureKind};
use crate::id::JobId;
use crate::job::{Effect, Job, State};
use crate::role::Role;

/// The task that begins the runs of workflows.
pub const RUN: &str = "ork.run";
/// The task that starts others by the clock.
pub const SCHEDULE: &str = "ork.schedule";
/// The task that runs functions in Python files.
pub const PYTHON: &str = "ork.python";
/// The task that runs programs.
pub const PROCESS: &str = "ork.process";

/// How far a task of a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Tasks that it needs have not ended.
    Waiting,
    /// Its job is there.
    Begun,
    /// Its job ended well.
    Success,
    /// Its job failed.
    Failed,
    /// Its job was cancelled.
    Cancelled,
    /// A task that it needs did not succeed, so it never runs.
    Skipped,
}

impl Stage {
    /// Whether it has ended, for now.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Success | Self::Failed | Self::Cancelled | Self::Skipped => true,
            Self::Waiting | Self::Begun => false,
        }
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Begun => "begun",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

/// One task of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStep {
    /// Its name in the workflow.
    pub name: String,
    /// The task that its job is of.
    pub task: String,
    /// The places of those that must have ended; all of them are before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<usize>,
    /// Whether it runs even if one of those did not succeed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anyway: bool,
    /// How far it is.
    pub stage: Stage,
    /// Why it failed, in a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The tasks of a run; each one stands after those it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The workflow's name.
    pub workflow: String,
    /// Its tasks.
    pub steps: Vec<FlowStep>,
}

/// A plan that no checker has made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {at} of the plan, `{name}`, needs task {needs}, which does not stand before it")]
pub struct NoOrder {
    at: usize,
    name: String,
    needs: usize,
}

/// No more is kept of why a task failed; its job has all of it.
const LONGEST: usize = 200;

/// The id of the job of a task in a run; always the same one.
pub fn step_id(run: JobId, name: &str) -> JobId {
    run.below(format!("task {name}").as_bytes())
}

impl Flow {
    /// A run of this plan that has not begun.
    ///
    /// # Errors
    /// When a task needs one that does not stand before it.
    pub fn of(plan: &Plan) -> Result<Self, NoOrder> {
        let mut steps = Vec::with_capacity(plan.tasks.len());
        for (at, step) in plan.tasks.iter().enumerate() {
            if let Some(needs) = step.needs.iter().copied().find(|needs| *needs >= at) {
                return Err(NoOrder { at, name: step.name.clone(), needs });
            }
            let task = match &step.runs {
                Runs::Rust { task } => task,
                Runs::Python { .. } => PYTHON,
                Runs::Process { .. } => PROCESS,
            };
            steps.push(FlowStep {
                name: step.name.clone(),
                task: task.to_owned(),
                needs: step.needs.clone(),
                anyway: step.on_failure == OnFailure::Run,
                stage: Stage::Waiting,
                why: None,
            });
        }
        Ok(Self { workflow: plan.name.clone(), steps })
    }

    /// The tasks that begin now; those that never will are skipped.
    pub(crate) fn begin(&mut self) -> Vec<usize> {
        let mut begun = Vec::new();
        for at in 0..self.steps.len() {
            let (before, from) = self.steps.split_at_mut(at);
            let Some(step) = from.first_mut().filter(|step| step.stage == Stage::Waiting) else { continue };
            let mut needs = step.needs.iter().filter_map(|needs| before.get(*needs)).map(|step| step.stage);
            let all_ended = needs.clone().all(Stage::is_final);
            // What was skipped did not succeed, so this goes down to the last one in one pass.
            if needs.any(|stage| stage.is_final() && stage != Stage::Success) && !step.anyway {
                step.stage = Stage::Skipped;
            } else if all_ended {
                step.stage = Stage::Begun;
                begun.push(at);
            }
        }
        begun
    }

    /// The job of a task has ended so.
    pub(crate) fn ended(&mut self, at: usize, state: State, failure: Option<&Failure>) {
        if let Some(step) = self.steps.get_mut(at) {
            let line =
                |failure: &Failure| failure.message.lines().next().unwrap_or_default().chars().take(LONGEST).collect();
            step.why = failure.filter(|_| state == State::Failed).map(line);
        }
        match state {
            State::Success => self.set(at, Stage::Success),
            State::Failed => self.set(at, Stage::Failed),
            State::Cancelled => self.set(at, Stage::Cancelled),
            State::Ready | State::Running | State::Retrying | State::Waiting => {}
        }
    }

    /// The job of a task that had ended goes on: what was skipped may run after all.
    pub(crate) fn reopened(&mut self, at: usize) {
        self.set(at, Stage::Begun);
        self.unskip();
    }

    /// What was skipped waits again.
    pub(crate) fn unskip(&mut self) {
        let skipped = self.steps.iter_mut().filter(|step| step.stage == Stage::Skipped);
        skipped.for_each(|step| step.stage = Stage::Waiting);
    }

    fn set(&mut self, at: usize, stage: Stage) {
        if let Some(step) = self.steps.get_mut(at) {
            step.stage = stage;
        }
    }

    /// What has not begun when the run ends never will, unless it is taken up.
    pub(crate) fn skip_the_rest(&mut self) {
        let waiting = self.steps.iter_mut().filter(|step| step.stage == Stage::Waiting);
        waiting.for_each(|step| step.stage = Stage::Skipped);
    }

    /// How the run ends, and why not well; `None` as long as it goes on.
    pub(crate) fn verdict(&self) -> Option<(State, Option<Failure>)> {
        if !self.steps.iter().all(|step| step.stage.is_final()) {
            return None;
        }
        let of = |stage| self.steps.iter().filter(move |step| step.stage == stage);
        let skipped = match of(Stage::Skipped).count() {
            0 => String::new(),
            1 => ", and 1 was skipped".into(),
            n => format!(", and {n} were skipped"),
        };
        Some(match (of(Stage::Failed).next(), of(Stage::Cancelled).next()) {
            (Some(first), _) => {
                let (n, all) = (of(Stage::Failed).count(), self.steps.len());
                let why = first.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                let words = match n {
                    1 => format!("1 of {all} tasks failed{skipped}; `{}`{why}", first.name),
                    n => format!("{n} of {all} tasks failed{skipped}; the first one is `{}`{why}", first.name),
                };
                (State::Failed, Some(Failure::new(FailureKind::Children, words)))
            }
            (None, Some(_)) => (State::Cancelled, None),
            (None, None) => (State::Success, None),
        })
    }
}

impl Job {
    /// The place and the name of the task that it is in its run.
    pub fn step(&self) -> Option<(usize, &str)> {
        match self.role.as_deref()? {
            Role::Step { at, name } => Some((*at, name)),
            Role::Run(_) | Role::Schedule(_) | Role::Foreign => None,
        }
    }

    /// The flow, if it is a run that has begun.
    pub fn run(&self) -> Option<&Flow> {
        match self.role.as_deref()? {
            Role::Run(flow) => Some(flow),
            Role::Step { .. } | Role::Schedule(_) | Role::Foreign => None,
        }
    }

    pub(crate) fn run_mut(&mut self) -> Option<&mut Flow> {
        match self.role.as_deref_mut()? {
            Role::Run(flow) => Some(flow),
            Role::Step { .. } | Role::Schedule(_) | Role::Foreign => None,
        }
    }

    /// Begins a claimed run, or goes on with it: from now on it waits for its tasks.
    pub(crate) fn wait_for_tasks(&mut self, flow: &Flow) {
        match self.run_mut() {
            Some(flow) => flow.unskip(),
            None => self.role = Some(Box::new(Role::Run(flow.clone()))),
        }
        (self.state, self.failure) = (State::Waiting, None);
    }

    /// The tasks that begin now, if it is a run that goes on.
    pub(crate) fn begin_tasks(&mut self) -> Vec<usize> {
        let goes_on = self.state == State::Waiting && self.takes_children();
        self.run_mut().filter(|_| goes_on).map(Flow::begin).unwrap_or_default()
    }

    /// Ends a run whose last task has ended, or whose tasks have, if it was interrupted.
    pub(crate) fn end_run(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.state != State::Waiting || self.is_over() {
            return Vec::new();
        }
        let verdict = match (self.run().and_then(Flow::verdict), self.tree.interrupted) {
            (_, Some(_)) if self.tree.open == 0 => Some((State::Cancelled, None)),
            (verdict, _) => verdict,
        };
        let Some((state, failure)) = verdict else { return Vec::new() };
        self.failure = failure;
        self.finish(state, now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow(steps: &[(&[usize], bool)]) -> Flow {
        let step = |(at, (needs, anyway)): (usize, &(&[usize], bool))| FlowStep {
            name: format!("t{at}"),
            task: "t".into(),
            needs: needs.to_vec(),
            anyway: *anyway,
            stage: Stage::Waiting,
            why: None,
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
        // Taken up again, what was skipped runs after all.
        flow.reopened(1);
        assert_eq!(stages(&flow), [Success, Begun, Waiting, Success, Success]);
        flow.ended(1, State::Success, None);
        assert_eq!(flow.begin(), [2]);
        flow.ended(2, State::Success, None);
        assert_eq!(flow.verdict(), Some((State::Success, None)));
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
    }
}
