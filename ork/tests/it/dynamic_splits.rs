//! Dynamic splits: the parts of tasks that split their own job, joins, outputs, and how such jobs end.

use ork::{CancelMode, Context, Error, JobId, JobState, Parts, Result, WaitsFor, task};

use super::tasks::*;
use super::world::{each, why};

/// The data of a part when a job was split by a number.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbered {
    part: u64,
    total: u64,
}

/// Splits itself into `n` parts, each of which returns its index and its input.
#[task]
async fn rows(sheet: String, n: u64, context: Context) -> Result<String> {
    if context.is_part() {
        assert_eq!(context.parent_id(), Some(context.job_id()));
        let Numbered { part, total } = context.part_data()?;
        assert_eq!(part, context.parallel_index());
        return Ok(format!("{sheet}{part}/{total}"));
    }
    assert_eq!(context.parent_id(), None);
    context.split(n).await?;
    Ok("not joined".into())
}

#[task(join)]
async fn rows_join(parts: Parts<String>, context: Context) -> Result<String> {
    assert!(!context.is_part());
    called(&format!("{}.join", context.job_id()));
    Ok(parts.all_ok()?.collect().await?.join(" "))
}

fn rows_of(n: u64) -> String {
    (0..n).map(|part| format!("s{part}/{n}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn join_sees_all_parts_in_order_and_runs_once() {
    each(|world| async move {
        for n in [0, 1, 2, 17, 1_000] {
            let job = world.ork.submit(rows { sheet: "s".into(), n }).await.unwrap();
            assert_eq!(job.result().await.unwrap(), rows_of(n));
            assert_eq!(calls(&format!("{}.join", job.id())), 1);
            let status = job.status().await.unwrap();
            assert_eq!((status.total, status.parts.succeeded, status.parts.settled()), (Some(n), n, n));
        }
        world.end().await;
    });
}

/// Many of them are claimed and settled in one transaction, but each is sealed by its own.
#[test]
fn many_jobs_can_split_themselves_at_once() {
    each(|world| async move {
        let mut jobs = Vec::new();
        for n in 0..40 {
            jobs.push((n, world.ork.submit(rows { sheet: "s".into(), n: n % 5 }).await.unwrap()));
        }
        for (n, job) in jobs {
            assert_eq!(job.result().await.unwrap(), rows_of(n % 5));
            assert_eq!(calls(&format!("{}.join", job.id())), 1);
        }
        world.end().await;
    });
}

/// Follows a script, which determines how often it splits, whether it fails, and where it waits.
#[task(retries = 2, backoff = "1ms", chunk = 3, on_error = "stop")]
async fn scripted(run: String, script: Vec<Step>, context: Context) -> Result<String> {
    if context.is_part() {
        let data: String = context.part_data()?;
        called(&format!("{run}.{data}"));
        match data.as_str() {
            "bad" => return Err(Error::permanent("a bad part")),
            "waits" => Gate::of(&format!("{run}.part")).pass().await,
            "reports" => context.report_progress(99.0, "reported by a part"),
            _ => {}
        }
        return Ok(data);
    }
    called(&format!("{run}.function"));
    let nth = usize::try_from(context.attempt()).unwrap() - 1;
    for step in script.into_iter().filter(|step| step.attempt.is_none_or(|attempt| attempt == nth + 1)) {
        match step.what.as_str() {
            "split" => context.split_into(step.parts).await?,
            "break" => {
                // The last part cannot be serialized, and the function ignores the error.
                let parts = step.parts.into_iter().map(Ok).chain([Err(Unwritable)]);
                drop(context.split_into(parts.map(Part)).await);
            }
            "fail" => return Err(Error::new("failed on request")),
            "wait" => Gate::of(&format!("{run}.gate")).pass().await,
            "report" => context.report_progress(20.0, "The job is split"),
            "child" => drop(context.submit(greet { name: run.clone() }).await?),
            other => panic!("{other}"),
        }
    }
    Ok("by the function".into())
}

/// A part that may not be serializable.
struct Part(std::result::Result<String, Unwritable>);

impl serde::Serialize for Part {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(part) => part.serialize(serializer),
            Err(part) => part.serialize(serializer),
        }
    }
}

