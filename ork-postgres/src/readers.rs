//! The reading connections. All of them are replaced after the connection to the server was lost: one that the network
//! has dropped is never closed, and a query on it would wait for a quarter of an hour.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Error, Row as _};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::session::PATIENCE;

/// The number of reading connections. They are opened when they are needed.
const READERS: u32 = 3;

/// The time that an idle connection may take to show that it is alive before another one is opened.
const ALIVE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Readers {
    options: PgConnectOptions,
    pool: watch::Sender<PgPool>,
}

impl Readers {
    /// Creates the pool. It connects at the first query.
    pub(crate) fn new(options: PgConnectOptions) -> Self {
        let pool = watch::Sender::new(pool(&options));
        Self { options, pool }
    }

    /// Returns the current connections.
    pub(crate) fn pool(&self) -> PgPool {
        self.pool.borrow().clone()
    }

    /// Returns the current connections, and a future that completes once they are replaced.
    pub(crate) fn pool_until_renewed(&self) -> (PgPool, impl Future<Output = ()> + Send + use<>) {
        let mut pools = self.pool.subscribe();
        let pool = pools.borrow_and_update().clone();
        let renewed = async move {
            if pools.changed().await.is_err() {
                // The store was dropped, and with it all readers.
                std::future::pending::<()>().await;
            }
        };
        (pool, renewed)
    }

    /// Replaces all connections. Reads in progress are retried.
    pub(crate) fn renew(&self) {
        // Idle connections are closed together with the old pool.
        self.pool.send_if_modified(|pool| {
            let is_open = !pool.is_closed();
            if is_open {
                *pool = self::pool(&self.options);
            }
            is_open
        });
    }

    /// Whether the backend of this process is still working, as seen by another connection.
    pub(crate) async fn see_at_work(&self, backend: i64) -> bool {
        // Between two statements the backend is not active, although the next one is about to arrive.
        let query = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND \
                     (state = 'active' OR state_change > clock_timestamp() - interval '1 second'))";
        let look = async { sqlx::query(query).bind(backend).fetch_one(&self.pool()).await?.try_get::<bool, _>(0) };
        matches!(timeout(PATIENCE / 2, look).await, Ok(Ok(true)))
    }

    /// Closes all connections permanently.
    pub(crate) async fn close(&self) {
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
