//! Several processes on one database: they race, and nothing is lost or duplicated.

use std::collections::BTreeSet;
use std::time::Duration;

use ork::{JobId, Policy};
use ork_core::job::{Job, Phase};
use ork_core::message::Outgoing;
use ork_core::tx::{SettleResult, StoreNotice};

use super::postgres;
use super::world::{START, World, ok, on, part};

/// Opens `count` processes, each with a separate store on the same database.
async fn worlds(count: usize) -> Option<Vec<World>> {
    let url = postgres::database().await?;
    // All at the same time: one of them creates the tables.
    Some(futures_util::future::join_all((0..count).map(|_| World::postgres(&url))).await)
}

async fn close(worlds: Vec<World>) {
    for world in worlds {
        world.store.close().await;
    }
}

#[test]
fn every_row_goes_to_one_of_many_concurrent_processes() {
    on(async {
        let Some(worlds) = worlds(4).await else { return };
        for _ in 0..200 {
            worlds[0].submit("one").await;
        }
        worlds[1].with_parts(1_000, Policy::default(), false).await;
        let takes = worlds.iter().map(|world| async move {
            let (mut seen, mut news) = (Vec::new(), world.store.notifier().watch());
            loop {
                let taken = world.take(37).await;
                if taken.is_empty() {
                    // Rows that others had locked and did not take are announced soon.
                    match tokio::time::timeout(Duration::from_millis(300), news.recv()).await {
                        Ok(_) => continue,
                        Err(_elapsed) => return seen,
                    }
                }
                for row in taken {
                    let parts = row.messages.into_iter().map(|message| match message {
                        Outgoing::Work(message) => (message.job, format!("{:?}", message.kind)),
                        other => panic!("{other:?}"),
                    });
                    seen.extend(parts);
                }
            }
        });
        let seen: Vec<_> = futures_util::future::join_all(takes).await.into_iter().flatten().collect();
        assert_eq!(seen.len(), 1_201);
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 1_201);
        close(worlds).await;
    });
}

#[test]
fn parts_settled_concurrently_count_once_and_complete_once() {
    on(async {
        let Some(worlds) = worlds(3).await else { return };
        let id = worlds[0].with_parts(900, Policy::default(), true).await;
        worlds[0].take(10_000).await;
        // Each part is settled by two of the processes.
        let settle = |index: u64, by: usize| {
            let world = &worlds[by % 3];
            async move {
                world.start(part(id, index)).await;
                world.settle(part(id, index), ok()).await
            }
        };
        let both = (0..900_u64).flat_map(|index| [(index, 0), (index, 1)]);
        let all = both.map(|(index, by)| settle(index, usize::try_from(index).unwrap() + by));
        let answers = futures_util::future::join_all(all).await;
        assert_eq!(answers.iter().filter(|answer| matches!(answer, SettleResult::Applied)).count(), 900);
        let view = worlds[2].store.job(id).await.unwrap().unwrap();
        assert_eq!((view.counts.succeeded, view.counts.running), (900, 0));
        assert_eq!(worlds[1].take(10).await.len(), 1, "the join is enqueued once");
        close(worlds).await;
    });
}

#[test]
fn jobs_settled_in_opposite_orders_do_not_deadlock() {
    on(async {
        let Some(worlds) = worlds(3).await else { return };
        let mut ids = Vec::new();
        for _ in 0..30 {
            ids.push(worlds[0].with_parts(10, Policy::default(), false).await);
        }
        let work = worlds.iter().enumerate().map(|(n, world)| {
            let mut order: Vec<_> = ids.iter().flat_map(|id| (0..10).map(|index| (*id, index))).collect();
            if n == 1 {
                order.reverse();
            }
            let mine = order.into_iter().filter(move |(_, index)| index % 3 == u64::try_from(n).unwrap());
            futures_util::future::join_all(mine.map(|(id, index)| async move {
                world.start(part(id, index)).await;
                world.settle(part(id, index), ok()).await
            }))
        });
        for answer in futures_util::future::join_all(work).await.into_iter().flatten() {
            assert!(matches!(answer, SettleResult::Applied));
        }
        for id in ids {
            assert_eq!(worlds[0].store.job(id).await.unwrap().unwrap().job.state, ork::JobState::Succeeded);
        }
        close(worlds).await;
    });
}

#[test]
fn a_job_submitted_concurrently_is_created_once() {
    on(async {
        let Some(worlds) = worlds(4).await else { return };
        for _ in 0..10 {
            let id = JobId::new();
            let claims = worlds.iter().map(|world| world.claim(id, Phase::Start, 1));
            futures_util::future::join_all(claims).await;
            let job = Job::new(JobId::new(), "same", START);
            let submits = worlds.iter().map(|world| {
                let new = ork_core::tx::NewJob { job: job.clone(), input: "{}".into() };
                let submit = ork_core::tx::Submit::new(new, world.by());
                async move { world.apply(submit).await }
            });
            let answers = futures_util::future::join_all(submits).await;
            let created = |answer: &&ork_core::tx::Submitted| **answer != ork_core::tx::Submitted::Exists;
            assert_eq!(answers.iter().filter(created).count(), 1);
        }
        assert_eq!(worlds[0].take(100).await.len(), 10);
        close(worlds).await;
    });
}

#[test]
fn rows_of_a_dead_process_are_freed_by_only_one_process() {
    on(async {
        let Some(worlds) = worlds(4).await else { return };
        worlds[0].beat_at(Duration::ZERO, Vec::new()).await;
        for _ in 0..20 {
            worlds[1].submit("one").await;
        }
        assert_eq!(worlds[0].take(100).await.len(), 20);
        let beats = worlds[1..].iter().map(|world| world.beat_at(Duration::from_secs(11), Vec::new()));
        futures_util::future::join_all(beats).await;
        let taken = worlds[1].take(100).await;
        assert_eq!(taken.len(), 20);
        assert!(taken.iter().all(|row| row.losses == 1), "{taken:?}");
        close(worlds).await;
    });
}

#[test]
fn processes_are_notified_of_changes_by_others_and_of_own_changes_once() {
    on(async {
        let Some(worlds) = worlds(2).await else { return };
        let mut own = worlds[0].store.notifier().watch();
        let mut news = worlds[1].store.notifier().watch();
        let id = worlds[0].submit("one").await;
        assert_eq!(news.recv().await.unwrap(), StoreNotice::OutboxReady);
        let cancel = ork_core::tx::Cancel::new(id, worlds[0].by());
        worlds[0].apply(cancel).await;
        assert_eq!(news.recv().await.unwrap(), StoreNotice::JobEnded(id));
        // The notices of its own changes were sent once, directly.
        worlds[0].submit("two").await;
        worlds[1].submit("three").await;
        for expected in
            [StoreNotice::OutboxReady, StoreNotice::JobEnded(id), StoreNotice::OutboxReady, StoreNotice::OutboxReady]
        {
            assert_eq!(own.recv().await.unwrap(), expected);
        }
        assert!(own.try_recv().is_err());
        close(worlds).await;
    });
}

#[test]
fn part_changes_reach_watchers_in_other_processes() {
    on(async {
        let Some(worlds) = worlds(2).await else { return };
        let id = worlds[0].with_parts(3, Policy::default(), false).await;
        let mut moves = worlds[1].store.notifier().of(id, true);
        for index in 0..3 {
            worlds[0].start(part(id, index)).await;
            worlds[0].settle(part(id, index), ok()).await;
            // The first change is announced immediately, later ones with a delay, and none is lost.
            tokio::time::timeout(Duration::from_secs(10), moves.changed()).await.expect("no news");
        }
        close(worlds).await;
    });
}
