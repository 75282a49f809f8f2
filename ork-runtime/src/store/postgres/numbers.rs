//! The numbers of the outbox's rows: blocks of a sequence, so that a process numbers its rows without asking.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::tx::OutboxId;

/// How many numbers one value of the sequence stands for.
const BLOCK: u64 = 1_024;

/// With fewer than these left, a transaction begins with a new block. Mostly it needs a handful.
const FEW: u64 = 256;

/// The numbers that are left of a block.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    next: OutboxId,
    end: OutboxId,
}

impl Numbers {
    /// The first of at least a few numbers in a row.
    pub(super) async fn first(&mut self, connection: &mut PgConnection) -> sqlx::Result<OutboxId> {
        if self.end - self.next < FEW {
            self.reserve(connection, BLOCK).await?;
        }
        Ok(self.next)
    }

    /// Notes which number comes next. False if there are not so many in a row: then the others must not be used.
    pub(super) fn used(&mut self, next: OutboxId) -> bool {
        let fits = next <= self.end;
        if fits {
            self.next = next;
        }
        fits
    }

    /// One number.
    pub(super) async fn next(&mut self, connection: &mut PgConnection) -> sqlx::Result<OutboxId> {
        if self.next == self.end {
            self.reserve(connection, BLOCK).await?;
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Takes so many numbers in a row. The sequence knows no transaction: what is not used is gone, and that is well.
    pub(super) async fn reserve(&mut self, connection: &mut PgConnection, count: u64) -> sqlx::Result<()> {
        let blocks = i64::try_from(count.div_ceil(BLOCK)).unwrap_or(i64::MAX);
        loop {
            let query = "SELECT min(block), max(block) FROM (SELECT nextval('ork.owed_block') FROM generate_series(1, $1)) AS taken (block)";
            let row = sqlx::query(query).bind(blocks).fetch_one(&mut *connection).await?;
            let (first, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let first = u64::try_from(first).unwrap_or(0);
            let end = u64::try_from(last).unwrap_or(0) + BLOCK;
            // Others may have taken blocks in between.
            if end - first == count.div_ceil(BLOCK) * BLOCK {
                (self.next, self.end) = (first, end);
                return Ok(());
            }
        }
    }
}
