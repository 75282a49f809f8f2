//! `Lease`: takes a dispatch of long work out of the broker's hands, as a row of the outbox that its worker holds.

use super::books::{Books, Entry};
use super::owed::{OwedAsk, OwedId, OwedRow};
use super::{By, Operation, Shards};
use crate::id::JobId;
use crate::job::Phase;

/// Owes the dispatch that a worker is just running once more, held by that worker.
///
/// While the worker lives nobody else sends it; when it has died, or gives the row back, whoever notices does. So the
/// delivery it came with can be acknowledged long before the work ends.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// What the dispatch asks for: the start, the join, or one part.
    pub ask: OwedAsk,
    /// The attempt that is running.
    pub attempt: u32,
    /// Who runs it.
    pub by: By,
}

impl Operation for Lease {
    /// The row that is held; `None` if the attempt is not current any more.
    type Answer = Option<OwedId>;

    fn job(&self) -> JobId {
        self.job
    }

    fn shards(&self, _books: &Books) -> Shards {
        match self.ask {
            OwedAsk::Parts { first, .. } => Shards::Of(self.job, first),
            OwedAsk::Start | OwedAsk::Join | OwedAsk::Reply | OwedAsk::Hooks { .. } | OwedAsk::Tell(_) => Shards::None,
        }
    }

    fn apply(&self, books: &mut Books) -> Option<OwedId> {
        let entry = books.get(self.job).filter(|entry| self.is_current(entry))?;
        let job = entry.job.clone();
        let by = By { hold: true, ..self.by.clone() };
        let nothing_to_send = |_: &OwedRow| Vec::new();
        let owed = books.owe(&job, (self.ask, self.attempt, None), &by, Some(nothing_to_send));
        owed.map(|owed| owed.id)
    }
}

impl Lease {
    fn is_current(&self, Entry { job, ledger, .. }: &Entry) -> bool {
        let phase = match self.ask {
            OwedAsk::Parts { epoch, first, .. } => return ledger.is_current(epoch, first, self.attempt),
            OwedAsk::Start => Phase::Start,
            OwedAsk::Join => Phase::Join,
            OwedAsk::Reply | OwedAsk::Hooks { .. } | OwedAsk::Tell(_) => return false,
        };
        job.is_current(phase, self.attempt)
    }
}
