//! Jobs with no parts, one and many: joined once, in order.

use ork::{Context, PartFilter, PartState, Parts, Result, task};

use super::tasks::*;
use super::world::{World, each, each_on, why};

#[test]
fn any_number_of_parts_is_joined_once() {
    each(|world| async move {
        for count in [0, 1, 2, 15, 16, 17, 1_000, 3_001] {
            let run = format!("count-{count}-{}", ork::JobId::new());
            let job = double_part { count, failing: vec![], run: run.clone() };
            let job = world.ork.submit(job).await.unwrap();
            assert_eq!(job.result().await.unwrap(), count * count.saturating_sub(1));
            let status = job.status().await.unwrap();
            assert_eq!((status.parts.succeeded, status.parts.settled(), status.parts.running), (count, count, 0));
            assert_eq!(status.total, Some(count));
            assert!((0..count).all(|number| calls(&format!("{run}.{number}")) == 1));
            assert_eq!(calls(&format!("{run}.split")), 1);
        }
        world.end().await;
    });
}

#[test]
fn hundred_thousand_parts_are_joined() {
    each(|world| async move {
        let run = ork::JobId::new().to_string();
        let sum = world.ork.submit(double_part { count: 100_000, failing: vec![], run }).result().await.unwrap();
        assert_eq!(sum, 100_000 * 99_999);
        world.end().await;
    });
}

#[test]
fn join_sees_every_outcome_in_order() {
    each(|world| async move {
        let output = world.ork.submit(seen_part { count: 7 }).result().await.unwrap();
        assert_eq!(output, "0!a third one 1=1 2=2 3!a third one 4=4 5=5 6!a third one");
        world.end().await;
    });
}

#[test]
fn single_item_runs_without_the_split() {
    each(|world| async move {
        let run = ork::JobId::new().to_string();
        let result = world.ork.submit(double { number: 0, fail: false, run }).result().await.unwrap();
        assert_eq!(result, 0);
        world.end().await;
    });
}

#[test]
fn failed_split_is_run_again_from_its_start() {
    each(|world| async move {
        for panic in [false, true] {
            let run = ork::JobId::new().to_string();
            let job = broken_part { count: 5_000, after: 1_000, times: 1, panic, run: run.clone() };
            let job = world.ork.submit(job).await.unwrap();
            assert_eq!(job.result().await.unwrap(), 5_000 * 4_999 / 2);
            assert_eq!(calls(&format!("{run}.split")), 2);
            assert_eq!(calls(&format!("{}.join", job.id())), 1);
        }
        world.end().await;
    });
}

#[test]
fn split_that_always_fails_fails_its_job_and_stops_the_parts() {
    each(|world| async move {
        let run = ork::JobId::new().to_string();
        let job = broken_part { count: 5_000, after: 1_000, times: 9, panic: false, run };
        let job = world.ork.submit(job).await.unwrap();
        let outcome = job.wait().await.unwrap();
        assert_eq!(why(&outcome), "the split broke at 1000");
        assert_eq!(calls(&format!("{}.join", job.id())), 0);
        world.end().await;
    });
}

#[test]
fn parts_of_a_batch_end_independently() {
    each(|world| async move {
        let run = ork::JobId::new().to_string();
        let count = 5_000;
        let job = world.ork.submit(mixed_part { count, run: run.clone() }).await.unwrap();
        assert_eq!(job.result().await.unwrap(), (count - 2 * count / 100, 2 * count / 100));
        for number in 0..count {
            let expected = match (number % 10, number % 100) {
                (7, _) | (_, 9) => 2,
                _ => 1,
            };
            assert_eq!(calls(&format!("{run}.{number}")), expected, "{number}");
        }
        world.end().await;
    });
}

/// Reports progress, and waits at the gate.
#[task]
async fn step(key: String, number: u64, context: Context) -> u64 {
    context.report_progress(50.0, format!("half of {number}"));
    Gate::of(&key).pass().await;
    number
}

#[task(part)]
fn step_part(key: String, count: u64) -> impl Iterator<Item = step> {
    (0..count).map(move |number| step { key: key.clone(), number })
}

async fn listed(world: &World, id: ork::JobId) -> Vec<(PartState, u32, Option<String>)> {
    let parts = world.ork.parts(id, PartFilter { limit: 10, ..PartFilter::default() }).await.unwrap();
    parts.into_iter().map(|part| (part.state, part.attempts, part.progress.map(|progress| progress.info))).collect()
}

#[test]
fn every_part_reports_progress_and_the_job_counts_settled_parts() {
    each(|world| async move {
        let key = ork::JobId::new().to_string();
        let job = world.ork.submit(step_part { key: key.clone(), count: 3 }).await.unwrap();
        let runs = |number: u64| (PartState::Running, 1, Some(format!("half of {number}")));
        let expected: Vec<_> = (0..3).map(runs).collect();
        // Starts and progress are written soon, not immediately.
        while listed(&world, job.id()).await != expected {
            tokio::task::yield_now().await;
        }
        // The split may not have been sealed yet.
        let status = world.until(job.id(), |status| status.total.is_some()).await;
        assert_eq!((status.percent(), status.progress), (Some(0.0), None));
        for _ in 0..3 {
            Gate::of(&key).open();
        }
        job.wait().await.unwrap();
        assert_eq!(listed(&world, job.id()).await, vec![(PartState::Succeeded, 1, None); 3]);
        let unknown = world.ork.parts(ork::JobId::new(), PartFilter::default()).await.unwrap_err();
        assert!(unknown.to_string().contains("there is no job"), "{unknown}");
        world.end().await;
    });
}

/// Returns its number.
#[task]
fn counted(number: u64) -> u64 {
    number
}

#[task(part)]
fn counted_part(count: u64) -> impl Iterator<Item = counted> {
    (0..count).map(|number| counted { number })
}

#[task(join)]
async fn counted_join(parts: Parts<u64>, context: Context) -> Result<u64> {
    called(&format!("{}.join", context.job_id()));
    parts.all_ok()?.into_iter().sum()
}

/// Regression: each of these jobs used to fail, because the iterator started a runtime within a runtime, which panics.
#[test]
fn async_join_reads_parts_by_a_plain_iterator_on_every_kind_of_runtime() {
    let threads = |number| tokio::runtime::Builder::new_multi_thread().worker_threads(number).enable_all().build();
    let test = |world: World| async move {
        for count in [0, 1, 1_300] {
            let job = world.ork.submit(counted_part { count }).await.unwrap();
            assert_eq!(job.result().await.unwrap(), count * count.saturating_sub(1) / 2);
            assert_eq!(calls(&format!("{}.join", job.id())), 1);
        }
        // If each of them blocks a thread, several at once leave none on which the parts could be read.
        let jobs: Vec<_> = (0..8).map(|_| world.ork.submit(counted_part { count: 600 }).result()).collect();
        for sum in futures_util::future::join_all(jobs).await {
            assert_eq!(sum.unwrap(), 600 * 599 / 2);
        }
        world.end().await;
    };
    each_on(|| threads(1).unwrap(), test);
    each_on(|| threads(2).unwrap(), test);
    each_on(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(), test);
}
