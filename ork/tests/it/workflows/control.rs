//! Controlling workflow runs: cancel, retry of one step, limits, attempts.

use ork::workflow::{Count, FanOut, OnFailure, Plan, Runs, Source, Step};
use ork::{CancelMode, Context, JobId, JobOutcome, JobState, Result, StepState, WaitsFor, task};
use serde_json::json;

use super::super::tasks::{Gate, called, calls};
use super::super::world::each;
use super::{ended, output, states, step};

#[task]
async fn flow_gated(run: String, item: Option<u64>) -> u64 {
    called(&run);
    Gate::of(&run).pass().await;
    item.unwrap_or_default()
}

#[task]
fn flow_list(run: String, n: u64) -> Vec<u64> {
    called(&format!("{run}.list"));
    (0..n).collect()
}

#[task]
fn flow_flaky(run: String, context: Context) -> Result<u32> {
    called(&run);
    if context.attempt() < 3 { Err(ork::Error::new("not yet")) } else { Ok(context.attempt()) }
}

#[task]
async fn flow_slow(run: String) {
    called(&run);
    std::future::pending::<()>().await;
}

fn of(task: &str, run: JobId, needs: &[usize]) -> Step {
    Step { runs: Runs::Rust { task: format!("flow_{task}") }, ..step(task, run, needs) }
}

fn workflow(tasks: Vec<Step>) -> Plan {
    Plan { name: "controlled".into(), folder: None, steps: tasks }
}

/// A list of `n` items, and a gated instance for each of them.
fn gates(run: JobId, n: u64) -> Plan {
    let mut list = of("list", run, &[]);
    list.input.insert("n".into(), Source::Value(json!(n)));
    let mut gated = of("gated", run, &[0]);
    gated.fan_out = Some(FanOut { foreach: Some(output(0, &[])), parallel: None });
    workflow(vec![list, gated])
}

#[test]
fn cancelled_run_starts_nothing_more_and_a_retry_continues_it() {
    each(|world| async move {
        let run = JobId::new();
        let mut plan = gates(run, 2);
        plan.steps.push(of("list", run, &[1]));
        plan.steps[2].name = "after".into();
        plan.steps[2].input.insert("n".into(), Source::Value(json!(1)));
        let handle = world.ork.workflows().submit(&plan).await.unwrap();
        let gate = Gate::of(&run.to_string());
        gate.entered().await;
        gate.entered().await;
        world.ork.cancel(handle.id(), CancelMode::Immediate).await.unwrap();
        let outcome = handle.wait().await.unwrap();
        assert_eq!(outcome.status().state, JobState::Cancelled, "{outcome:?}");
        assert_eq!(states(&outcome), [StepState::Succeeded, StepState::Cancelled, StepState::Skipped]);
        // After a retry, the instances that were stopped run again, and the step that never started runs.
        world.ork.retry(handle.id()).await.unwrap();
        gate.entered().await;
        gate.entered().await;
        // The stopped calls may wait at the gate for a moment longer.
        (0..4).for_each(|_| gate.open());
        let outcome = world.outcome(handle.id()).await;
        assert_eq!(outcome.status().state, JobState::Succeeded, "{outcome:?}");
        assert_eq!(states(&outcome), [StepState::Succeeded; 3]);
        assert_eq!((calls(&run.to_string()), calls(&format!("{run}.list"))), (4, 2));
        world.end().await;
    });
}

#[test]
fn gracefully_cancelled_run_finishes_running_steps_and_starts_no_others() {
    each(|world| async move {
        let run = JobId::new();
        let mut plan = gates(run, 2);
        plan.steps.push(of("list", run, &[1]));
        plan.steps[2].name = "after".into();
        let handle = world.ork.workflows().submit(&plan).await.unwrap();
        let gate = Gate::of(&run.to_string());
        gate.entered().await;
        gate.entered().await;
        let why = world.ork.why(handle.id()).await.unwrap();
        let [gated] = why.below.as_slice() else { panic!("{why}") };
        // Its instances start before the number of them is known.
        assert!(matches!(gated.waits_for, WaitsFor::Split | WaitsFor::Parts), "{why}");
        assert_eq!(gated.step.as_deref(), Some("gated"));
        assert!(why.to_string().contains(&format!("\n  `gated` is {}: {}", gated.state, gated.sentence)), "{why}");
        world.ork.cancel(handle.id(), CancelMode::Graceful).await.unwrap();
        gate.open();
        gate.open();
        let outcome = handle.wait().await.unwrap();
        assert_eq!(outcome.status().state, JobState::Cancelled, "{outcome:?}");
        assert_eq!(states(&outcome)[2], StepState::Skipped);
        assert_eq!(calls(&format!("{run}.list")), 1, "only the first one");
        let gated = outcome.status().run.as_ref().unwrap().steps[1].job;
        assert_eq!(world.ork.status(gated).await.unwrap().parts.succeeded, 2, "started calls were not stopped");
        world.end().await;
    });
}

