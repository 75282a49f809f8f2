//! Detects locks of other sessions without waiting for them, so that all other work continues.
//!
//! A transaction waits for a lock only for a short time. The next transaction then takes the locks that are free, and
//! commands that need any other lock are set aside and retried later.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::codec::Uid;
use crate::command::{Command, Waiting};
use crate::error::held_by_other;
use crate::url::Address;
use ork_core::id::JobId;
use ork_ports::store::StoreError;

/// The time that a transaction waits at first for the locks of others. Between healthy processes a lock lasts for some
/// milliseconds.
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest time that a transaction waits, after others in a row have waited in vain. In a long queue, the lock is
/// then reached in time.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A session that has been idle for this long within a transaction, in milliseconds, is not about to end it.
const STALLED: i64 = 250;

/// The treatment of locks of other sessions by a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locks {
    /// The transaction waits for them, for this long.
    Wait(Duration),
    /// The transaction sets aside commands that need one of them.
    Skip,
}

impl Locks {
    /// Returns how long the server lets a statement wait for a lock. Not all locks can be checked in advance.
    pub(crate) const fn timeout(self) -> Duration {
        match self {
            Self::Wait(wait) => wait,
            Self::Skip => FIRST_WAIT,
        }
    }
}

/// The commands that were set aside, and the reason.
#[derive(Default)]
pub(crate) struct Aside {
    pub(crate) commands: Vec<Waiting>,
    /// The lock that one of them needs.
    pub(crate) held: Option<HeldLock>,
}

/// A lock that another session holds.
#[derive(Debug)]
pub(crate) struct HeldLock {
    /// A description of what is locked.
    what: String,
    holder: Option<Holder>,
}

/// A session that holds a lock.
#[derive(Debug)]
struct Holder {
    application: String,
    place: String,
    pid: i32,
    since: String,
    state: String,
    is_stalled: bool,
}

impl HeldLock {
    /// Whether the holder is idle in a transaction: then it is useless to wait in the queue of the lock.
    pub(crate) fn is_stalled(&self) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.is_stalled)
    }

    /// Returns an error that describes which session holds the lock, since when, and what it is doing.
    pub(crate) fn to_error(&self, address: &Address) -> StoreError {
        let Self { what, holder } = self;
        let message = match holder {
            None => format!("another process holds {what}"),
            Some(Holder { application, place, pid, since, state, .. }) => format!(
                "another process, `{application}` {place}, has held {what} since {since} and {state} (PostgreSQL \
                 process {pid})"
            ),
        };
        held_by_other(address, &message)
    }
}

/// The locks of a batch that other sessions hold.
#[derive(Debug, Default)]
struct Locked {
    jobs: HashSet<JobId>,
    limits: HashSet<String>,
    keys: HashSet<String>,
}

