//! The service that recounts open sets of parts; `engine::part_sets` explains why.

use std::future::pending;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, storeless::check_set};
use crate::supervisor::Supervisor;

/// Recounts each open set when it is due, until `stop` is cancelled. A recount that has started counts as a delivery,
/// so a drain waits for it.
pub(super) async fn recount(engine: Arc<Engine>, supervisor: Supervisor, stop: CancellationToken) {
    loop {
        let next = engine.sets.next();
        let due = async {
            match next {
                Some(next) => engine.clock.pause_until(next).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = engine.sets.news() => {}
            () = due => {}
        }
        for look in engine.sets.due(engine.clock.now()) {
            supervisor.delivery(check_set::check(Arc::clone(&engine), look));
        }
    }
}
