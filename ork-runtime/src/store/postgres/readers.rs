//! The connections that read. After the way to the server was lost, all of them are replaced: one that the network has
//! forgotten is never closed, and what was asked over it would wait for a quarter of an hour.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Error, Row as _};
use tokio::sync::watch;
use tokio::time::timeout;

use super::session::PATIENCE;

/// How many connections read. They come about when they are needed.
const READERS: u32 = 3;

/// How long an idle connection has to show that it is alive before another one is made.
const ALIVE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Readers {
    options: PgConnectOptions,
    pool: watch::Sender<PgPool>,
}

impl Readers {
    /// Connects when something is read.
    pub(super) fn new(options: PgConnectOptions) -> Self {
        let pool = watch::Sender::new(pool(&options));
        Self { options, pool }
    }

    /// The connections of now.
    pub(super) fn pool(&self) -> PgPool {
        self.pool.borrow().clone()
    }

    /// The same, and what ends once they are replaced.
    pub(super) fn pool_until_renewed(&self) -> (PgPool, impl Future<Output = ()> + Send + use<>) {
        let mut pools = self.pool.subscribe();
        let pool = pools.borrow_and_update().clone();
        let renewed = async move {
            if pools.changed().await.is_err() {
                // The store is gone, and with it whoever reads.
                std::future::pending::<()>().await;
            }
        };
        (pool, renewed)
    }

    /// Replaces them all. What is being read is read again.
    pub(super) fn renew(&self) {
        // Those that are idle are closed with it.
        self.pool.send_if_modified(|pool| {
            let is_open = !pool.is_closed();
            if is_open {
                *pool = self::pool(&self.options);
            }
            is_open
        });
    }

    /// Whether the server is still at work for this process of its own, as far as another connection can tell.
    pub(super) async fn see_at_work(&self, backend: i64) -> bool {
        // Between two statements it is not active, and the next one is on its way.
        let query = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND \
                     (state = 'active' OR state_change > clock_timestamp() - interval '1 second'))";
        let look = async { sqlx::query(query).bind(backend).fetch_one(&self.pool()).await?.try_get::<bool, _>(0) };
        matches!(timeout(PATIENCE / 2, look).await, Ok(Ok(true)))
    }

    /// Ends them for good.
    pub(super) async fn close(&self) {
        self.pool().close().await;
    }
}

fn pool(options: &PgConnectOptions) -> PgPool {
    let pool = PgPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(PATIENCE)
        .max_lifetime(None)
        .idle_timeout(None)
        .test_before_acquire(false)
        .before_acquire(|connection, _| {
            Box::pin(async move {
                let alive = timeout(ALIVE, connection.ping()).await;
                alive.unwrap_or(Err(Error::PoolTimedOut)).map(|()| true)
            })
        });
    pool.connect_lazy_with(options.clone())
}
