//! A real standby: it is rejected as a store while it is one, and takes over once the primary is gone.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use ork::{Filter, JobId, JobState};
use ork_core::job::{Job, Phase};
use ork_core::tx::{NewJob, Submit, Submitted};
use ork_ports::store::StoreErrorKind;
use ork_postgres::Postgres;
use sqlx::Row as _;

use super::postgres::{self, Server};
use super::world::{START, World, on};

/// One address for two servers, such as a proxy or a DNS name provides.
struct Address {
    port: u16,
    target: Arc<AtomicU16>,
}

impl Address {
    fn of(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(AtomicU16::new(server.port()));
        let now = Arc::clone(&target);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", now.load(Ordering::SeqCst))) else { continue };
                let ways = [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)];
                for (mut from, mut to) in ways {
                    std::thread::spawn(move || {
                        let _gone = std::io::copy(&mut from, &mut to);
                        let _gone = (from.shutdown(std::net::Shutdown::Both), to.shutdown(std::net::Shutdown::Both));
                    });
                }
            }
        });
        Self { port, target }
    }

    fn set_target(&self, server: &Server) {
        self.target.store(server.port(), Ordering::SeqCst);
    }
}

fn submit(world: &World) -> Submit {
    let job = Job::new(JobId::new(), "one", START);
    Submit::new(NewJob { job, input: "{}".into() }, world.by())
}

/// Runs a query with a boolean result on a server.
async fn query_bool(server: &Server, query: &'static str) -> bool {
    let row = sqlx::query(query).fetch_one(&mut postgres::connect(&server.url("postgres")).await).await;
    row.unwrap().get(0)
}

/// Waits until the standby has received all data of the primary.
async fn until_it_has_all(primary: &Server, standby: &Server) {
    let end = sqlx::query("SELECT pg_current_wal_lsn()::text");
    let end = end.fetch_one(&mut postgres::connect(&primary.url("postgres")).await).await.unwrap();
    let end: String = end.get(0);
    let mut connection = postgres::connect(&standby.url("postgres")).await;
    // There is no event to wait for, so this polls.
    let has = "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn";
    while !sqlx::query(has).bind(&end).fetch_one(&mut connection).await.unwrap().get::<bool, _>(0) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[test]
fn a_standby_is_rejected_and_takes_over_once_promoted() {
    let Some(mut primary) = postgres::private() else { return };
    on(async {
        let address = Address::of(&primary);
        let url = primary.url("postgres").replace(&primary.port().to_string(), &address.port.to_string());
        let world = World::postgres(&url).await;
        let ids = [world.submit("one").await, world.submit("one").await];
        world.claim(ids[0], Phase::Start, 1).await;
        let standby = primary.standby();
        let before = submit(&world);
        world.apply(before.clone()).await;
        until_it_has_all(&primary, &standby).await;

        let error = Postgres::open(&standby.url("postgres")).await.expect_err("a standby was opened");
        assert_eq!(error.kind(), StoreErrorKind::ReadOnly);
        assert!(error.to_string().contains("is read-only, possibly a standby: use the primary"), "{error}");

        primary.kill();
        address.set_target(&standby);
        // The standby is not promoted yet: the caller gets an error that says why the write fails.
        let error = world.store.apply(submit(&world)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::ReadOnly, "{error}");
        let (store, waiting) = (Arc::clone(&world.store), submit(&world));
        let waiting = tokio::spawn(async move { store.apply(waiting).await });
        assert!(query_bool(&standby, "SELECT pg_promote(true, 60)").await);
        assert_eq!(waiting.await.unwrap().unwrap().output, Submitted::Created);

        // Everything that was acknowledged exists exactly once, and can continue.
        assert_eq!(world.apply(before).await, Submitted::Exists);
        let jobs = world.store.jobs(Filter { limit: 10, ..Filter::default() }).await.unwrap();
        assert_eq!(jobs.len(), 4);
        assert_eq!(world.store.job(ids[0]).await.unwrap().unwrap().job.state, JobState::Running);
        assert_eq!(world.take(10).await.len(), 4);
        world.store.close().await;
    });
}
