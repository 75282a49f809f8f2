//! Removes orphans: objects of large outputs whose jobs no longer exist. Runs one page at a time, in the background.
//!
//! Rows are removed before objects, so that no row refers to an object that was removed. If a process dies in between,
//! the objects that it leaves are found by listing all objects of this store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::engine::Engine;
use crate::engine::large_outputs::{ObjectLocation, job_of};
use crate::mutant::{self, Mutant};
use crate::objects::{Object, ObjectError};
use crate::store::{Store, StoreError};

/// The delay of the first collection, which finds what earlier processes have left.
const FIRST: Duration = Duration::from_mins(2);

/// The minimum age of an object that is removed. A younger one may belong to a job that is not committed yet.
pub(crate) const MIN_AGE: Duration = Duration::from_hours(1);

/// The minimum time between two collections, because each lists all objects.
const LEAST: Duration = Duration::from_hours(1);

/// The number of objects that are checked together.
const PAGE: usize = 1_000;

/// The error of a collection that did not remove all orphans.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrphanError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Objects(#[from] ObjectError),
}

/// The result of a collection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Collected {
    /// The number of removed objects.
    pub(crate) removed: usize,
    /// Whether orphans were left because they are younger than [`MIN_AGE`].
    pub(crate) has_young: bool,
}

/// Removes orphans after each notification that jobs are `jobs_removed`, until `stop` is cancelled.
pub(super) async fn collect_always(engine: Arc<Engine>, jobs_removed: Arc<Notify>, stop: CancellationToken) {
    let Some(place) = engine.large.place() else { return };
    let (mut next, mut last) = (Some(engine.clock.now() + FIRST), None);
    loop {
        let due = async {
            match next {
                Some(next) => engine.clock.pause_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = jobs_removed.notified() => {
                let now = engine.clock.now();
                let earliest = last.map_or(now, |last: Timestamp| (last + LEAST).max(now));
                next = Some(next.map_or(earliest, |next| next.min(earliest)));
                continue;
            }
            () = due => {}
        }
        let now = engine.clock.now();
        let collected = tokio::select! {
            biased;
            // An interrupted collection is safe: the next one finds what is left.
            () = stop.cancelled() => return,
            collected = collect(&*engine.store, &place, now) => collected,
        };
        last = Some(now);
        next = match collected {
            Ok(Collected { removed, has_young }) => {
                if removed > 0 {
                    tracing::info!(removed, "deleted large outputs of deleted jobs");
                }
                has_young.then_some(now + LEAST)
            }
            Err(error) => {
                warn(&error);
                Some(now + LEAST)
            }
        };
    }
}

/// Logs that orphans were left.
fn warn(error: &OrphanError) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(%error, source, "cannot delete large outputs of deleted jobs, will retry later");
}

/// Removes the objects of this store whose jobs do not exist.
pub(crate) async fn collect(
    store: &dyn Store,
    place: &ObjectLocation,
    now: Timestamp,
) -> Result<Collected, OrphanError> {
    let mut collected = Collected::default();
    let mut pages = place.objects.list(&place.home).try_ready_chunks(PAGE);
    while let Some(page) = pages.next().await {
        let page = page.map_err(|left| left.1)?;
        let owned = |object: Object| Some((job_of(place, &object.name)?, object));
        let mut objects: Vec<_> = page.into_iter().filter_map(owned).collect();
        let jobs: BTreeSet<_> = objects.iter().map(|(job, _)| *job).collect();
        // Queried after the listing, which therefore contains no object that is written from now on.
        let known = store.existing_jobs(jobs.into_iter().collect()).await?;
        objects.retain(|(job, _)| !known.contains(job) || mutant::is_on(Mutant::RemovesObjectsInUse));
        let found = objects.len();
        objects.retain(|(_, object)| object.written < now - MIN_AGE);
        collected.has_young |= objects.len() < found;
        collected.removed += objects.len();
        if !objects.is_empty() {
            place.objects.remove(objects.into_iter().map(|(_, object)| object.name).collect()).await?;
        }
    }
    Ok(collected)
}