/// One step of a script, for every attempt or for one.
#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Step {
    what: String,
    parts: Vec<String>,
    attempt: Option<usize>,
}

fn step(attempt: Option<usize>, what: &str, parts: &[&str]) -> Step {
    Step { what: what.into(), parts: parts.iter().map(|part| (*part).to_owned()).collect(), attempt }
}

fn run_of(script: Vec<Step>) -> (String, scripted) {
    let run = JobId::new().to_string();
    (run.clone(), scripted { run, script })
}

#[test]
fn output_without_a_join_is_the_return_value_of_the_function() {
    each(|world| async move {
        for parts in [&[][..], &["a"], &["a", "b", "c", "d", "e", "f", "g"]] {
            let (run, job) = run_of(vec![step(None, "split", parts)]);
            let job = world.ork.submit(job).await.unwrap();
            assert_eq!(job.result().await.unwrap(), "by the function");
            assert!(parts.iter().all(|part| calls(&format!("{run}.{part}")) == 1));
            assert_eq!(job.status().await.unwrap().parts.succeeded, u64::try_from(parts.len()).unwrap());
        }
        world.end().await;
    });
}

#[test]
fn job_does_not_end_before_its_function_has_returned() {
    each(|world| async move {
        let script =
            vec![step(None, "split", &["a", "reports", "c"]), step(None, "report", &[]), step(None, "wait", &[])];
        let (run, job) = run_of(script);
        let job = world.ork.submit(job).await.unwrap();
        let status = world.until(job.id(), |status| status.parts.succeeded == 3 && status.progress.is_some()).await;
        assert_eq!((status.state, status.total, status.yielded), (JobState::Running, None, 3));
        let progress = status.progress.unwrap();
        assert_eq!(
            (progress.percent, progress.info.as_str()),
            (20.0, "The job is split"),
            "progress of parts is not that of the job"
        );
        let why = world.ork.why(job.id()).await.unwrap();
        assert_eq!(why.waits_for, WaitsFor::Split);
        assert!(why.sentence.contains("3 parts so far, 3 ended"), "{why}");
        Gate::of(&format!("{run}.gate")).open();
        assert_eq!(job.result().await.unwrap(), "by the function");
        world.end().await;
    });
}

#[test]
fn function_that_fails_after_its_split_makes_new_parts_when_retried() {
    each(|world| async move {
        let script = vec![
            step(Some(1), "split", &["old", "old", "old", "old"]),
            step(Some(1), "fail", &[]),
            step(Some(2), "split", &["new", "new"]),
        ];
        let (run, job) = run_of(script);
        let job = world.ork.submit(job).await.unwrap();
        assert_eq!(job.result().await.unwrap(), "by the function");
        let status = job.status().await.unwrap();
        assert_eq!((status.total, status.parts.succeeded, status.parts.settled()), (Some(2), 2, 2));
        assert_eq!(status.failure, None, "the earlier failure is gone");
        assert_eq!((calls(&format!("{run}.new")), calls(&format!("{run}.function"))), (2, 2));
        world.end().await;
    });
}

#[test]
fn retry_that_does_not_split_leaves_the_job_without_parts() {
    each(|world| async move {
        let (_, job) = run_of(vec![step(Some(1), "split", &["a", "b", "c"]), step(Some(1), "fail", &[])]);
        let job = world.ork.submit(job).await.unwrap();
        assert_eq!(job.result().await.unwrap(), "by the function");
        let status = job.status().await.unwrap();
        assert_eq!((status.total, status.yielded, status.parts.settled()), (None, 0, 0));
        world.end().await;
    });
}

#[test]
fn function_that_fails_every_attempt_after_its_split_stops_the_parts() {
    each(|world| async move {
        let (run, job) = run_of(vec![step(None, "split", &["waits", "a"]), step(None, "fail", &[])]);
        let job = world.ork.submit(job).await.unwrap();
        let outcome = job.wait().await.unwrap();
        assert_eq!(why(&outcome), "failed on request");
        assert_eq!(calls(&format!("{run}.function")), 3);
        world.end().await;
    });
}

/// Otherwise the remaining parts would be missing unnoticed.
#[test]
fn function_that_ignores_a_failed_split_fails() {
    each(|world| async move {
        let (_, job) = run_of(vec![step(None, "break", &["a", "b", "c", "d"])]);
        let outcome = world.ork.submit(job).await.unwrap().wait().await.unwrap();
        assert_eq!(why(&outcome), "the task returned before its split had finished");
        world.end().await;
    });
}