/// Fails until its third call.
#[task]
fn flow_third(run: String) -> Result<u32> {
    if called(&run) < 3 { Err(ork::Error::permanent("not yet")) } else { Ok(3) }
}

#[task]
async fn flow_parent(run: String, context: Context) -> Result<String> {
    called(&format!("{run}.parent"));
    context.submit(flow_third { run: run.clone() }).await?;
    Ok(run)
}

#[test]
fn retry_of_a_run_reaches_the_jobs_that_its_steps_have_submitted() {
    each(|world| async move {
        let run = JobId::new();
        let (id, mut outcome) = ended(&world, &workflow(vec![of("parent", run, &[])])).await;
        for _ in 0..2 {
            assert_eq!(states(&outcome), [StepState::Failed], "{outcome:?}");
            world.ork.retry(id).await.unwrap();
            outcome = world.outcome(id).await;
        }
        assert_eq!((outcome.status().state, states(&outcome)), (JobState::Succeeded, vec![StepState::Succeeded]));
        assert_eq!((calls(&run.to_string()), calls(&format!("{run}.parent"))), (3, 1));
        world.end().await;
    });
}

#[test]
fn single_step_of_an_ended_run_can_be_retried_and_the_run_continues() {
    each(|world| async move {
        let run = JobId::new();
        let mut after = of("list", run, &[0]);
        after.input.insert("n".into(), Source::Value(json!(1)));
        let (id, mut outcome) = ended(&world, &workflow(vec![of("third", run, &[]), after])).await;
        let job = outcome.status().run.as_ref().unwrap().steps[0].job;
        // The step fails twice and then succeeds, and the run ends with it each time.
        for _ in 0..2 {
            assert_eq!((outcome.status().state, calls(&format!("{run}.list"))), (JobState::Failed, 0));
            assert_eq!(states(&outcome), [StepState::Failed, StepState::Skipped]);
            world.ork.retry(job).await.unwrap();
            outcome = world.outcome(id).await;
        }
        assert_eq!((outcome.status().state, states(&outcome)), (JobState::Succeeded, vec![StepState::Succeeded; 2]));
        assert_eq!((calls(&run.to_string()), calls(&format!("{run}.list"))), (3, 1));
        world.end().await;
    });
}

/// Fails at its first call in a run; after that, returns its input.
#[task]
fn flow_cautious(run: String, given: Option<u32>) -> Result<Option<u32>> {
    let first = called(&format!("{run}.cautious")) == 1;
    if first { Err(ork::Error::permanent("given nothing")) } else { Ok(given) }
}

/// Steps that run on failure: `of_third` gets the output of `third`, and `last` that of `of_third`.
fn anyway(run: JobId) -> Plan {
    let given = |name: &str, task: &str, needs: usize| {
        let mut step = Step { name: name.into(), on_failure: OnFailure::Run, ..of(task, run, &[needs]) };
        step.input.insert("given".into(), Source::Output(output(needs, &[])));
        step
    };
    workflow(vec![of("third", run, &[]), given("of_third", "cautious", 0), given("last", "cautious", 1)])
}

