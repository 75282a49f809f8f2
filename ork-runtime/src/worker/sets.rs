//! The service that counts open sets of parts again; `engine::sets` says why.

use std::future::pending;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, part_sets};
use crate::supervisor::Supervisor;

/// Looks at each open set when that is due, until it is told to stop. A look that has begun counts as a delivery.
pub(super) async fn count_again(engine: Arc<Engine>, supervisor: Supervisor, stop: CancellationToken) {
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
            supervisor.delivery(part_sets::check(Arc::clone(&engine), look));
        }
    }
}
