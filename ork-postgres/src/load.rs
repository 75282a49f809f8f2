//! Loads rows into a transaction: jobs with the heads of their ledgers, locked in a fixed order, and the shards they
//! need.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::codec::{Columns, Uid, signed};
use crate::error::damaged;
use ork_core::id::JobId;
use ork_core::job::Job;
use ork_core::ledger::{Counts, Head, Ledger, Shard, place};
use ork_core::tx::{OutboxId, Shards, Transaction};
use ork_ports::store::Work;

/// Returns a job and the head of its ledger.
pub(crate) async fn find(connection: &mut PgConnection, id: JobId) -> sqlx::Result<Option<(Job, Head)>> {
    let query = "SELECT document FROM ork.job WHERE id = $1";
    let row = sqlx::query(query).bind(Uid::from(id)).fetch_optional(connection).await?;
    row.map(|row| Columns::new(&row).job()).transpose()
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
pub(crate) async fn open(
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
    let lock = "SELECT document FROM ork.job WHERE id = ANY($1 || ARRAY(WITH RECURSIVE up (parent) AS ( \
                    SELECT parent FROM ork.job WHERE id = ANY($1) AND parent IS NOT NULL \
                    UNION SELECT job.parent FROM ork.job JOIN up ON job.id = up.parent WHERE job.parent IS NOT NULL) \
                SELECT parent FROM up)) ORDER BY id FOR UPDATE";
    let rows = sqlx::query(lock).bind(ids).fetch_all(&mut *connection).await?;
    let mut found = HashMap::new();
    for row in &rows {
        let (job, head) = Columns::new(row).job()?;
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
    let query = "SELECT job, number, succeeded, failed, skipped, cancelled, running, \
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
            succeeded: c.number()?,
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
pub(crate) async fn open_more(connection: &mut PgConnection, tx: &mut Transaction, wanted: Shards) -> sqlx::Result<()> {
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
pub(crate) async fn shard(connection: &mut PgConnection, job: JobId, number: u64) -> sqlx::Result<Shard> {
    let query = "SELECT bitmaps FROM ork.shard WHERE job = $1 AND number = $2";
    let row = sqlx::query(query).bind(Uid::from(job)).bind(signed(number)).fetch_optional(connection).await?;
    match row {
        None => Ok(Shard::default()),
        Some(row) => Shard::decode(row.try_get(0)?).map_err(damaged),
    }
}
