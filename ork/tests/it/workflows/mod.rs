//! Workflow runs: the order of steps, fan-outs, inputs, and the consequences of failures.

mod control;
mod forms;

use ork::workflow::{Count, FanOut, OnFailure, Plan, Reference, Runs, Source, Step};
use ork::{Context, Error, JobId, JobOutcome, JobState, Result, StepState, task};
use serde_json::{Value, json};

use super::tasks::{called, calls};
use super::world::{World, each};

/// Counts its calls under the key `run`, like the other tasks of these tests.
#[task]
async fn flow_discover(run: String, files: Vec<String>) -> Result<Value> {
    called(&format!("{run}.discover"));
    Ok(json!({ "count": files.len(), "files": files, "odd": 1.5 }))
}

#[task]
async fn flow_process(run: String, item: Option<String>, context: Context) -> Result<Value> {
    let (index, count) = (context.parallel_index(), context.parallel_count());
    called(&format!("{run}.process"));
    match item.as_deref() {
        Some("bad") if calls(&format!("{run}.process.heal")) == 0 => Err(Error::permanent("a bad file")),
        _ => Ok(json!({ "file": item, "index": index, "of": count, "by": context.step_name() })),
    }
}

#[task]
async fn flow_gather(run: String, process: Value) -> Value {
    called(&format!("{run}.gather"));
    process
}

fn step(name: &str, run: JobId, needs: &[usize]) -> Step {
    Step {
        needs: needs.to_vec(),
        input: [("run".into(), Source::Value(json!(run.to_string())))].into(),
        ..Step::new(name, Runs::Rust { task: format!("flow_{name}") })
    }
}

fn output(step: usize, path: &[&str]) -> Reference {
    Reference { step, path: path.iter().map(|field| (*field).to_owned()).collect() }
}

/// A plan of `discover`, a `process` with this fan-out, and a `gather` of the outputs of all its instances.
fn plan(run: JobId, files: &[&str], fan_out: Option<FanOut>) -> Plan {
    let mut discover = step("discover", run, &[]);
    discover.input.insert("files".into(), Source::Value(json!(files)));
    let mut process = step("process", run, &[0]);
    process.fan_out = fan_out;
    let mut gather = step("gather", run, &[1]);
    gather.input.insert("process".into(), Source::Output(output(1, &[])));
    Plan { name: "files".into(), folder: None, steps: vec![discover, process, gather] }
}

fn foreach() -> FanOut {
    FanOut { foreach: Some(output(0, &["files"])), parallel: None }
}

async fn ended(world: &World, plan: &Plan) -> (JobId, JobOutcome) {
    let run = world.ork.workflows().submit(plan).await.unwrap();
    (run.id(), run.wait().await.unwrap())
}

fn states(outcome: &JobOutcome) -> Vec<StepState> {
    outcome.status().run.as_ref().unwrap().steps.iter().map(|step| step.state).collect()
}

#[test]
fn run_without_a_schedule_has_no_scheduled_time() {
    each(|world| async move {
        let mut plan = plan(JobId::new(), &[], Some(foreach()));
        plan.steps[0].input.insert("files".into(), Source::Date);
        let (_, outcome) = ended(&world, &plan).await;
        assert_eq!(states(&outcome), [StepState::Failed, StepState::Skipped, StepState::Skipped]);
        let why = &outcome.status().failure.as_ref().unwrap().message;
        assert!(why.contains("`files` is set by the schedule, and this run was not started by a schedule"), "{why}");
        world.end().await;
    });
}

