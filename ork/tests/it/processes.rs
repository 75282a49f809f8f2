//! Several processes over one store, and clocks that jump.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::stream::{StreamExt as _, select_all};
use ork::{JobState, Timestamp};
use ork_core::clock::{Clock, Pause};
use ork_runtime::clock::system::SystemClock;

use super::tasks::*;
use super::world::{builder, each};

/// A name is for people. If it identified a worker, a worker that ends would release the work of another one.
#[test]
fn two_workers_with_one_name_are_distinct() {
    each(|world| async move {
        let (first, store, folder) = world.parts();
        first.shutdown().await;
        if store == "memory:" {
            return;
        }
        let mut twins = Vec::new();
        for _ in 0..2 {
            twins.push(builder(&store).set("name", "twin").set("concurrency", "1").build().await.unwrap());
        }
        let key = ork::JobId::new().to_string();
        let jobs = twins[0].submit_all((0..8).map(|_| gated { key: key.clone() })).await.unwrap();
        for twin in &twins {
            twin.spawn_worker();
        }
        // One worker alone would not run a second call.
        Gate::of(&key).entered().await;
        Gate::of(&key).entered().await;
        // Claims are written soon, and other processes see them after that.
        let mut seen = select_all(jobs.iter().map(|job| twins[1].watch(job.id()).boxed()));
        let mut workers = BTreeSet::new();
        while workers.len() < 2 {
            let status = seen.next().await.unwrap().unwrap();
            workers.extend(status.worker.filter(|_| status.state == JobState::Running));
        }
        drop(seen);
        assert!(workers.len() == 2 && workers.iter().all(|worker| worker.starts_with("twin/")), "{workers:?}");
        // The worker that ends does not touch the job of the other one.
        let (ends, stays) = (twins.remove(0), twins.remove(0));
        let opens = async {
            Gate::of(&key).open();
            for _ in 2..8 {
                Gate::of(&key).open();
                Gate::of(&key).entered().await;
            }
            Gate::of(&key).open();
        };
        tokio::join!(ends.shutdown(), opens);
        for job in &jobs {
            assert_eq!(stays.wait(job.id()).await.unwrap().status().state, JobState::Succeeded);
        }
        assert_eq!(calls(&key), 8);
        stays.shutdown().await;
        drop(folder);
    });
}

/// A view of a job that runs for an hour must not show it as ready for an hour.
#[test]
fn watcher_in_another_process_sees_that_a_job_starts() {
    each(|world| async move {
        let (first, store, folder) = world.parts();
        first.shutdown().await;
        if store == "memory:" {
            return;
        }
        let follows = builder(&store).build().await.unwrap();
        let key = ork::JobId::new().to_string();
        let job = follows.submit(gated { key: key.clone() }).await.unwrap();
        let mut seen = follows.watch(job.id()).boxed();
        assert_eq!(seen.next().await.unwrap().unwrap().state, JobState::Ready);
        let works = builder(&store).build().await.unwrap();
        works.spawn_worker();
        while seen.next().await.unwrap().unwrap().state != JobState::Running {}
        Gate::of(&key).open();
        assert_eq!(job.wait().await.unwrap().status().state, JobState::Succeeded);
        works.shutdown().await;
        follows.shutdown().await;
        drop(folder);
    });
}

/// A clock that a test sets.
#[derive(Debug)]
struct SettableClock(SystemClock, AtomicI64);

impl Clock for SettableClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.now().as_millis() + self.1.load(Ordering::SeqCst))
    }

    fn pause(&self, duration: Duration) -> Pause {
        self.0.pause(duration)
    }
}

const HOUR: i64 = 3_600_000;

#[test]
fn clock_set_back_or_forward_by_an_hour_loses_nothing() {
    each(|world| async move {
        let (first, store, folder) = world.parts();
        first.shutdown().await;
        let clock = Arc::new(SettableClock(SystemClock, AtomicI64::new(0)));
        let ork = builder(&store).clock(Arc::<SettableClock>::clone(&clock)).build().await.unwrap();
        ork.spawn_worker();
        for jump in [-HOUR, HOUR] {
            let key = ork::JobId::new().to_string();
            let submitted_before = ork.submit(gated { key: key.clone() }).await.unwrap();
            Gate::of(&key).entered().await;
            clock.1.fetch_add(jump, Ordering::SeqCst);
            Gate::of(&key).open();
            assert_eq!(submitted_before.result().await.unwrap(), key);
            let run = ork::JobId::new().to_string();
            let parts = double_part { count: 20, failing: Vec::new(), run };
            assert_eq!(ork.submit(parts).result().await.unwrap(), 380);
            // Its second attempt is due by the new time.
            assert_eq!(ork.submit(succeeds_at { attempt: 2 }).result().await.unwrap(), 2);
            let status = ork.status(submitted_before.id()).await.unwrap();
            assert_eq!((status.state, status.attempt), (JobState::Succeeded, 1), "started once");
        }
        ork.shutdown().await;
        drop(folder);
    });
}

/// Regression: after the computer had slept for a minute, the process that woke up first presumed the other one dead,
/// and repeated the calls that the other one was still running.
#[test]
fn no_process_is_presumed_dead_after_the_computer_has_slept() {
    each(|world| async move {
        let (first, store, folder) = world.parts();
        first.shutdown().await;
        if store == "memory:" {
            return;
        }
        let clock = super::clock::Manual::new(SystemClock.now());
        let mut processes = Vec::new();
        let mut jobs = Vec::new();
        for _ in 0..2 {
            let process = builder(&store).clock(Arc::<super::clock::Manual>::clone(&clock)).build().await.unwrap();
            process.spawn_worker();
            let key = ork::JobId::new().to_string();
            let job = process.submit(gated { key: key.clone() }).await.unwrap();
            Gate::of(&key).entered().await;
            jobs.push((key, job));
            processes.push(process);
        }
        // The least pause of a process between two reads of the store, and the interval of its heartbeat.
        let (look, beat) = (Duration::from_millis(200), Duration::from_secs(5));
        clock.wait_for_timers(clock.now() + look, 2).await;
        clock.advance(Duration::from_mins(1));
        let woken = clock.now();
        clock.wait_for_timers(woken + look, 2).await;
        clock.advance(look);
        // If a notice arrived during the pause, a process reads again, and pauses again.
        while clock.wait_for_timers_at([woken + beat, clock.now() + look], 2).await != [2, 0] {
            clock.advance(look);
        }
        clock.advance(woken + beat - clock.now());
        clock.wait_for_timers(woken + beat + look, 2).await;
        for (key, _) in &jobs {
            let again = tokio::time::timeout(Duration::from_secs(1), Gate::of(key).entered()).await;
            assert!(again.is_err(), "it was called beside the process that was running it");
        }
        for (key, job) in jobs {
            Gate::of(&key).open();
            assert_eq!(job.result().await.unwrap(), key);
            assert_eq!(calls(&key), 1);
        }
        for process in processes {
            process.shutdown().await;
        }
        drop(folder);
    });
}
