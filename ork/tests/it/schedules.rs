//! Schedules: jobs started by the clock, once, by any live process; paused, resumed, triggered, replaced.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ork::workflow::{Missed, Overlap, Schedule};
use ork::{Filter, JobId, JobState, Ork, ScheduleStatus, Timestamp, task};
use serde_json::json;

use super::clock::Manual;
use super::tasks::{Gate, called, calls};
use super::world::{World, builder, each};

#[task]
async fn ticked(run: String) {
    called(&run);
}

#[task]
async fn reports_times(at: String, on: String) -> String {
    format!("{on} {at}")
}

const TEN: Duration = Duration::from_mins(10);

fn ten(missed: Missed) -> Schedule {
    Schedule { missed, ..Schedule::new("*/10 * * * *", "UTC") }
}

/// Five minutes before the first time.
fn start() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 - 300_000)
}

fn first() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

async fn found(ork: &Ork) -> ScheduleStatus {
    ork.schedules().list().await.unwrap().pop().unwrap()
}

/// Returns how many jobs were started.
async fn started(ork: &Ork) -> usize {
    let filter = Filter { task: Some("ticked".into()), limit: 100, ..Filter::default() };
    ork.jobs(filter).await.unwrap().len()
}

/// A process with a manual clock, and a schedule that waits for its first time.
async fn scheduled(world: World, missed: Missed) -> (World, Arc<Manual>, String) {
    let clock = Manual::new(start());
    let (world, run) = (world.with_clock(&clock).await, JobId::new().to_string());
    world.ork.schedules().add("ten", ten(missed), "ticked", json!({ "run": run })).await.unwrap();
    clock.wait_for_timer(first()).await;
    (world, clock, run)
}

#[test]
fn schedule_starts_its_task_once_at_each_time_however_many_processes_work() {
    each(|world| async move {
        let (world, clock, run) = scheduled(world, Missed::Skip).await;
        let mut others = Vec::new();
        for _ in 0..2 {
            if let Some(store) = world.shared_store() {
                let other = builder(store).clock(Arc::<Manual>::clone(&clock)).build().await.unwrap();
                other.spawn_worker();
                others.push(other);
            }
        }
        assert_eq!(found(&world.ork).await.next, Some(first()));
        clock.advance(first() - start());
        for tick in 1..=3_u32 {
            clock.wait_for_timer(first() + TEN * tick).await;
            let status = found(&world.ork).await;
            assert_eq!(status.next, Some(first() + TEN * tick));
            assert_eq!(world.outcome(status.last.unwrap()).await.status().state, JobState::Succeeded);
            assert_eq!(calls(&run), tick);
            clock.advance(TEN);
        }
        clock.wait_for_timer(first() + TEN * 4).await;
        assert_eq!(started(&world.ork).await, 4);
        join_all(others.into_iter().map(Ork::shutdown)).await;
        world.end().await;
    });
}

#[test]
fn missed_times_are_skipped_run_once_or_all_run() {
    each(|world| async move {
        let Some(store) = world.shared_store().map(str::to_owned) else { return world.end().await };
        let (first_one, _, folder) = world.parts();
        first_one.shutdown().await;
        let mut before = 0;
        for (day, missed, caught_up) in [(0, Missed::Skip, 0), (1, Missed::Once, 1), (2, Missed::All, 4)] {
            // The times of the previous round are long past.
            let day = TEN * 144 * day;
            let clock = Manual::new(start() + day);
            let now = builder(&store).clock(Arc::<Manual>::clone(&clock)).build().await.unwrap();
            now.spawn_worker();
            now.schedules().add("ten", ten(missed), "ticked", json!({ "run": "missed" })).await.unwrap();
            clock.wait_for_timer(first() + day).await;
            // No process runs for 35 minutes, in which four times pass.
            now.shutdown().await;
            clock.advance(Duration::from_mins(5 + 35));
            let later = builder(&store).clock(Arc::<Manual>::clone(&clock)).build().await.unwrap();
            later.spawn_worker();
            clock.wait_for_timer(first() + day + TEN * 4).await;
            assert_eq!(started(&later).await - before, caught_up, "{missed:?}");
            before += caught_up;
            later.schedules().remove("ten").await.unwrap();
            later.shutdown().await;
        }
        drop(folder);
    });
}

