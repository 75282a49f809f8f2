//! Workflows: runs whose tasks are scripts, how each task ends, and when one may start.

use std::collections::BTreeMap;
use std::sync::Arc;

use ork::workflow::{Count, FanOut, OnFailure, Plan, Reference, Runs, Source, Step};
use ork::{Context, Error, JobId, Result, State, StepState, task};
use ork_ports::store::JobView;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::dice::Dice;
use super::executor::Owner;
use super::names::{Property, Reached};
use super::tasks::{Here, Script};
use super::world::World;

/// A task of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlowTask {
    /// The indexes of the tasks that must have ended, all before its own.
    needs: Vec<usize>,
    how_many: HowMany,
    /// One script for each instance.
    scripts: Vec<Script>,
    /// Whether it runs although a task that it needs did not succeed.
    anyway: bool,
    /// How many of its instances run at once; 0 for all of them.
    permits: u32,
}

/// How many instances a task has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum HowMany {
    /// It is not a fan-out.
    One,
    /// A fixed number.
    Number,
    /// One for each item of the list that the first task that it needs has returned.
    Each,
}

/// How a task ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    state: StepState,
    /// The output that the tasks that need it receive.
    output: Value,
}

impl FlowTask {
    fn generate(dice: &mut Dice, before: &[Self]) -> Self {
        let mut needs: Vec<_> = (0..before.len()).filter(|_| dice.percent(40)).collect();
        needs.truncate(3);
        let list = needs.first().and_then(|first| before.get(*first)).filter(|task| task.how_many != HowMany::One);
        let (how_many, n) = match list {
            Some(list) if dice.percent(50) => (HowMany::Each, list.scripts.len()),
            _ if dice.percent(40) => (HowMany::Number, usize::try_from(dice.any_size(8)).unwrap()),
            _ => (HowMany::One, 1),
        };
        let scripts = (0..n).map(|_| Script::generate(dice)).collect();
        let permits = if dice.percent(30) { u32::try_from(dice.between(1, 3)).unwrap() } else { 0 };
        Self { needs, how_many, scripts, anyway: dice.percent(25), permits }
    }

    /// Draws some tasks, each with tasks before it that it needs.
    pub(crate) fn generate_all(dice: &mut Dice) -> Vec<Self> {
        let mut all = Vec::new();
        for _ in 0..dice.between(1, 6) {
            let next = Self::generate(dice, &all);
            all.push(next);
        }
        all
    }

    pub(crate) fn into_scripts(self) -> Vec<Script> {
        self.scripts
    }

    pub(crate) fn scripts_mut(&mut self) -> &mut [Script] {
        &mut self.scripts
    }

    /// How the task ends after the tasks before it, if no client controls the run.
    fn outcome(&self, before: &[Outcome]) -> Outcome {
        let is_fan = self.how_many != HowMany::One;
        let well = |at: &usize| before.get(*at).is_some_and(|step| step.state == StepState::Succeeded);
        if !self.anyway && !self.needs.iter().all(well) {
            return Outcome { state: StepState::Skipped, output: if is_fan { json!([]) } else { Value::Null } };
        }
        let n = match (self.how_many, self.given(before)) {
            (HowMany::Each, Value::Array(items)) => items.len(),
            _ => self.scripts.len(),
        };
        let output = |script: &Script| if script.succeeds() { json!(script.key) } else { Value::Null };
        let mut outputs: Vec<_> = self.scripts.iter().take(n).map(output).collect();
        let all_well = self.scripts.iter().take(n).all(Script::succeeds);
        let output = if is_fan { Value::Array(outputs) } else { outputs.pop().unwrap_or_default() };
        Outcome { state: if all_well { StepState::Succeeded } else { StepState::Failed }, output }
    }

    /// The output of the first task that it needs.
    fn given(&self, before: &[Outcome]) -> Value {
        let first = self.needs.first().and_then(|first| before.get(*first));
        first.map(|task| task.output.clone()).unwrap_or_default()
    }

    fn step(&self, (run, place): (u64, usize), before: &[Outcome]) -> Step {
        let first = |step: &usize| Reference { step: *step, path: Vec::new() };
        let given = self.needs.first().map(first);
        let input = [
            ("run", Source::Value(json!(run))),
            ("scripts", Source::Value(json!(self.scripts))),
            ("expected", Source::Value(self.given(before))),
            ("given", given.clone().map_or(Source::Value(Value::Null), Source::Output)),
        ];
        let fan_out = match self.how_many {
            HowMany::One => None,
            HowMany::Number => {
                let n = u64::try_from(self.scripts.len()).unwrap();
                Some(FanOut { foreach: None, parallel: Some(Count::Fixed(n)) })
            }
            HowMany::Each => Some(FanOut { foreach: given, parallel: None }),
        };
        Step {
            needs: self.needs.clone(),
            input: input.into_iter().map(|(name, source)| (name.to_owned(), source)).collect::<BTreeMap<_, _>>(),
            fan_out,
            on_failure: if self.anyway { OnFailure::Run } else { OnFailure::Skip },
            concurrency: (self.permits > 0).then_some(self.permits),
            ..Step::new(format!("task {place}"), Runs::Rust { task: "step".to_owned() })
        }
    }
}

