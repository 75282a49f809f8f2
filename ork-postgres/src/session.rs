//! The writing connection, of which each process has only one, and how a new connection takes over from a lost one.
//!
//! Each process has a row that contains the number of its last transaction. If a connection is lost during a commit,
//! the next one first terminates the old session on the server, and then reads that number, which shows whether the
//! transaction was committed.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _, raw_sql};
use tokio::time::timeout;
use uuid::Uuid;

use crate::codec::Uid;
use crate::error::{is_read_only, no_answer, store_error, wrong_encoding};
use crate::schema;
use crate::url::Address;
use ork_core::retry::RetryPolicy;
use ork_ports::store::StoreError;

/// The time that opening a connection may take, including the queries that come first.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The first pause between two attempts to reach the server.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two attempts to reach the server, and so the longest delay once it can be reached again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The time that the server waits for the acknowledgement of data that it has sent. Without this setting, a reply that
/// is larger than its buffers would keep the locks of a disconnected process for a quarter of an hour. Servers older
/// than PostgreSQL 12 do not have the setting.
const ACKNOWLEDGED: &str = "SET tcp_user_timeout = '10s'";

/// Returns the pause before the next attempt to reach the server, after this many failures in a row.
pub(crate) fn pause(failures: u32) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let mut policy = RetryPolicy::new(u32::MAX).backoff(FIRST_PAUSE);
    policy.max = LONGEST_PAUSE;
    policy.pause_after(failures, fastrand::f64()).unwrap_or(LONGEST_PAUSE)
}

/// A writing connection.
pub(crate) struct Session {
    pub(crate) connection: PgConnection,
    /// The number of the last transaction of this process that was committed.
    pub(crate) last: i64,
    /// The process id of the backend that serves this connection.
    pub(crate) backend: i64,
}

/// Returns the application name of the writing connection of a process.
pub(crate) fn name(boot: Uuid) -> String {
    format!("ork {}", boot.simple())
}

impl Session {
    /// Connects. If this is the first connection of a process, migrates the tables.
    pub(crate) async fn open(address: &Address, boot: Uuid, first: bool) -> Result<Self, StoreError> {
        let open = Box::pin(Self::connect(address, boot, first));
        timeout(PATIENCE, open).await.unwrap_or_else(|_elapsed| Err(no_answer(address)))
    }

    async fn connect(address: &Address, boot: Uuid, first: bool) -> Result<Self, StoreError> {
        let wrong = |error| store_error(address, error);
        let mut connection = PgConnection::connect_with(&address.writing(&name(boot))).await.map_err(wrong)?;
        let standby = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean";
        let standby = async { sqlx::query(standby).fetch_one(&mut connection).await?.try_get::<bool, _>(0) };
        if standby.await.map_err(wrong)? {
            return Err(is_read_only(address));
        }
        if first {
            let encoding = "SELECT current_setting('server_encoding')";
            let encoding = async { sqlx::query(encoding).fetch_one(&mut connection).await?.try_get::<String, _>(0) };
            let encoding = encoding.await.map_err(wrong)?;
            if encoding != "UTF8" {
                return Err(wrong_encoding(address, &encoding));
            }
            schema::migrate(&mut connection, address).await?;
            forget_gone(&mut connection).await.map_err(wrong)?;
        }
        if connection.server_version_num().is_some_and(|version| version >= 120_000) {
            raw_sql(ACKNOWLEDGED).execute(&mut connection).await.map_err(wrong)?;
        }
        let (last, backend) = take_over(&mut connection, boot).await.map_err(wrong)?;
        Ok(Self { connection, last, backend })
    }
}

/// Terminates the session of the previous connection, and returns the number of the last committed transaction and the
/// process id of the backend.
///
/// Writing the row waits for the end of a transaction that still has it locked, so the number that is read here no
/// longer changes.
async fn take_over(connection: &mut PgConnection, boot: Uuid) -> sqlx::Result<(i64, i64)> {
    let end = "SELECT pg_terminate_backend(activity.pid) FROM pg_stat_activity activity \
               JOIN ork.writer ON writer.backend_pid = activity.pid \
               WHERE writer.id = $1 AND activity.application_name = $2 AND activity.pid <> pg_backend_pid()";
    sqlx::query(end).bind(Uid::from(boot)).bind(name(boot)).execute(&mut *connection).await?;
    let take = "INSERT INTO ork.writer VALUES ($1, 0, pg_backend_pid(), now()) \
                ON CONFLICT (id) DO UPDATE SET backend_pid = excluded.backend_pid, connected = excluded.connected \
                RETURNING last_transaction, backend_pid";
    let row = sqlx::query(take).bind(Uid::from(boot)).fetch_one(connection).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Removes the rows of processes that ended long ago without removing them.
async fn forget_gone(connection: &mut PgConnection) -> sqlx::Result<()> {
    let gone = "DELETE FROM ork.writer WHERE id IN ( \
                    SELECT id FROM ork.writer WHERE connected < now() - interval '7 days' \
                        AND NOT EXISTS (SELECT FROM pg_stat_activity activity WHERE activity.pid = backend_pid) \
                    FOR UPDATE SKIP LOCKED)";
    sqlx::query(gone).execute(connection).await.map(drop)
}