#[test]
fn job_with_parts_and_children_waits_for_both() {
    each(|world| async move {
        let (_, job) = run_of(vec![step(None, "child", &[]), step(None, "split", &["a", "b"])]);
        let job = world.ork.submit(job).await.unwrap();
        assert_eq!(job.result().await.unwrap(), "by the function");
        let status = job.status().await.unwrap();
        assert_eq!((status.parts.succeeded, status.below, status.below_ended), (2, 1, 1));
        world.end().await;
    });
}

#[test]
fn cancel_during_a_dynamic_split_is_final() {
    each(|world| async move {
        let script =
            vec![step(None, "split", &["a", "waits"]), step(None, "wait", &[]), step(None, "split", &["never"])];
        let (run, job) = run_of(script);
        let job = world.ork.submit(job).await.unwrap();
        Gate::of(&format!("{run}.gate")).entered().await;
        Gate::of(&format!("{run}.part")).entered().await;
        world.until(job.id(), |status| status.parts.succeeded == 1).await;
        job.cancel(CancelMode::Immediate).await.unwrap();
        Gate::of(&format!("{run}.gate")).open();
        Gate::of(&format!("{run}.part")).open();
        let status = world.outcome(job.id()).await.status().clone();
        assert_eq!((status.state, status.parts.settled(), status.parts.cancelled), (JobState::Cancelled, 2, 1));
        // Its function had not returned, so it is unknown whether these parts are all of them: the function runs
        // again, in a new attempt.
        world.ork.retry(job.id()).await.unwrap();
        Gate::of(&format!("{run}.gate")).open();
        Gate::of(&format!("{run}.part")).open();
        let outcome = world.outcome(job.id()).await;
        assert_eq!(
            why(&outcome),
            format!("job {} was already split: an attempt can split its job only once", job.id())
        );
        assert_eq!(calls(&format!("{run}.never")), 0);
        world.end().await;
    });
}

#[test]
fn first_failed_part_stops_the_others_and_the_job_fails_once_its_function_returns() {
    each(|world| async move {
        let parts: Vec<_> = std::iter::once("bad").chain((0..2_000).map(|_| "a")).collect();
        let (run, job) = run_of(vec![step(None, "split", &parts), step(None, "wait", &[])]);
        let job = world.ork.submit(job).await.unwrap();
        world.until(job.id(), |status| status.parts.failed == 1).await;
        Gate::of(&format!("{run}.gate")).open();
        let outcome = job.wait().await.unwrap();
        assert!(why(&outcome).starts_with("1 of "), "{outcome:?}");
        assert_eq!((calls(&format!("{run}.bad")), calls(&format!("{run}.function"))), (1, 1));
        assert_eq!(outcome.output(), None);
        world.end().await;
    });
}

/// Calls that run when their process ends are completed by the next process.
#[test]
fn another_process_continues_with_the_parts() {
    each(|world| async move {
        let (run, job) = run_of(vec![step(None, "split", &["waits", "a"]), step(None, "wait", &[])]);
        let Some(other) = world.another().await else { return world.end().await };
        let job = other.submit(job).await.unwrap().id();
        Gate::of(&format!("{run}.gate")).entered().await;
        Gate::of(&format!("{run}.part")).entered().await;
        world.ork.worker().kill();
        let (ork, _, _folder) = world.parts();
        ork.shutdown().await;
        let status = other.status(job).await.unwrap();
        assert_eq!((status.state, status.attempt, status.yielded), (JobState::Ready, 1, 2));
        for gate in ["gate", "part"] {
            // Once for the calls that wait there already, and once for later calls.
            Gate::of(&format!("{run}.{gate}")).open();
            Gate::of(&format!("{run}.{gate}")).open();
        }
        other.spawn_worker();
        let outcome = other.wait(job).await.unwrap();
        assert_eq!(outcome.into_output::<String>().unwrap(), "by the function");
        let status = other.status(job).await.unwrap();
        assert_eq!((status.total, status.parts.succeeded, status.attempt), (Some(2), 2, 1));
        other.shutdown().await;
    });
}