/// The workflow of these tasks, for the submission of this number.
pub(crate) fn plan(run: u64, tasks: &[FlowTask]) -> Plan {
    let outcome = outcomes(tasks);
    let step = |(place, task): (usize, &FlowTask)| task.step((run, place), &outcome);
    Plan { name: format!("flow {run}"), folder: None, steps: tasks.iter().enumerate().map(step).collect() }
}

/// Describes what is invalid in these tasks.
pub(crate) fn problem(tasks: &[FlowTask]) -> Option<String> {
    let is_fan = |at: &usize| tasks.get(*at).is_some_and(|task| task.how_many != HowMany::One);
    let of_task = |(place, task): (usize, &FlowTask)| {
        let problem = if task.needs.iter().any(|needs| *needs >= place) {
            "needs a task that is not before it"
        } else if task.how_many == HowMany::One && task.scripts.len() != 1 {
            "is no fan-out and does not have exactly one script"
        } else if task.how_many == HowMany::Each && !task.needs.first().is_some_and(is_fan) {
            "has an instance for each output of a fan-out, which it must need first"
        } else {
            return None;
        };
        Some(format!("has a task, {place}, that {problem}"))
    };
    if tasks.is_empty() { Some("has no tasks".to_owned()) } else { tasks.iter().enumerate().find_map(of_task) }
}

/// Returns whether all tasks succeed if no client controls the run.
pub(crate) fn succeeds(tasks: &[FlowTask]) -> bool {
    // A skipped task depends on a task that failed.
    outcomes(tasks).iter().all(|step| step.state == StepState::Succeeded)
}

fn outcomes(tasks: &[FlowTask]) -> Vec<Outcome> {
    let mut all = Vec::new();
    for task in tasks {
        let outcome = task.outcome(&all);
        all.push(outcome);
    }
    all
}

/// A task of a workflow: each instance has a script.
#[task(retries = 2, backoff = "500ms")]
pub(crate) async fn step(
    run: u64,
    scripts: Vec<Script>,
    expected: Value,
    given: Value,
    item: Option<Value>,
    here: State<Here>,
    context: Context,
) -> Result<u64> {
    here.world.check_step(here.owner, &context, run);
    let index = usize::try_from(context.parallel_index()).unwrap_or(usize::MAX);
    let expected_item = expected.get(index).filter(|_| item.is_some()).cloned();
    if (given != expected || item != expected_item) && !here.world.is_disturbed(run) {
        let detail = format!("{} is given {given} and {item:?}, not {expected}", context.idempotency_key());
        here.world.oracle(|oracle| oracle.report(Property::Given, detail));
    }
    let script = scripts.get(index).ok_or_else(|| Error::permanent("no such instance"))?;
    here.play(script, &context).await
}

impl World {
    /// Checks that a task of a workflow starts after all that it needs, and that no more of its instances run than its
    /// limit lets run.
    fn check_step(self: &Arc<Self>, owner: Owner, context: &Context, number: u64) {
        let (job, now) = (context.job_id(), self.executor.now());
        let Some((view, run)) = self.run_of(job) else { return };
        let (Some((at, _)), Some(flow)) = (view.job.step(), run.job.workflow_run()) else { return };
        let Some(step) = flow.steps.get(at) else { return };
        let open = step.needs.iter().filter_map(|needs| flow.steps.get(*needs)).find(|task| match task.state {
            StepState::Succeeded => false,
            StepState::Failed | StepState::Cancelled | StepState::Skipped => !step.run_on_failure,
            _ => true,
        });
        self.oracle(|oracle| oracle.reaches(Reached::StepsCalled));
        if let Some(open) = open
            && !self.is_disturbed(number)
        {
            let detail = format!("{job} starts in process {}, and {} is {}", owner.0, open.name, open.state.as_str());
            self.oracle(|oracle| oracle.report(Property::Flow, detail));
        }
        let plan: Option<Plan> = serde_json::from_slice(&run.input).ok();
        let permits = plan.and_then(|plan| plan.steps.get(at)?.concurrency);
        let Some(permits) = permits.and_then(|permits| usize::try_from(permits).ok()) else { return };
        // This call is not counted yet.
        let n_calls = self.oracle(|oracle| oracle.calls_of(|of| of == job, now)) + 1;
        if n_calls > permits {
            let detail = format!("{n_calls} instances of {} at once, of {permits}", step.name);
            self.oracle(|oracle| oracle.report(Property::Permits, detail));
        }
    }

    /// The views of a job and of the run that it belongs to.
    fn run_of(&self, job: JobId) -> Option<(JobView, JobView)> {
        self.truth(|tables| {
            let view = tables.job(job)?;
            let run = tables.job(view.job.parent?)?;
            Some((view, run))
        })
    }
}