#[test]
fn retry_restarts_steps_that_ran_without_the_retried_step() {
    each(|world| async move {
        let run = JobId::new();
        let (id, mut outcome) = ended(&world, &anyway(run)).await;
        // The first call of `cautious` is that of `of_third`, which fails; `last` gets `null`, and succeeds.
        assert_eq!(states(&outcome), [StepState::Failed, StepState::Failed, StepState::Succeeded], "{outcome:?}");
        let jobs = |outcome: &JobOutcome| outcome.status().run.as_ref().unwrap().steps.clone();
        let first = jobs(&outcome);
        for _ in 0..2 {
            assert_eq!(outcome.status().state, JobState::Failed);
            world.ork.retry(id).await.unwrap();
            outcome = world.outcome(id).await;
        }
        assert_eq!((outcome.status().state, states(&outcome)), (JobState::Succeeded, vec![StepState::Succeeded; 3]));
        for task in ["third", "of_third", "last"] {
            assert_eq!(world.ork.workflows().step_output(id, task).await.unwrap(), Some(json!(3)), "{task}");
        }
        // Each step has two more jobs beside its first one, one of which failed: those no longer count.
        let last = jobs(&outcome);
        assert_eq!((first[0].job, calls(&format!("{run}.cautious"))), (last[0].job, 6));
        assert_eq!(world.ork.status(id).await.unwrap().below, 7);
        let refused = world.ork.retry(first[1].job).await.unwrap_err().to_string();
        let expected = format!("its workflow run runs the step again as job {}", last[1].job);
        assert!(refused.contains(&expected), "{refused}");
        world.end().await;
    });
}

#[test]
fn options_of_a_step_override_those_of_its_task() {
    each(|world| async move {
        let run = JobId::new();
        let mut flaky = of("flaky", run, &[]);
        (flaky.retries, flaky.retry_delay) = (Some(2), Some(1));
        let mut slow = of("slow", run, &[]);
        slow.timeout = Some(20);
        let (id, outcome) = ended(&world, &workflow(vec![flaky, slow])).await;
        assert_eq!(states(&outcome), [StepState::Succeeded, StepState::Failed], "{outcome:?}");
        assert_eq!(world.ork.workflows().step_output(id, "flaky").await.unwrap(), Some(json!(3)));
        let slow = outcome.status().run.as_ref().unwrap().steps[1].job;
        let failure = world.outcome(slow).await.status().failure.clone().unwrap();
        assert_eq!(failure.kind, ork::FailureKind::Timeout, "{failure}");
        world.end().await;
    });
}

/// Four instances, two at a time, however many processes work.
#[test]
fn limit_of_a_step_holds_for_the_whole_run_across_processes() {
    each(|world| async move {
        let run = JobId::new();
        let mut plan = gates(run, 4);
        plan.steps[1].concurrency = Some(2);
        let other = world.another().await;
        if let Some(other) = &other {
            other.spawn_worker();
        }
        let handle = world.ork.workflows().submit(&plan).await.unwrap();
        let gate = Gate::of(&run.to_string());
        for started in 2..=4 {
            if started == 2 {
                gate.entered().await;
            }
            gate.entered().await;
            assert_eq!(calls(&run.to_string()), started, "no more than two run");
            let step = handle.status().await.unwrap().run.unwrap().steps[1].job;
            let parts = world.ork.status(step).await.unwrap().parts;
            assert!(parts.running <= 2, "{parts:?}");
            gate.open();
        }
        gate.open();
        assert_eq!(handle.wait().await.unwrap().status().state, JobState::Succeeded);
        if let Some(other) = other {
            other.shutdown().await;
        }
        world.end().await;
    });
}

#[test]
fn run_without_steps_succeeds_at_once_and_an_invalid_plan_fails() {
    each(|world| async move {
        let (_, outcome) = ended(&world, &workflow(Vec::new())).await;
        assert_eq!(outcome.status().state, JobState::Succeeded);
        let plan = workflow(vec![of("flaky", JobId::new(), &[0])]);
        let (_, outcome) = ended(&world, &plan).await;
        let failure = outcome.status().failure.as_ref().unwrap().to_string();
        assert!(
            failure.contains("step 0 of the plan, `flaky`, needs step 0, which does not come before it"),
            "{failure}"
        );
        world.end().await;
    });
}

#[test]
fn hundred_steps_in_chains_and_side_by_side_all_run() {
    each(|world| async move {
        let run = JobId::new();
        let mut tasks = Vec::new();
        for at in 0..100_usize {
            let mut task = of("list", run, &at.checked_sub(50).into_iter().collect::<Vec<_>>());
            task.name = format!("t{at}");
            task.input.insert("n".into(), Source::Value(json!(1)));
            tasks.push(task);
        }
        tasks[99].fan_out = Some(FanOut { foreach: None, parallel: Some(Count::Fixed(3)) });
        let (_, outcome) = ended(&world, &workflow(tasks)).await;
        assert_eq!(outcome.status().state, JobState::Succeeded);
        assert_eq!(calls(&format!("{run}.list")), 102);
        world.end().await;
    });
}