#[test]
fn schedule_can_be_paused_resumed_triggered_replaced_and_removed() {
    each(|world| async move {
        let (world, clock, run) = scheduled(world, Missed::Skip).await;
        let ork = &world.ork;
        assert!(ork.schedules().pause("ten").await.unwrap());
        assert!(!ork.schedules().pause("ten").await.unwrap());
        clock.advance(Duration::from_mins(15));
        assert_eq!((found(ork).await.paused, found(ork).await.next), (true, None));
        // It can still be triggered manually.
        let job = ork.schedules().trigger("ten").await.unwrap();
        assert_eq!(world.outcome(job).await.status().state, JobState::Succeeded);
        assert!(ork.schedules().resume("ten").await.unwrap());
        assert!(!ork.schedules().resume("ten").await.unwrap());
        clock.wait_for_timer(first() + TEN * 2).await;
        assert_eq!((started(ork).await, calls(&run)), (1, 1));
        // A schedule of the same name replaces it.
        let hourly = Schedule { missed: Missed::Once, ..Schedule::new("0 * * * *", "Europe/Berlin") };
        ork.schedules().add("ten", hourly.clone(), "ticked", json!({ "run": run })).await.unwrap();
        let all = ork.schedules().list().await.unwrap();
        assert_eq!((all.len(), &all[0].schedule), (1, &hourly));
        ork.schedules().remove("ten").await.unwrap();
        assert_eq!(ork.schedules().list().await.unwrap(), []);
        world.end().await;
    });
}

#[test]
fn started_job_gets_the_time_of_its_schedule() {
    each(|world| async move {
        let (world, clock) = {
            let clock = Manual::new(start());
            (world.with_clock(&clock).await, clock)
        };
        // The clock jumps over the later times, so they are missed, and `Missed::All` catches up on them.
        let schedule = Schedule {
            timezone: "Asia/Kolkata".into(),
            time_as: Some("at".into()),
            date_as: Some("on".into()),
            ..ten(Missed::All)
        };
        world.ork.schedules().add("times", schedule, "reports_times", json!({})).await.unwrap();
        clock.wait_for_timer(first()).await;
        clock.advance(Duration::from_mins(5 + 25));
        clock.wait_for_timer(first() + TEN * 3).await;
        let by_hand = world.ork.schedules().trigger("times").await.unwrap();
        let filter = Filter { task: Some("reports_times".into()), limit: 100, ..Filter::default() };
        let mut runs = Vec::new();
        for job in world.ork.jobs(filter).await.unwrap() {
            let time: String = serde_json::from_slice(world.outcome(job.id).await.output().unwrap()).unwrap();
            runs.push((job.id == by_hand, time));
        }
        runs.sort();
        let expected = [(false, "13:30"), (false, "13:40"), (false, "13:50"), (true, "13:55")];
        let expected = expected.map(|(by_hand, time)| (by_hand, format!("2027-01-15 2027-01-15T{time}:00+05:30")));
        assert_eq!(runs, expected);
        world.end().await;
    });
}

#[test]
fn overlapping_time_is_skipped_if_the_schedule_requests_it() {
    each(|world| async move {
        let clock = Manual::new(start());
        let (world, key) = (world.with_clock(&clock).await, JobId::new().to_string());
        let schedule = Schedule { overlap: Overlap::Skip, ..ten(Missed::All) };
        world.ork.schedules().add("slow", schedule, "gated", json!({ "key": key })).await.unwrap();
        clock.wait_for_timer(first()).await;
        clock.advance(first() - start());
        let gate = Gate::of(&key);
        gate.entered().await;
        let slow = || Filter { task: Some("gated".into()), limit: 100, ..Filter::default() };
        for tick in 1..=2 {
            clock.wait_for_timer(first() + TEN * tick).await;
            assert_eq!(world.ork.jobs(slow()).await.unwrap().len(), 1);
            clock.advance(TEN);
        }
        clock.wait_for_timer(first() + TEN * 3).await;
        gate.open();
        let first_one = world.ork.jobs(slow()).await.unwrap().pop().unwrap().id;
        assert_eq!(world.outcome(first_one).await.status().state, JobState::Succeeded);
        clock.advance(TEN);
        clock.wait_for_timer(first() + TEN * 4).await;
        gate.open();
        let jobs = world.ork.jobs(slow()).await.unwrap();
        let [second, _] = &jobs[..] else { panic!("{jobs:?}") };
        assert_eq!(world.outcome(second.id).await.status().state, JobState::Succeeded);
        world.end().await;
    });
}

#[test]
fn invalid_schedule_is_refused() {
    each(|world| async move {
        let ork = &world.ork;
        let message_of = |refused: Result<ScheduleStatus, ork::ClientError>| refused.unwrap_err().to_string();
        let run = json!({ "run": "a" });
        let never = Schedule { cron: "0 0 30 2 *".into(), ..ten(Missed::Skip) };
        let refused = message_of(ork.schedules().add("never", never, "ticked", run.clone()).await);
        assert_eq!(refused, "the schedule `0 0 30 2 *` never fires");
        let refused = message_of(ork.schedules().add("a", ten(Missed::Skip), "tickt", run).await);
        assert!(refused.contains("there is no task `tickt`, did you mean `ticked`?"), "{refused}");
        let refused = ork.schedules().pause("a").await.unwrap_err().to_string();
        assert_eq!(refused, "there is no schedule `a`; there are no schedules");
        assert_eq!(ork.schedules().list().await.unwrap(), []);
        world.end().await;
    });
}
