//! Builds the messages of rows that were taken. A few statements read the jobs, inputs and outputs of all rows.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use sqlx::postgres::PgConnection;

use crate::codec::{Columns, Uid, column, signed};
use ork_core::id::JobId;
use ork_core::job::Job;
use ork_core::message::Outgoing;
use ork_core::tx::{OutboxId, OutboxKind, OutboxRow};

/// A job with the data that its messages carry.
struct Sender {
    job: Job,
    input: Bytes,
    output: Option<Bytes>,
}

/// Returns the messages of each row. A row whose job was removed has none.
pub(crate) async fn of(
    connection: &mut PgConnection,
    rows: &[OutboxRow],
) -> sqlx::Result<HashMap<OutboxId, Vec<Outgoing>>> {
    let mut messages: HashMap<OutboxId, Vec<Outgoing>> = HashMap::new();
    if rows.is_empty() {
        return Ok(messages);
    }
    let senders = senders(connection, rows).await?;
    let mut runs = Vec::new();
    for row in rows {
        let Some(sender) = senders.get(&row.job) else { continue };
        match row.kind {
            OutboxKind::Start | OutboxKind::Join => {
                messages.insert(row.id, vec![row.work(&sender.job, sender.input.clone())]);
            }
            OutboxKind::Reply => {
                messages.insert(row.id, OutboxRow::replies(&sender.job, sender.output.as_ref()));
            }
            OutboxKind::Hooks { mask: which } => {
                messages.insert(row.id, vec![OutboxRow::hooks(&sender.job, which)]);
            }
            OutboxKind::Event(what) => {
                messages.insert(row.id, vec![row.pending_event(&sender.job, what)]);
            }
            OutboxKind::Parts { epoch, first, len, .. } => runs.push((row, &sender.job, epoch, first, len)),
        }
    }
    if runs.is_empty() {
        return Ok(messages);
    }
    let query = "SELECT run.n, part.index, part.input \
                 FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::bigint[]) AS run (n, job, first, beyond) \
                 JOIN ork.part ON part.job = run.job AND part.index >= run.first AND part.index < run.beyond \
                 WHERE part.input IS NOT NULL";
    let parts = sqlx::query(query)
        .bind((0..i64::try_from(runs.len()).unwrap_or(i64::MAX)).collect::<Vec<_>>())
        .bind(column(&runs, |(row, ..)| Uid::from(row.job)))
        .bind(column(&runs, |(.., first, _)| signed(*first)))
        .bind(column(&runs, |(.., first, len)| signed(first + len)))
        .fetch_all(connection)
        .await?;
    let mut found = Vec::with_capacity(parts.len());
    for part in &parts {
        let c = &mut Columns::new(part);
        let (run, index): (usize, u64) = (c.number()?, c.number()?);
        found.push((run, index, Bytes::from(c.get::<Vec<u8>>()?)));
    }
    found.sort_unstable_by_key(|(run, index, _)| (*run, *index));
    for (run, index, input) in found {
        if let Some((row, job, epoch, ..)) = runs.get(run) {
            messages.entry(row.id).or_default().push(row.part(job, *epoch, index, input));
        }
    }
    Ok(messages)
}

async fn senders(connection: &mut PgConnection, rows: &[OutboxRow]) -> sqlx::Result<HashMap<JobId, Sender>> {
    let of = |wanted: fn(&OutboxRow) -> bool| {
        let jobs: BTreeSet<_> = rows.iter().filter(|row| wanted(row)).map(|row| Uid::from(row.job)).collect();
        jobs.into_iter().collect::<Vec<_>>()
    };
    let query = "SELECT document, CASE WHEN id = ANY($2) THEN input END, CASE WHEN id = ANY($3) THEN output END \
                 FROM ork.job WHERE id = ANY($1)";
    let found = sqlx::query(query)
        .bind(of(|_| true))
        .bind(of(|row| row.kind == OutboxKind::Start))
        .bind(of(|row| row.kind == OutboxKind::Reply))
        .fetch_all(connection)
        .await?;
    let mut senders = HashMap::new();
    for row in &found {
        let c = &mut Columns::new(row);
        let (job, _) = c.job()?;
        let (input, output) = (c.get::<Option<Vec<u8>>>()?, c.get::<Option<Vec<u8>>>()?);
        let (input, output) = (input.unwrap_or_default().into(), output.map(Bytes::from));
        senders.insert(job.id, Sender { job, input, output });
    }
    Ok(senders)
}
