//! Loads rows into a transaction: jobs with the heads of their ledgers, locked in a fixed order, and the shards they
//! need.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};

use super::codec::{Columns, Uid, signed};
use super::error::damaged;
use crate::hook::StoredHooks;
use crate::id::{JobId, SchemaIds};
use crate::job::{Job, JobKind, Phase, ReplyTo, State};
use crate::ledger::{Counts, Halt, Head, Ledger, Shard, place};
use crate::policy::{OnError, Policy};
use crate::store::Work;
use crate::tree::Tree;
use crate::tx::{OutboxId, Shards, Transaction};

/// The columns of a job and of the head of its ledger, in the order in which [`job`] reads them.
macro_rules! job_columns {
    () => {
        "id, root, parent, task, kind, phase, state, attempt, uncounted_attempts, priority, worker, created, \
         started, ended, due, failure, reply_queue, reply_correlation, epoch, appended, sealed, halted, cut, on_error, \
         tolerate, joined, tree, hooks, role, schemas, losses, unique_key"
    };
}
pub(super) use job_columns;

/// The number of these columns.
pub(super) const WIDTH: usize = 32;

/// Reads a job and the head of its ledger from [`job_columns`], which come first in the row.
pub(super) fn job(row: &PgRow) -> sqlx::Result<(Job, Head)> {
    let mut columns = Columns::new(row);
    let c = &mut columns;
    let mut job = Job {
        id: c.id()?,
        root: c.id()?,
        parent: c.get::<Option<Uid>>()?.map(|id| JobId::from_bytes(id.0)),
        task: c.get()?,
        kind: JobKind::from_word(c.get()?).ok_or_else(|| damaged("a kind is unknown"))?,
        phase: Phase::from_word(c.get()?).ok_or_else(|| damaged("a phase is unknown"))?,
        state: State::from_word(c.get()?).ok_or_else(|| damaged("a state is unknown"))?,
        attempt: c.number()?,
        uncounted_attempts: c.number()?,
        priority: c.number()?,
        worker: c.get()?,
        created: c.time()?.unwrap_or_default(),
        started: c.time()?,
        ended: c.time()?,
        due: c.time()?,
        failure: match c.get::<Option<&str>>()? {
            None => None,
            Some(json) => Some(serde_json::from_str(json).map_err(damaged)?),
        },
        reply: {
            let (queue, correlation) = (c.get::<Option<Vec<u8>>>()?, c.get::<Option<Vec<u8>>>()?);
            let text = |bytes| String::from_utf8(bytes).map_err(damaged);
            match queue {
                None => None,
                Some(queue) => {
                    Some(ReplyTo { queue: text(queue)?, correlation: text(correlation.unwrap_or_default())? })
                }
            }
        },
        tree: Tree::default(),
        hooks: None,
        role: None,
        schemas: SchemaIds::default(),
        losses: 0,
        unique_key: None,
    };
    let head = Head {
        epoch: c.number()?,
        appended: c.number()?,
        sealed: c.number_or_none()?,
        halted: match c.get::<Option<&str>>()? {
            None => None,
            Some("stopped") => Some(Halt::Stopped),
            Some("cancelled") => Some(Halt::Cancelled),
            Some(_) => return Err(damaged("a halt reason is unknown")),
        },
        cut: c.get()?,
        policy: Policy {
            on_error: OnError::from_word(c.get()?).ok_or_else(|| damaged("a policy is unknown"))?,
            tolerate: c.get::<&str>()?.parse().map_err(damaged)?,
        },
        joined: c.get()?,
    };
    if let Some(json) = c.get::<Option<&str>>()? {
        job.tree = serde_json::from_str(json).map_err(damaged)?;
    }
    if let Some(row) = c.get::<Option<&str>>()? {
        job.hooks = Some(StoredHooks::from_row(row).map_err(damaged)?);
    }
    if let Some(json) = c.get::<Option<&str>>()? {
        job.role = Some(serde_json::from_str(json).map_err(damaged)?);
    }
    job.schemas = SchemaIds::from_row(c.get::<Option<&[u8]>>()?);
    job.losses = c.number()?;
    job.unique_key = c.get::<Option<&str>>()?.map(Into::into);
    Ok((job, head))
}

/// Ranges of shards, by job: the first and the last number.
type Ranges = BTreeSet<(JobId, u64, u64)>;

fn range(shards: Shards) -> Option<(JobId, u64, u64)> {
    match shards {
        Shards::None => None,
        Shards::Of(id, index) => Some((id, place(index).0, place(index).0)),
        Shards::Between(id, first, last) => Some((id, place(first).0, place(last).0)),
        Shards::All(id) => Some((id, 0, u64::MAX)),
    }
}

