//! The numbers of outbox rows. A process reserves blocks of a sequence, so that it can number rows without a query.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use ork_core::tx::OutboxId;

/// The number of row numbers that one value of the sequence stands for.
const BLOCK: u64 = 1_024;

/// If fewer numbers than this are left, a transaction starts with a new block. Usually it needs only a handful.
const FEW: u64 = 256;

/// The unused numbers of a block.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    next: OutboxId,
    end: OutboxId,
}

impl Numbers {
    /// Returns the first of at least [`FEW`] consecutive numbers.
    pub(crate) async fn first(&mut self, connection: &mut PgConnection) -> sqlx::Result<OutboxId> {
        if self.end - self.next < FEW {
            self.reserve(connection, BLOCK).await?;
        }
        Ok(self.next)
    }

    /// Records the next unused number. Returns `false` if the block does not have as many numbers; they must not be
    /// used then.
    pub(crate) fn used(&mut self, next: OutboxId) -> bool {
        let fits = next <= self.end;
        if fits {
            self.next = next;
        }
        fits
    }

    /// Returns one number.
    pub(crate) async fn next(&mut self, connection: &mut PgConnection) -> sqlx::Result<OutboxId> {
        if self.next == self.end {
            self.reserve(connection, BLOCK).await?;
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Reserves this many consecutive numbers. The sequence is not transactional: unused numbers are lost, which does
    /// no harm.
    pub(crate) async fn reserve(&mut self, connection: &mut PgConnection, count: u64) -> sqlx::Result<()> {
        let blocks = i64::try_from(count.div_ceil(BLOCK)).unwrap_or(i64::MAX);
        loop {
            let query = "SELECT min(block), max(block) FROM \
                             (SELECT nextval('ork.outbox_block') FROM generate_series(1, $1)) AS taken (block)";
            let row = sqlx::query(query).bind(blocks).fetch_one(&mut *connection).await?;
            let (first, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let first = u64::try_from(first).unwrap_or(0);
            let end = u64::try_from(last).unwrap_or(0) + BLOCK;
            // Other processes may have taken blocks in between.
            if end - first == count.div_ceil(BLOCK) * BLOCK {
                (self.next, self.end) = (first, end);
                return Ok(());
            }
        }
    }
}