/// Takes the locks of a batch that are free, and sets aside commands that need any other.
pub(crate) async fn set_aside(connection: &mut PgConnection, batch: &mut Vec<Waiting>) -> sqlx::Result<Aside> {
    let (mut ids, mut limits, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for waiting in &*batch {
        ids.extend(jobs_of(&waiting.command));
        limits.extend(limits_of(&waiting.command));
        keys.extend(keys_of(&waiting.command));
    }
    let mut locked = Locked { jobs: lock_jobs(connection, ids).await?, ..Locked::default() };
    locked.limits = try_lock(connection, 1_869_769_473, limits).await?;
    locked.keys = try_lock(connection, 1_869_769_474, keys).await?;
    let commands: Vec<_> = batch.extract_if(.., |waiting| locked.concern(&waiting.command)).collect();
    let needed = commands.iter().flat_map(|waiting| jobs_of(&waiting.command)).find(|job| locked.jobs.contains(job));
    let held = if let Some(job) = needed {
        Some(holder(connection, job).await?)
    } else {
        let (mut limits, mut keys) = (locked.limits.iter(), locked.keys.iter());
        let limit = limits.next().map(|name| format!("the concurrency limit `{name}`"));
        let what = limit.or_else(|| keys.next().map(|key| format!("the unique key `{key}`")));
        what.map(|what| HeldLock { what, holder: None })
    };
    Ok(Aside { commands, held })
}

impl Locked {
    fn concern(&self, command: &Command) -> bool {
        let Self { jobs, limits, keys } = self;
        (!jobs.is_empty() && jobs_of(command).any(|job| jobs.contains(&job)))
            || (!limits.is_empty() && limits_of(command).any(|limit| limits.contains(&limit)))
            || (!keys.is_empty() && keys_of(command).any(|key| keys.contains(&key)))
    }
}

/// Returns the jobs whose rows a command locks, without the jobs above them.
fn jobs_of(command: &Command) -> impl Iterator<Item = JobId> {
    let (mut work, mut job, mut deltas) = (None, None, None);
    match command {
        Command::Work(it) => work = Some(it),
        Command::Progress(it, ..) => job = Some(*it),
        Command::Record(it, _) => deltas = Some(it),
        _ => {}
    }
    let of_work = work.into_iter().flat_map(|work| (0..work.count()).map(|at| [Some(work.job(at)), work.with(at)]));
    let of_deltas = deltas.into_iter().flatten().map(|delta| delta.job);
    of_work.flatten().flatten().chain(job).chain(of_deltas)
}

/// Returns the concurrency limits that a command locks.
fn limits_of(command: &Command) -> impl Iterator<Item = String> {
    let (mut work, mut moved) = (None, None);
    match command {
        Command::Work(it) => work = Some(it),
        Command::Undo(it) => moved = Some(it),
        _ => {}
    }
    let of_work = work.into_iter().flat_map(|work| (0..work.count()).filter_map(|at| work.limit(at)));
    of_work.chain(moved.into_iter().flatten().map(|moved| &moved.limit)).map(ToString::to_string)
}

/// Returns the unique keys that a command locks, as the server stores them.
fn keys_of(command: &Command) -> impl Iterator<Item = String> {
    let work = if let Command::Work(work) = command { Some(work) } else { None };
    let keys = work.into_iter().flat_map(|work| (0..work.count()).filter_map(|at| work.unique(at)));
    keys.map(|key| super::codec::text(key))
}

/// Locks the rows of jobs, and of all jobs above them, that are free. Returns the jobs that are locked by others, or
/// below such a job.
async fn lock_jobs(connection: &mut PgConnection, ids: BTreeSet<JobId>) -> sqlx::Result<HashSet<JobId>> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<_> = ids.into_iter().map(Uid::from).collect();
    let tree = "WITH RECURSIVE tree (id, parent) AS ( \
                    SELECT id, parent FROM ork.job WHERE id = ANY($1) \
                    UNION SELECT job.id, job.parent FROM ork.job JOIN tree ON job.id = tree.parent) \
                SELECT id, parent FROM tree";
    let mut parents = HashMap::new();
    for row in sqlx::query(tree).bind(ids).fetch_all(&mut *connection).await? {
        let parent = row.try_get::<Option<Uid>, _>(1)?.map(|id| JobId::from_bytes(id.0));
        parents.insert(JobId::from_bytes(row.try_get::<Uid, _>(0)?.0), parent);
    }
    let lock = "SELECT id FROM ork.job WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED";
    let all: Vec<_> = parents.keys().copied().map(Uid::from).collect();
    let mut free = HashSet::new();
    for row in sqlx::query(lock).bind(all).fetch_all(connection).await? {
        free.insert(JobId::from_bytes(row.try_get::<Uid, _>(0)?.0));
    }
    let is_locked = |id: &JobId| {
        let mut next = Some(*id);
        // A job that was removed has no lock.
        while let Some(id) = next.filter(|id| parents.contains_key(id)) {
            if !free.contains(&id) {
                return true;
            }
            next = parents.get(&id).copied().flatten();
        }
        false
    };
    Ok(parents.keys().filter(|id| is_locked(id)).copied().collect())
}

/// Takes advisory locks that are free. Returns the names of the others.
async fn try_lock(connection: &mut PgConnection, class: i32, names: BTreeSet<String>) -> sqlx::Result<HashSet<String>> {
    if names.is_empty() {
        return Ok(HashSet::new());
    }
    let names: Vec<_> = names.into_iter().collect();
    let lock = "SELECT name FROM unnest($2::text[]) AS name WHERE NOT pg_try_advisory_xact_lock($1, hashtext(name))";
    let rows = sqlx::query(lock).bind(class).bind(names).fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Returns the session that holds the row of a job, or of a job above it: the transaction that the row names as its
/// last.
async fn holder(connection: &mut PgConnection, job: JobId) -> sqlx::Result<HeldLock> {
    let query = "WITH RECURSIVE up (id, parent, last) AS ( \
                     SELECT id, parent, xmax FROM ork.job WHERE id = $1 \
                     UNION SELECT job.id, job.parent, job.xmax FROM ork.job JOIN up ON job.id = up.parent) \
                 SELECT up.id, activity.application_name, \
                     coalesce('at ' || host(activity.client_addr), 'at the server'), activity.pid, \
                     to_char(activity.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
                     activity.state, \
                     (extract(epoch FROM clock_timestamp() - activity.state_change) * 1000)::bigint \
                 FROM up JOIN pg_locks ON locktype = 'transactionid' AND transactionid = last AND granted \
                     JOIN pg_stat_activity activity ON activity.pid = pg_locks.pid \
                 WHERE activity.pid <> pg_backend_pid() LIMIT 1";
    let Some(row) = sqlx::query(query).bind(Uid::from(job)).fetch_optional(connection).await? else {
        return Ok(HeldLock { what: format!("job {job}"), holder: None });
    };
    let id = JobId::from_bytes(row.try_get::<Uid, _>(0)?.0);
    // The server shows the activity of other users only to administrators.
    let state = row.try_get::<Option<String>, _>(5)?.unwrap_or_default();
    let is_idle = state.starts_with("idle in transaction");
    let is_stalled = is_idle && row.try_get::<Option<i64>, _>(6)?.is_some_and(|silent| silent >= STALLED);
    let holder = Holder {
        application: row.try_get::<Option<String>, _>(1)?.unwrap_or_default(),
        place: row.try_get(2)?,
        pid: row.try_get(3)?,
        since: row.try_get::<Option<String>, _>(4)?.unwrap_or_else(|| "an unknown time".into()),
        state: if is_idle { "is idle in a transaction".into() } else { "is active".into() },
        is_stalled,
    };
    Ok(HeldLock { what: format!("job {id}"), holder: Some(holder) })
}
