//! Metrics that tasks record are aggregated per job.

use ork::workflow::{Count, FanOut, Plan, Runs, Source, Step};
use ork::{Context, JobId, JobState, Metric, Parts, task};
use serde_json::json;

#[cfg(feature = "workflow")]
use super::world::builder;
use super::world::each;

#[task]
async fn weigh(number: u64, context: Context) -> u64 {
    let parity = if number.is_multiple_of(2) { "even" } else { "odd" };
    context.metrics().record("size", f64::from(u32::try_from(number).unwrap()), &[("parity", parity)]);
    number
}

#[task(part)]
fn weigh_part(count: u64) -> impl Iterator<Item = weigh> {
    (0..count).map(|number| weigh { number })
}

#[task(join)]
fn weigh_join(parts: Parts<u64>, context: Context) -> usize {
    context.metrics().record("parts", 1.0, &[]);
    parts.all_ok().map(|all| all.into_iter().count()).unwrap_or_default()
}

/// Records many metrics, and some that are not accepted.
#[task]
async fn measure_much(names: u64, context: Context) {
    for n in 0..names {
        context.metrics().record(&format!("n{n:04}"), 1.0, &[]);
    }
    context.metrics().record("", 1.0, &[]);
    context.metrics().record("never", f64::NAN, &[]);
    context.metrics().record("never", f64::INFINITY, &[]);
    context.metrics().record(&"x".repeat(201), 1.0, &[]);
    context.metrics().record("labels", 1.0, &[("a", "1"); 17]);
}

#[task]
async fn measure_parent(name: String, context: Context) -> ork::Result<()> {
    context.metrics().record("requested", 1.0, &[("name", &name)]);
    context.submit(measure_much { names: 2 }).await?;
    Ok(())
}

/// Records a metric in every attempt, and fails all but the last.
#[task(retries = 2, backoff = "1ms")]
async fn measure_attempts(context: Context) -> ork::Result<()> {
    let attempt = context.attempt();
    context.metrics().record("tried", f64::from(attempt), &[]);
    if attempt < 3 { Err(ork::Error::new("not yet")) } else { Ok(()) }
}

fn summary(metrics: &[Metric]) -> Vec<(&str, &str, u64, f64)> {
    metrics.iter().map(|metric| (&*metric.task, &*metric.name, metric.count, metric.sum)).collect()
}

#[test]
fn metrics_of_parts_add_up_in_their_job() {
    each(|world| async move {
        let job = world.ork.submit(weigh_part { count: 101 }).await.unwrap();
        job.wait().await.unwrap();
        let metrics = world.ork.metrics(job.id()).await.unwrap();
        let labelled: Vec<_> = metrics.iter().map(|metric| metric.labels.get("parity").map(String::as_str)).collect();
        assert_eq!(labelled, [None, Some("even"), Some("odd")], "{metrics:?}");
        let task = "weigh";
        assert_eq!(
            summary(&metrics),
            [(task, "parts", 1, 1.0), (task, "size", 51, 2550.0), (task, "size", 50, 2500.0)]
        );
        assert_eq!((metrics[1].min, metrics[1].max, metrics[1].mean()), (0.0, 100.0, 50.0));
        world.end().await;
    });
}

#[test]
fn metrics_of_a_child_job_are_its_own_and_count_for_its_parent() {
    each(|world| async move {
        let job = world.ork.submit(measure_parent { name: "Ada".into() }).await.unwrap();
        job.wait().await.unwrap();
        let metrics = world.ork.metrics(job.id()).await.unwrap();
        let much = "measure_much";
        let expected = [("measure_parent", "requested", 1, 1.0), (much, "n0000", 1, 1.0), (much, "n0001", 1, 1.0)];
        let mut found = summary(&metrics);
        found.sort_by_key(|(task, name, ..)| (*task != "measure_parent", *name));
        assert_eq!(found, expected);
        let child = metrics.iter().find(|metric| metric.task == much).unwrap().job;
        assert_eq!(summary(&world.ork.metrics(child).await.unwrap()), expected[1..]);
        let error = world.ork.metrics(JobId::new()).await.unwrap_err();
        assert!(error.to_string().contains("there is no job"), "{error}");
        world.end().await;
    });
}