#[test]
fn foreach_runs_an_instance_per_item_and_keeps_the_order_of_the_outputs() {
    each(|world| async move {
        let run = JobId::new();
        let (id, outcome) = ended(&world, &plan(run, &["a", "b", "c"], Some(foreach()))).await;
        assert_eq!(outcome.status().state, JobState::Succeeded, "{outcome:?}");
        assert_eq!(states(&outcome), [StepState::Succeeded; 3]);
        let of = |file: &str, index: u64| json!({ "file": file, "index": index, "of": 3, "by": "process" });
        let all = json!([of("a", 0), of("b", 1), of("c", 2)]);
        assert_eq!(world.ork.workflows().step_output(id, "gather").await.unwrap(), Some(all.clone()));
        assert_eq!(world.ork.workflows().step_output(id, "process").await.unwrap(), Some(all));
        assert_eq!([".discover", ".process", ".gather"].map(|task| calls(&format!("{run}{task}"))), [1, 3, 1]);
        world.end().await;
    });
}

#[test]
fn parallel_runs_a_number_of_instances_and_with_foreach_that_many_per_item() {
    each(|world| async move {
        for (fan_out, expected) in [
            (
                FanOut { foreach: None, parallel: Some(Count::Fixed(4)) },
                vec![(Value::Null, 0, 4), (Value::Null, 1, 4), (Value::Null, 2, 4), (Value::Null, 3, 4)],
            ),
            (
                FanOut { foreach: None, parallel: Some(Count::Of(output(0, &["count"]))) },
                vec![(Value::Null, 0, 2), (Value::Null, 1, 2)],
            ),
            (
                FanOut { parallel: Some(Count::Fixed(2)), ..foreach() },
                vec![(json!("a"), 0, 2), (json!("a"), 1, 2), (json!("b"), 0, 2), (json!("b"), 1, 2)],
            ),
        ] {
            let (id, outcome) = ended(&world, &plan(JobId::new(), &["a", "b"], Some(fan_out))).await;
            assert_eq!(outcome.status().state, JobState::Succeeded, "{outcome:?}");
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(file, index, of)| json!({ "file": file, "index": index, "of": of, "by": "process" }))
                .collect();
            assert_eq!(world.ork.workflows().step_output(id, "gather").await.unwrap(), Some(json!(expected)));
        }
        world.end().await;
    });
}

/// A task without a parameter `item`.
#[task]
fn counts_alone(run: String, context: Context) -> u64 {
    called(&run);
    context.parallel_index()
}

/// Regression: each instance used to fail with "`item` is not an input".
#[test]
fn instances_of_a_task_without_an_item_parameter_get_none() {
    each(|world| async move {
        let run = JobId::new();
        let mut plan = plan(run, &["a", "b"], Some(foreach()));
        plan.steps[1].runs = Runs::Rust { task: "counts_alone".into() };
        plan.steps[1].input.retain(|name, _| name == "run");
        let key = format!("alone {run}");
        plan.steps[1].input.insert("run".into(), Source::Value(json!(key)));
        let (id, outcome) = ended(&world, &plan).await;
        assert_eq!(outcome.status().state, JobState::Succeeded, "{outcome:?}");
        assert_eq!(world.ork.workflows().step_output(id, "process").await.unwrap(), Some(json!([0, 1])));
        assert_eq!(calls(&key), 2);
        world.end().await;
    });
}

#[test]
fn fan_out_over_an_empty_list_completes_at_once() {
    each(|world| async move {
        let run = JobId::new();
        let (id, outcome) = ended(&world, &plan(run, &[], Some(foreach()))).await;
        assert_eq!(outcome.status().state, JobState::Succeeded, "{outcome:?}");
        assert_eq!(world.ork.workflows().step_output(id, "gather").await.unwrap(), Some(json!([])));
        assert_eq!(calls(&format!("{run}.process")), 0);
        world.end().await;
    });
}

#[test]
fn fan_out_over_the_outputs_of_a_fan_out() {
    each(|world| async move {
        let run = JobId::new();
        let mut plan = plan(run, &["a", "b"], Some(foreach()));
        let mut again = step("gather", run, &[1]);
        again.name = "again".into();
        again.fan_out = Some(FanOut { foreach: Some(output(1, &[])), parallel: None });
        again.input.insert("process".into(), Source::Value(json!("each")));
        again.runs = Runs::Rust { task: "flow_nested".into() };
        plan.steps.push(again);
        let (id, outcome) = ended(&world, &plan).await;
        assert_eq!(outcome.status().state, JobState::Succeeded, "{outcome:?}");
        assert_eq!(world.ork.workflows().step_output(id, "again").await.unwrap(), Some(json!(["a each", "b each"])));
        world.end().await;
    });
}

