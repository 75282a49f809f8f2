//! The queues that this process consumes, and when each brought something last.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Timestamp;

/// What this process consumes.
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

    /// The tasks whose queues are consumed, and when each brought something last.
    pub(crate) fn tasks(&self) -> Vec<(String, Timestamp)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|heard| Arc::strong_count(heard) > 1);
        let each = |heard: &Arc<Heard>| heard.tasks.iter().map(|task| (task.clone(), heard.last())).collect::<Vec<_>>();
        all.iter().flat_map(each).collect()
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
    fn queue_counts_for_as_long_as_it_is_consumed() {
        let (idle, at) = (Idle::default(), Timestamp::from_millis);
        let one = idle.consumes(vec!["one".to_owned()], at(0));
        let two = idle.consumes(vec!["two".to_owned(), "three".to_owned()], at(0));
        one.now(at(1_000));
        let named = |tasks: &[(&str, i64)]| tasks.iter().map(|(task, last)| ((*task).to_owned(), at(*last))).collect();
        let all: Vec<_> = named(&[("one", 1_000), ("two", 0), ("three", 0)]);
        assert_eq!(idle.tasks(), all);
        drop(two);
        assert_eq!(idle.tasks(), all[..1]);
        drop(one);
    }
}
