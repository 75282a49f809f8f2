//! A server that is killed, restarted, frozen or silent: waiting callers get an error in time, and work continues
//! without intervention.

use std::time::Duration;

use ork::JobId;
use ork_core::job::Job;
use ork_core::tx::{NewJob, Submit, Submitted};
use ork_ports::store::StoreErrorKind;

use super::postgres;
use super::world::{START, World, on};

fn submit(world: &World) -> Submit {
    let job = Job::new(JobId::new(), "one", START);
    Submit::new(NewJob { job, input: "{}".into() }, world.by())
}

#[test]
fn work_that_waits_during_a_server_restart_is_done_once() {
    let Some(mut server) = postgres::private() else { return };
    on(async {
        let world = World::postgres(&server.url("postgres")).await;
        world.apply(submit(&world)).await;
        for _ in 0..2 {
            server.kill();
            let store = std::sync::Arc::clone(&world.store);
            let waiting: Vec<_> = (0..20).map(|_| submit(&world)).collect();
            let waiting = tokio::spawn(async move {
                futures_util::future::join_all(waiting.into_iter().map(|submit| store.apply(submit))).await
            });
            server = tokio::task::spawn_blocking(move || {
                server.restart();
                server
            })
            .await
            .unwrap();
            for answer in waiting.await.unwrap() {
                assert_eq!(answer.unwrap().output, Submitted::Created);
            }
        }
        assert_eq!(world.take(100).await.len(), 41);
        world.store.close().await;
    });
}

#[test]
fn a_long_outage_is_an_error_in_time_and_then_work_continues() {
    let Some(mut server) = postgres::private() else { return };
    on(async {
        let world = World::postgres(&server.url("postgres")).await;
        let watcher = World::postgres(&server.url("postgres")).await;
        let mut news = watcher.store.notifier().watch();
        server.kill();
        let within = Duration::from_secs(14);
        let answer = tokio::time::timeout(within, world.store.apply(submit(&world))).await.expect("too late");
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        let message = format!("{error} {error:?}");
        assert!(message.contains(&format!("127.0.0.1:{}", server.port())) && !message.contains("s3cret"), "{message}");
        server = tokio::task::spawn_blocking(move || {
            server.restart();
            server
        })
        .await
        .unwrap();
        // Listeners are notified that changes may have been missed.
        let notice = tokio::time::timeout(Duration::from_secs(20), news.recv()).await.expect("no news");
        assert!(matches!(notice, Ok(ork_core::tx::StoreNotice::ChangedElsewhere)), "{notice:?}");
        world.apply(submit(&world)).await;
        assert_eq!(world.take(100).await.len(), 1);
        assert_eq!(world.store.jobs(ork::Filter { limit: 10, ..Default::default() }).await.unwrap().len(), 1);
        world.store.close().await;
        watcher.store.close().await;
        drop(server);
    });
}

#[test]
fn terminated_connections_are_reopened() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let world = World::postgres(&url).await;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        for _ in 0..3 {
            world.apply(submit(&world)).await;
            world.store.jobs(ork::Filter { limit: 10, ..Default::default() }).await.unwrap();
            sqlx::raw_sql(end).execute(&mut postgres::connect(&url).await).await.unwrap();
        }
        world.apply(submit(&world)).await;
        assert_eq!(world.store.jobs(ork::Filter { limit: 10, ..Default::default() }).await.unwrap().len(), 4);
        world.store.close().await;
    });
}

#[test]
fn a_failover_to_a_read_only_standby_is_reported() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let world = World::postgres(&url).await;
        let set = async |to: &str| {
            let name = url.rsplit_once('/').unwrap().1.split('?').next().unwrap();
            let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = {to}");
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
            let mut connection = postgres::connect(&url).await;
            sqlx::raw_sql("SET default_transaction_read_only = off").execute(&mut connection).await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut connection).await.unwrap();
            sqlx::raw_sql(end).execute(&mut connection).await.unwrap();
        };
        set("on").await;
        let error = world.store.apply(submit(&world)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::ReadOnly, "{error}");
        let error = ork_postgres::Postgres::open(&url).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::ReadOnly, "{error}");
        assert!(error.to_string().contains("is read-only"), "{error}");
        set("off").await;
        world.apply(submit(&world)).await;
        world.store.close().await;
    });
}

#[test]
fn an_unresponsive_server_is_detected() {
    let Some(server) = postgres::private() else { return };
    on(async {
        let world = World::postgres(&server.url("postgres")).await;
        world.apply(submit(&world)).await;
        server.freeze();
        let within = Duration::from_secs(40);
        let error =
            tokio::time::timeout(within, world.store.apply(submit(&world))).await.expect("too late").unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        server.thaw();
        let done = async { while world.store.apply(submit(&world)).await.is_err() {} };
        tokio::time::timeout(within, done).await.expect("it does not come back");
        world.store.close().await;
    });
}
