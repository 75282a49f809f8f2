//! Events in one process: which ones are published about a job, in which order, and to which listeners.
//!
//! If events were published before the transaction or outside it, they could report changes that never happened, and
//! the lists below would be longer: publishing `completed` when the function returns makes the retried job end twice.

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use ork::{CancelMode, ClientError, Context, EventKind, JobId, Ork, Result, task};

use super::tasks::*;
use super::world::{World, builder, each};

type Events = BoxStream<'static, std::result::Result<ork::Event, ClientError>>;

/// Reports progress, and ends right after the last report.
#[task]
async fn reports(steps: u32, context: Context) {
    for step in 1..=steps {
        context.report_progress(f64::from(step * 30), format!("step {step}"));
        tokio::task::yield_now().await;
    }
}

/// Two parts, one of which fails until the test heals it.
#[task]
fn heals_or_not(number: u32, key: String) -> Result<()> {
    if number == 1 && calls(&key) == 0 { Err(ork::Error::permanent("not yet")) } else { Ok(()) }
}

#[task(part)]
fn heals_or_not_part(key: String) -> Vec<heals_or_not> {
    (0..2).map(|number| heals_or_not { number, key: key.clone() }).collect()
}

/// Submits a child job once the gate is open.
#[task]
async fn opens(key: String, context: Context) -> Result<()> {
    Gate::of(&key).pass().await;
    context.submit(add { a: 1, b: 2 }).await?;
    Ok(())
}

/// Returns the events of a job until its end, each as its kind, state and attempt, with the index of its part.
async fn events_of(events: &mut Events, id: JobId) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let event = events.next().await.unwrap().unwrap();
        if event.job != id {
            continue;
        }
        let part = event.part.map(|index| format!(".{index}")).unwrap_or_default();
        lines.push(format!("{}{part} {} {}", event.kind, event.state(), event.attempt));
        if event.part.is_none() && event.state().is_final() {
            return lines;
        }
    }
}

#[test]
fn events_of_a_job_come_in_order() {
    each(|world| async move {
        let mut events = world.ork.events().await.unwrap();
        let job = world.ork.submit(add { a: 1, b: 2 }).await.unwrap();
        assert_eq!(
            events_of(&mut events, job.id()).await,
            ["job.created ready 1", "job.ready ready 1", "job.completed succeeded 1"]
        );

        let job = world.ork.submit(fails { message: "no".into() }).await.unwrap();
        assert_eq!(
            events_of(&mut events, job.id()).await,
            ["job.created ready 1", "job.ready ready 1", "job.failed failed 1"]
        );

        let job = world.ork.submit(succeeds_at { attempt: 3 }).await.unwrap();
        let expected = [
            "job.created ready 1",
            "job.ready ready 1",
            "job.updated retrying 2",
            "job.ready ready 2",
            "job.updated retrying 3",
            "job.ready ready 3",
            "job.completed succeeded 3",
        ];
        assert_eq!(events_of(&mut events, job.id()).await, expected);
        world.end().await;
    });
}

#[test]
fn cancelled_job_publishes_canceled() {
    each(|world| async move {
        let mut events = world.ork.events().await.unwrap();
        let key = JobId::new().to_string();
        let job = world.ork.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        job.cancel(CancelMode::Immediate).await.unwrap();
        let lines = events_of(&mut events, job.id()).await;
        assert_eq!(lines, ["job.created ready 1", "job.ready ready 1", "job.canceled cancelled 1"]);
        Gate::of(&key).open();
        world.end().await;
    });
}

/// `job:parts-completed` of systems that split jobs into parts: published once, with the counts, before the end.
#[test]
fn parts_completed_is_published_once_with_the_counts() {
    each(|world| async move {
        let mut events = world.ork.events().await.unwrap();
        let run = JobId::new().to_string();
        let job = world.ork.submit(lenient_part { count: 10, failing: 3 }).await.unwrap();
        let mut completed = Vec::new();
        loop {
            let event = events.next().await.unwrap().unwrap();
            assert_eq!(event.job, job.id());
            completed.extend(event.parts.map(|parts| (event.kind, parts)));
            if event.state().is_final() {
                break;
            }
        }
        let [(kind, parts)] = completed[..] else { panic!("{completed:?}") };
        assert_eq!(kind, EventKind::PartsCompleted);
        assert_eq!((parts.total, parts.completed, parts.failed, parts.canceled), (10, 7, 3, 0));

        // A retry that runs some of the parts again completes them again, before the join.
        let job = world.ork.submit(heals_or_not_part { key: run.clone() }).await.unwrap();
        let first = events_of(&mut events, job.id()).await;
        let ends = ["job.created ready 1", "job.ready ready 1", "job.parts-completed waiting 1", "job.failed failed 1"];
        assert_eq!(first, ends);
        called(&run);
        world.ork.retry(job.id()).await.unwrap();
        let second = events_of(&mut events, job.id()).await;
        assert_eq!(second, ["job.parts-completed waiting 1", "job.completed succeeded 1"]);
        world.end().await;
    });
}