/// Locks jobs, lowest id first, and loads them with the shards that these operations are known to need.
///
/// The lock on the row of a job also covers its ledger. All processes lock in the order of the ids, which prevents
/// deadlocks.
pub(super) async fn open(
    connection: &mut PgConnection,
    works: &mut [&mut Box<dyn Work>],
    more: Vec<JobId>,
    next_outbox_id: OutboxId,
) -> sqlx::Result<Transaction> {
    let mut tx = Transaction::new(next_outbox_id);
    let mut wanted = BTreeSet::new();
    for work in works.iter() {
        for at in 0..work.count() {
            wanted.extend([Some(work.job(at)), work.with(at)].into_iter().flatten());
            wanted.extend(work.follows(at));
        }
    }
    let ids: Vec<Uid> =
        wanted.iter().copied().chain(more).collect::<BTreeSet<_>>().into_iter().map(Uid::from).collect();
    if ids.is_empty() {
        return Ok(tx);
    }
    // The parent of a job never changes, so the jobs above it can be looked up before anything is locked.
    let lock = concat!(
        "SELECT ",
        job_columns!(),
        " FROM ork.job WHERE id = ANY($1 || ARRAY(WITH RECURSIVE up (parent) AS ( \
              SELECT parent FROM ork.job WHERE id = ANY($1) AND parent IS NOT NULL \
              UNION SELECT job.parent FROM ork.job JOIN up ON job.id = up.parent WHERE job.parent IS NOT NULL) \
          SELECT parent FROM up)) ORDER BY id FOR UPDATE"
    );
    let rows = sqlx::query(lock).bind(ids).fetch_all(&mut *connection).await?;
    let mut found = HashMap::new();
    for row in &rows {
        let (job, head) = job(row)?;
        found.insert(job.id, (job, head));
    }
    let above: Vec<_> = found.keys().copied().collect();
    // First only with the heads of their ledgers, so that the operations can report which shards they need.
    for id in wanted.into_iter().chain(above).collect::<BTreeSet<_>>() {
        tx.open(id, found.get(&id).map(|(job, head)| (job.clone(), Ledger::new(*head, []))));
    }
    let has_parts = |(job, head): &&(Job, Head)| head.epoch > 0 && tx.is_open(job.id);
    let opened: Vec<_> = found.values().filter(has_parts).map(|(job, _)| job.id).collect();
    if !opened.is_empty() {
        let needs = works.iter().flat_map(|work| (0..work.count()).map(|at| work.shards(at, &tx)));
        let ranges = needs.filter_map(range).collect();
        for (id, shards) in shards(connection, &opened, &ranges).await? {
            if let Some((job, head)) = found.remove(&id) {
                let mut ledger = Ledger::new(head, shards.iter().map(|(number, (counts, _))| (*number, *counts)));
                for (number, (_, shard)) in shards {
                    if let Some(shard) = shard {
                        ledger.load(number, shard);
                    }
                }
                tx.open(id, Some((job, ledger)));
            }
        }
    }
    Ok(tx)
}

/// The shards of one job by number: the counts, and the shard itself if it was requested.
type Known = BTreeMap<u64, (Counts, Option<Shard>)>;

/// Returns the counts of all shards of these jobs, and the shards in the given ranges.
async fn shards(connection: &mut PgConnection, jobs: &[JobId], ranges: &Ranges) -> sqlx::Result<HashMap<JobId, Known>> {
    let query = "SELECT job, number, ok, failed, skipped, cancelled, running, \
                     CASE WHEN EXISTS (SELECT FROM unnest($2, $3, $4) AS r (job, first, last) \
                         WHERE r.job = shard.job AND shard.number BETWEEN r.first AND r.last) THEN bitmaps END \
                 FROM ork.shard WHERE job = ANY($1)";
    let rows = sqlx::query(query)
        .bind(jobs.iter().copied().map(Uid::from).collect::<Vec<_>>())
        .bind(ranges.iter().map(|(job, ..)| Uid::from(*job)).collect::<Vec<_>>())
        .bind(ranges.iter().map(|(_, first, _)| signed(*first)).collect::<Vec<_>>())
        .bind(ranges.iter().map(|(.., last)| signed(*last)).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let mut known: HashMap<JobId, Known> = HashMap::new();
    for row in &rows {
        let c = &mut Columns::new(row);
        let (job, number) = (c.id()?, c.number()?);
        let counts = Counts {
            ok: c.number()?,
            failed: c.number()?,
            skipped: c.number()?,
            cancelled: c.number()?,
            running: c.number()?,
        };
        let shard = c.get::<Option<&[u8]>>()?.map(Shard::decode).transpose().map_err(damaged)?;
        known.entry(job).or_default().insert(number, (counts, shard));
    }
    Ok(known)
}

/// Loads shards that are needed only because of preceding operations in the same transaction, which is rare.
pub(super) async fn open_more(connection: &mut PgConnection, tx: &mut Transaction, wanted: Shards) -> sqlx::Result<()> {
    let Some((id, first, last)) = range(wanted) else { return Ok(()) };
    let Some(entry) = tx.get_mut(id) else { return Ok(()) };
    // Usually this is one shard that is loaded already; then there is nothing to look up.
    if first == last && !entry.ledger.needs(first) {
        return Ok(());
    }
    for number in entry.ledger.unloaded().into_iter().filter(|number| (first..=last).contains(number)) {
        entry.ledger.load(number, shard(&mut *connection, id, number).await?);
    }
    Ok(())
}

/// Returns one shard of a job.
pub(super) async fn shard(connection: &mut PgConnection, job: JobId, number: u64) -> sqlx::Result<Shard> {
    let query = "SELECT bitmaps FROM ork.shard WHERE job = $1 AND number = $2";
    let row = sqlx::query(query).bind(Uid::from(job)).bind(signed(number)).fetch_optional(connection).await?;
    match row {
        None => Ok(Shard::default()),
        Some(row) => Shard::decode(row.try_get(0)?).map_err(damaged),
    }
}