/// Metrics describe work that was done, and a failed attempt has done work, too.
#[test]
fn each_attempt_records_its_metrics_once() {
    each(|world| async move {
        let job = world.ork.submit(measure_attempts {}).await.unwrap();
        job.result().await.unwrap();
        let metrics = world.ork.metrics(job.id()).await.unwrap();
        assert_eq!(summary(&metrics), [("measure_attempts", "tried", 3, 6.0)]);
        assert_eq!((metrics[0].min, metrics[0].max, metrics[0].last), (1.0, 3.0, 3.0));
        world.end().await;
    });
}

#[test]
fn job_keeps_a_limited_number_of_metric_names() {
    each(|world| async move {
        let job = world.ork.submit(measure_much { names: 1_010 }).await.unwrap();
        job.result().await.unwrap();
        let metrics = world.ork.metrics(job.id()).await.unwrap();
        assert_eq!((metrics.len(), &*metrics[999].name), (1_000, "n0999"));
        world.end().await;
    });
}

/// The process ends right after the job, and another process reads all values.
#[test]
fn metrics_are_kept_when_the_process_ends() {
    each(|world| async move {
        let Some(other) = world.another().await else { return };
        let mut jobs = Vec::new();
        for _ in 0..20 {
            jobs.push(world.ork.submit(weigh_part { count: 20 }).await.unwrap().id());
        }
        for job in &jobs {
            world.ork.wait(*job).await.unwrap();
        }
        let (ork, _store, _folder) = world.parts();
        ork.shutdown().await;
        for job in jobs {
            let count: u64 = other.metrics(job).await.unwrap().iter().map(|metric| metric.count).sum();
            assert_eq!(count, 21);
        }
        other.shutdown().await;
    });
}

fn step(name: &str, runs: Runs, needs: &[usize]) -> Step {
    Step { needs: needs.to_vec(), ..Step::new(name, runs) }
}

#[test]
fn workflow_run_shows_the_metrics_of_its_steps() {
    each(|world| async move {
        let rust = |task: &str| Runs::Rust { task: task.into() };
        let mut many = step("many", rust("measure_much"), &[]);
        many.input.insert("names".into(), Source::Value(json!(1)));
        many.fan_out = Some(FanOut { foreach: None, parallel: Some(Count::Fixed(4)) });
        let mut much = step("much", rust("measure_much"), &[0]);
        much.input.insert("names".into(), Source::Value(json!(1)));
        let plan = Plan { name: "measured".into(), folder: None, steps: vec![many, much] };
        let run = world.ork.workflows().submit(&plan).await.unwrap();
        let outcome = run.wait().await.unwrap();
        assert_eq!(outcome.status().state, JobState::Succeeded, "{outcome:?}");
        let metrics = world.ork.metrics(run.id()).await.unwrap();
        let mut found: Vec<_> =
            metrics.iter().map(|metric| (metric.step.as_deref().unwrap(), &*metric.name, metric.count)).collect();
        found.sort_unstable();
        assert_eq!(found, [("many", "n0000", 4), ("much", "n0000", 1)]);
        world.end().await;
    });
}

#[cfg(feature = "workflow")]
#[test]
fn metrics_of_a_python_task_are_kept() {
    let Some(python) = super::installed::python() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let code = "from ork import Context\n\ndef main(ctx: Context, rows: int):\n    for row in range(rows):\n        \
                    ctx.metrics.record('bytes', row, table='users')\n    return rows\n";
        std::fs::write(folder.path().join("load.py"), code).unwrap();
        let mut load = step("load", Runs::Python { file: "load.py".into() }, &[]);
        load.input.insert("rows".into(), Source::Value(json!(5)));
        let place = folder.path().display().to_string();
        let plan = Plan { name: "python".into(), folder: Some(place), steps: vec![load] };
        let ork = builder("memory:").set("python", python).build().await.unwrap();
        ork.spawn_worker();
        let run = ork.workflows().submit(&plan).await.unwrap();
        let outcome = run.wait().await.unwrap();
        assert_eq!(outcome.status().state, JobState::Succeeded, "{outcome:?}");
        let metrics = ork.metrics(run.id()).await.unwrap();
        let [metric] = &metrics[..] else { panic!("{metrics:?}") };
        assert_eq!((metric.step.as_deref(), &*metric.name, metric.count), (Some("load"), "bytes", 5));
        assert_eq!((metric.sum, metric.last, &*metric.labels["table"]), (10.0, 4.0, "users"));
        ork.shutdown().await;
    });
}