#[task]
async fn flow_nested(run: String, item: Value, process: String) -> String {
    called(&run);
    format!("{} {process}", item.get("file").and_then(Value::as_str).unwrap_or_default())
}

#[test]
fn dependents_of_a_failed_step_are_skipped_and_run_by_a_retry() {
    each(|world| async move {
        let run = JobId::new();
        let (id, outcome) = ended(&world, &plan(run, &["a", "bad", "c"], Some(foreach()))).await;
        assert_eq!(states(&outcome), [StepState::Succeeded, StepState::Failed, StepState::Skipped], "{outcome:?}");
        let failure = outcome.status().failure.as_ref().unwrap().to_string();
        assert!(
            failure.contains("1 of 3 tasks failed, and 1 was skipped; `process`: 1 of 3 parts failed"),
            "{failure}"
        );
        let count = |task: &str| calls(&format!("{run}.{task}"));
        assert_eq!((count("discover"), count("process"), count("gather")), (1, 3, 0));
        // The step is healed and retried: only the part that failed runs again.
        called(&format!("{run}.process.heal"));
        world.ork.retry(id).await.unwrap();
        let outcome = world.outcome(id).await;
        assert_eq!(outcome.status().state, JobState::Succeeded, "{outcome:?}");
        assert_eq!((count("discover"), count("process"), count("gather")), (1, 4, 1));
        let gathered = world.ork.workflows().step_output(id, "gather").await.unwrap().unwrap();
        let files: Vec<_> = gathered.as_array().unwrap().iter().map(|part| part["file"].clone()).collect();
        assert_eq!(files, ["a", "bad", "c"]);
        world.end().await;
    });
}

#[test]
fn step_that_runs_on_failure_gets_null_for_failed_inputs() {
    each(|world| async move {
        let run = JobId::new();
        let mut plan = plan(run, &["a", "bad"], Some(foreach()));
        plan.steps[2].on_failure = OnFailure::Run;
        let (id, outcome) = ended(&world, &plan).await;
        assert_eq!(states(&outcome), [StepState::Succeeded, StepState::Failed, StepState::Succeeded]);
        assert_eq!(outcome.status().state, JobState::Failed);
        let gathered = world.ork.workflows().step_output(id, "gather").await.unwrap().unwrap();
        assert_eq!((gathered[0]["file"].clone(), gathered[1].clone()), (json!("a"), Value::Null));
        world.end().await;
    });
}

#[test]
fn output_that_is_no_valid_fan_out_fails_the_step_with_its_path() {
    each(|world| async move {
        for (fan_out, expected) in [
            (
                FanOut { foreach: None, parallel: Some(Count::Of(output(0, &["odd"]))) },
                "`parallel: discover.odd` is `1.5`, expected an integer from 0 to 4294967296",
            ),
            (
                FanOut { foreach: Some(output(0, &["count"])), parallel: None },
                "`foreach: discover.count` is `1`, expected a list",
            ),
            (
                FanOut { foreach: Some(output(0, &["no", "such"])), parallel: None },
                "`discover.no.such`: the output of `discover` has no field `no`",
            ),
        ] {
            let (id, outcome) = ended(&world, &plan(JobId::new(), &["a"], Some(fan_out))).await;
            assert_eq!(states(&outcome), [StepState::Succeeded, StepState::Failed, StepState::Skipped], "{outcome:?}");
            let process = outcome.status().run.as_ref().unwrap().steps[1].job;
            let failure = world.outcome(process).await.status().failure.clone().unwrap().to_string();
            assert!(failure.contains(expected), "{failure}");
            assert_eq!(world.ork.workflows().step_output(id, "gather").await.unwrap(), None);
        }
        world.end().await;
    });
}