#[test]
fn events_and_part_events_are_published_only_if_enabled() {
    each(|world| async move {
        let (ork, store, folder) = world.parts();
        ork.shutdown().await;
        if store == "memory:" {
            return;
        }
        let of = async |events: &str| {
            let ork: Ork = builder(&store).set("events", events.to_owned()).build().await.unwrap();
            ork.spawn_worker();
            ork
        };
        let quiet = of("none").await;
        let error = quiet.events().await.map(drop).unwrap_err().to_string();
        assert_eq!(
            error,
            "events are disabled: set ORK_EVENTS to `jobs` or `parts`, in this process and in the workers"
        );
        quiet.shutdown().await;

        let ork = of("parts").await;
        let mut events = ork.events().await.unwrap();
        let job =
            ork.submit(double_part { count: 3, failing: Vec::new(), run: JobId::new().to_string() }).await.unwrap();
        let mut lines = events_of(&mut events, job.id()).await;
        assert_eq!(lines.remove(0), "job.created ready 1");
        assert_eq!(lines.pop().unwrap(), "job.completed succeeded 2");
        assert_eq!(lines.pop().unwrap(), "job.parts-completed waiting 2");
        for index in 0..3 {
            let of_part: Vec<_> = lines.iter().filter(|line| line.contains(&format!(".{index} "))).collect();
            let kinds = ["job.created", "job.ready", "job.completed"];
            assert_eq!(of_part.len(), 3, "{lines:?}");
            assert!(of_part.iter().zip(kinds).all(|(line, kind)| line.starts_with(kind)), "{of_part:?}");
        }
        ork.shutdown().await;
        drop(folder);
    });
}

#[test]
fn progress_is_published_before_the_end_even_if_reported_last() {
    each(|world| async move {
        let mut events = world.ork.events().await.unwrap();
        let job = world.ork.submit(reports { steps: 3 }).await.unwrap();
        let (mut last, mut kinds) = (None, Vec::new());
        loop {
            let event = events.next().await.unwrap().unwrap();
            kinds.push(event.kind);
            if event.kind == EventKind::Progress {
                last = Some((event.progress.unwrap(), event.info.clone().unwrap()));
            }
            if event.state().is_final() {
                break;
            }
        }
        assert_eq!(last, Some((90.0, "step 3".to_owned())), "{kinds:?} of {}", job.id());
        assert_eq!(kinds.last(), Some(&EventKind::Succeeded));
        world.end().await;
    });
}

#[test]
fn event_stream_of_a_tree_ends_with_its_root() {
    each(|world: World| async move {
        let job = world.ork.submit(parent { name: "Ada".into() }).await.unwrap();
        let id = job.id();
        // A stream of the events of a job that has ended is empty.
        job.result().await.unwrap();
        assert!(world.ork.events_of(id).await.unwrap().next().await.is_none());
        let key = JobId::new().to_string();
        let root = world.ork.submit(opens { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        let events = world.ork.events_of(root.id()).await.unwrap();
        Gate::of(&key).open();
        let received: Vec<_> = events.map(|event| event.unwrap()).collect().await;
        let (last, below) = received.split_last().unwrap();
        assert_eq!((last.job, last.kind), (root.id(), EventKind::Succeeded));
        let child: Vec<_> = below.iter().filter(|event| event.job != root.id()).map(|event| event.kind).collect();
        assert_eq!(child, [EventKind::Created, EventKind::Ready, EventKind::Succeeded]);
        assert!(below.iter().all(|event| event.root == root.id()));
        world.end().await;
    });
}
