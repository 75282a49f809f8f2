//! Which queues bring this process nothing, though it would take what comes.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// The queues that this process consumes, and when each brought something last.
#[derive(Debug, Default)]
pub(crate) struct Idle(Mutex<Vec<Arc<Heard>>>);

/// One queue that is consumed.
#[derive(Debug)]
pub(crate) struct Heard {
    /// The tasks whose messages it brings.
    tasks: Vec<String>,
    last: AtomicI64,
}

impl Idle {
    /// One more queue is consumed, for as long as the answer is kept.
    pub(crate) fn consumes(&self, tasks: Vec<String>, now: Timestamp) -> Arc<Heard> {
        let heard = Arc::new(Heard { tasks, last: AtomicI64::new(now.as_millis()) });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&heard));
        heard
    }

    /// The tasks whose queues have brought nothing for so long.
    pub(crate) fn tasks(&self, long: Duration, now: Timestamp) -> Vec<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|heard| Arc::strong_count(heard) > 1);
        let idle = all.iter().filter(|heard| heard.last() + long <= now);
        idle.flat_map(|heard| heard.tasks.iter().cloned()).collect()
    }
}

impl Heard {
    /// It has brought something.
    pub(crate) fn now(&self, now: Timestamp) {
        self.last.store(now.as_millis(), Ordering::Relaxed);
    }

    fn last(&self) -> Timestamp {
        Timestamp::from_millis(self.last.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_is_idle_when_it_has_brought_nothing_for_long_and_is_still_consumed() {
        let (idle, at, minute) = (Idle::default(), Timestamp::from_millis, Duration::from_mins(1));
        let one = idle.consumes(vec!["one".to_owned()], at(0));
        let two = idle.consumes(vec!["two".to_owned(), "three".to_owned()], at(0));
        one.now(at(1_000));
        assert_eq!(idle.tasks(minute, at(59_999)), [""; 0]);
        assert_eq!(idle.tasks(minute, at(60_000)), ["two", "three"]);
        drop(two);
        assert_eq!(idle.tasks(minute, at(61_000)), ["one"]);
        drop(one);
    }
}
