//! Metrics of jobs are added up, within bounds, and are removed with their job.

use ork::{JobId, Metric, Timestamp};
use ork_core::job::Job;
use ork_core::metric::{Delta, MOST_SERIES, Measured, Series};
use ork_core::role::JobRole;
use ork_core::tx::{Actor, Cancel};
use ork_ports::store::{MetricsOf, Prune};

use super::world::{START, World, each, on};

fn series(name: &str, labels: &[(&str, &str)]) -> Series {
    Series::new(name, labels).unwrap()
}

fn delta(job: JobId, series: Series, value: f64, secs: i64) -> Delta {
    Delta { job, series, measured: Measured::one(value, Timestamp::from_millis(1_000 * secs)) }
}

async fn of(world: &World, job: JobId) -> Vec<Metric> {
    world.store.metrics(MetricsOf::Job(job)).await.unwrap()
}

fn names(metrics: &[Metric]) -> Vec<&str> {
    metrics.iter().map(|metric| &*metric.name).collect()
}

#[test]
fn recorded_values_add_up() {
    each(|world| async move {
        let id = world.submit("one").await;
        let users = || series("rows", &[("table", "users"), ("a\"\0", "ü")]);
        let first = vec![
            delta(id, users(), 3.0, 5),
            delta(id, series("rows", &[]), 1.0, 1),
            delta(id, users(), -1.5, 7),
            delta(JobId::new(), users(), 1.0, 1),
        ];
        assert!(world.store.record(first).await.unwrap().is_empty());
        // A later record may have an earlier time.
        assert!(world.store.record(vec![delta(id, users(), 10.0, 6)]).await.unwrap().is_empty());
        assert!(world.store.record(Vec::new()).await.unwrap().is_empty());
        let metrics = of(&world, id).await;
        assert_eq!(names(&metrics), ["rows", "rows"]);
        let [labelled, plain] = &metrics[..] else { panic!("{metrics:?}") };
        let labels = [("a\"\0".to_owned(), "ü".to_owned()), ("table".to_owned(), "users".to_owned())];
        assert_eq!((labelled.labels.clone(), labelled.count, labelled.sum), (labels.into(), 3, 11.5));
        assert_eq!((labelled.min, labelled.max, labelled.last), (-1.5, 10.0, -1.5));
        assert_eq!((labelled.at, &*labelled.task, &labelled.step), (Timestamp::from_millis(7_000), "one", &None));
        assert_eq!((plain.count, plain.sum, plain.labels.len()), (1, 1.0, 0));
        assert!(of(&world, JobId::new()).await.is_empty());
    });
}

#[test]
fn sums_of_the_largest_numbers_saturate() {
    each(|world| async move {
        let id = world.submit("one").await;
        for value in [f64::MAX, f64::MAX, 5e-324] {
            let low = delta(id, series("low", &[]), -value, 1);
            world.store.record(vec![delta(id, series("high", &[]), value, 1), low]).await.unwrap();
        }
        let metrics = of(&world, id).await;
        let found: Vec<_> = metrics.iter().map(|metric| (metric.count, metric.sum, metric.min, metric.max)).collect();
        assert_eq!(found, [(3, f64::MAX, 5e-324, f64::MAX), (3, f64::MIN, f64::MIN, -5e-324)]);
    });
}

#[test]
fn the_number_of_series_per_job_is_limited() {
    each(|world| async move {
        let (id, other) = (world.submit("one").await, world.submit("two").await);
        let of_number = |n: usize| delta(id, series(&format!("n{n:05}"), &[]), 1.0, 1);
        let page = (0..MOST_SERIES - 1).map(of_number).collect();
        assert!(world.store.record(page).await.unwrap().is_empty());
        let more = vec![of_number(7), of_number(90_001), of_number(90_002), delta(other, series("a", &[]), 1.0, 1)];
        assert_eq!(world.store.record(more.clone()).await.unwrap(), [id]);
        assert_eq!(world.store.record(more).await.unwrap(), [id]);
        let metrics = of(&world, id).await;
        let counts: Vec<_> = metrics.iter().filter(|metric| metric.count != 1).map(|metric| &*metric.name).collect();
        assert_eq!((metrics.len(), counts.len()), (MOST_SERIES, 2), "{counts:?}");
        assert_eq!(of(&world, other).await[0].count, 2);
    });
}

#[test]
fn metrics_of_a_tree_include_all_jobs_and_step_names() {
    each(|world| async move {
        let root = world.submit("root").await;
        let role = Some(Box::new(JobRole::Step { at: 0, name: "load".into() }));
        let child = Job { root, parent: Some(root), role, ..Job::new(JobId::new(), "child", START) };
        let child = world.submit_with(child).await;
        let alone = world.submit("alone").await;
        let page = [root, child, alone].map(|job| delta(job, series("n", &[]), 1.0, 1)).to_vec();
        world.store.record(page).await.unwrap();
        let metrics = world.store.metrics(MetricsOf::Tree(root)).await.unwrap();
        let found: Vec<_> = metrics.iter().map(|metric| (metric.job, &*metric.task, metric.step.as_deref())).collect();
        let mut expected = vec![(root, "root", None), (child, "child", Some("load"))];
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(of(&world, child).await.len(), 1);
    });
}

#[test]
fn metrics_are_removed_with_their_job() {
    each(|world| async move {
        let (id, stays) = (world.submit("one").await, world.submit("two").await);
        world.store.record([id, stays].map(|job| delta(job, series("n", &[]), 1.0, 1)).to_vec()).await.unwrap();
        world.apply(Cancel::new(id, Actor { now: START, ..world.by() })).await;
        let before = Timestamp::from_millis(START.as_millis() + 1);
        assert_eq!(world.store.prune(Prune { jobs: vec![id], before, parts: 10 }).await.unwrap().jobs, 1);
        assert!(of(&world, id).await.is_empty());
        // Nothing of it reappears for a job with the same id or the same row number.
        world.store.record(vec![delta(id, series("n", &[]), 1.0, 1)]).await.unwrap();
        world.submit_with(Job::new(id, "again", START)).await;
        let next = world.submit("next").await;
        assert!(of(&world, id).await.is_empty() && of(&world, next).await.is_empty());
        assert_eq!(of(&world, stays).await.len(), 1);
    });
}

/// Three processes record for the same jobs at the same time, while another task claims these jobs.
#[test]
fn concurrent_records_lose_nothing_over_postgres() {
    on(async {
        let Some(url) = super::postgres::database().await else { return };
        let worlds = [World::postgres(&url).await, World::postgres(&url).await, World::postgres(&url).await];
        let mut jobs = Vec::new();
        for _ in 0..20 {
            jobs.push(worlds[0].submit("one").await);
        }
        let jobs = &jobs;
        let record = |world: &World, turn: usize| {
            let store = std::sync::Arc::clone(&world.store);
            let jobs = jobs.clone();
            async move {
                for round in 0..20 {
                    let mut page: Vec<_> = jobs
                        .iter()
                        .flat_map(|job| ["a", "b"].map(|n| delta(*job, series(n, &[]), 1.0, round)))
                        .collect();
                    page.rotate_left(turn * 7);
                    store.record(page).await.unwrap();
                }
            }
        };
        let work = async {
            for job in jobs {
                worlds[1].claim(*job, ork_core::job::Phase::Start, 1).await;
            }
        };
        tokio::join!(record(&worlds[0], 0), record(&worlds[1], 1), record(&worlds[2], 2), work);
        for job in jobs {
            assert!(of(&worlds[0], *job).await.iter().all(|metric| metric.count == 60));
        }
        for world in worlds {
            world.store.close().await;
        }
    });
}
