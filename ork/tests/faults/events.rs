//! The events of a life with faults: all of them, in order, and the same event only under the same id.

use std::collections::HashSet;

use ork::{Event, EventKind, JobId};

/// Checks the events of a job that has succeeded; an event that was published again counts once. An event `ready`
/// whose message was lost is published a second time when the message is sent again.
pub(crate) fn audit(events: Vec<Event>, id: JobId, has_parts: bool, one_is_lost: bool) {
    let mut seen = HashSet::new();
    let first = events.into_iter().filter(|event| event.job == id && seen.insert(event.id.clone()));
    let mut kinds: Vec<_> = first.map(|event| event.kind).filter(|kind| *kind != EventKind::Progress).collect();
    if one_is_lost {
        kinds.dedup_by(|later, before| (*later, *before) == (EventKind::Ready, EventKind::Ready));
    }
    let count = |kind| kinds.iter().filter(|actual| **actual == kind).count();
    assert_eq!((count(EventKind::Created), count(EventKind::Succeeded)), (1, 1), "{kinds:?}");
    assert_eq!(count(EventKind::PartsCompleted), usize::from(has_parts), "{kinds:?}");
    assert_eq!(kinds.iter().take(2).collect::<Vec<_>>(), [&EventKind::Created, &EventKind::Ready], "{kinds:?}");
    assert_eq!(kinds.last(), Some(&EventKind::Succeeded), "{kinds:?}");
    // Each further attempt is published as ready after the one before was published as failed.
    let tries = kinds.iter().filter(|kind| matches!(kind, EventKind::Retrying | EventKind::Ready));
    let expected = [EventKind::Ready, EventKind::Retrying].into_iter().cycle();
    assert!(tries.zip(expected).all(|(actual, expected)| *actual == expected), "{kinds:?}");
}
