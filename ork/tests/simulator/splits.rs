//! Calls of splits. Unlike other calls they take no slot, and only what one split makes counts.

use std::sync::Arc;

use ork::Context;

use super::call::Call;
use super::executor::Owner;
use super::world::World;

/// A split that is running.
pub(crate) struct Splitting {
    world: Arc<World>,
    number: u64,
}

impl World {
    /// Records the call of a split; the call ends when the returned guard is dropped. If it is not the first one, its
    /// parts are made again.
    pub(crate) fn splits(self: &Arc<Self>, owner: Owner, context: &Context) -> Splitting {
        let (job, now) = (context.job_id(), self.executor.now());
        let what = format!("{} split", context.idempotency_key());
        self.note(owner, format_args!("calls  {} {what}", context.task_name()));
        let call = Call { owner, job, what, claimed: now, started: now, limit: None, is_suspect: false };
        let number = self.oracle(|oracle| oracle.splits(call, now));
        Splitting { world: Arc::clone(self), number }
    }
}

impl Drop for Splitting {
    fn drop(&mut self) {
        self.world.oracle(|oracle| oracle.ends_split(self.number));
    }
}
