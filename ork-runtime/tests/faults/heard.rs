//! What was told of a life with faults: everything, in order, and the same event only under the same id.

use std::collections::HashSet;

use ork::{Event, EventKind, JobId};

/// Checks what was told of a job that has succeeded; events that came again are looked at once. One whose message was
/// lost is ready a second time when that is sent again.
pub(crate) fn audit(events: Vec<Event>, id: JobId, has_parts: bool, one_is_lost: bool) {
    let mut seen = HashSet::new();
    let first = events.into_iter().filter(|event| event.job == id && seen.insert(event.id.clone()));
    let mut kinds: Vec<_> = first.map(|event| event.kind).filter(|kind| *kind != EventKind::Progress).collect();
    if one_is_lost {
        kinds.dedup_by(|later, before| (*later, *before) == (EventKind::Ready, EventKind::Ready));
    }
    let count = |kind| kinds.iter().filter(|told| **told == kind).count();
    assert_eq!((count(EventKind::Created), count(EventKind::Completed)), (1, 1), "{kinds:?}");
    assert_eq!(count(EventKind::PartsCompleted), usize::from(has_parts), "{kinds:?}");
    assert_eq!(kinds.iter().take(2).collect::<Vec<_>>(), [&EventKind::Created, &EventKind::Ready], "{kinds:?}");
    assert_eq!(kinds.last(), Some(&EventKind::Completed), "{kinds:?}");
    // Each further attempt is told to be ready after the one before was told to have failed.
    let tries = kinds.iter().filter(|kind| matches!(kind, EventKind::Retrying | EventKind::Ready));
    let expected = [EventKind::Ready, EventKind::Retrying].into_iter().cycle();
    assert!(tries.zip(expected).all(|(told, expected)| *told == expected), "{kinds:?}");
}
