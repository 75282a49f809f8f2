//! The queues that this process consumes, and when each last delivered a message.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Timestamp;

/// The queues that this process consumes.
#[derive(Debug, Default)]
pub(crate) struct ConsumedQueues(Mutex<Vec<Arc<Activity>>>);

/// One consumed queue.
#[derive(Debug)]
pub(crate) struct Activity {
    /// The tasks whose messages the queue carries.
    tasks: Vec<String>,
    last: AtomicI64,
}

impl ConsumedQueues {
    /// Registers a queue, which counts as consumed for as long as the returned value is kept.
    pub(crate) fn register(&self, tasks: Vec<String>, now: Timestamp) -> Arc<Activity> {
        let queue = Arc::new(Activity { tasks, last: AtomicI64::new(now.as_millis()) });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&queue));
        queue
    }

    /// Returns the tasks whose queues are consumed, and when each queue last delivered a message.
    pub(crate) fn tasks(&self) -> Vec<(String, Timestamp)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|queue| Arc::strong_count(queue) > 1);
        let each =
            |queue: &Arc<Activity>| queue.tasks.iter().map(|task| (task.clone(), queue.last())).collect::<Vec<_>>();
        all.iter().flat_map(each).collect()
    }
}

impl Activity {
    /// Notes that the queue has delivered a message.
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
        let (idle, at) = (ConsumedQueues::default(), Timestamp::from_millis);
        let one = idle.register(vec!["one".to_owned()], at(0));
        let two = idle.register(vec!["two".to_owned(), "three".to_owned()], at(0));
        one.now(at(1_000));
        let named = |tasks: &[(&str, i64)]| tasks.iter().map(|(task, last)| ((*task).to_owned(), at(*last))).collect();
        let all: Vec<_> = named(&[("one", 1_000), ("two", 0), ("three", 0)]);
        assert_eq!(idle.tasks(), all);
        drop(two);
        assert_eq!(idle.tasks(), all[..1]);
        drop(one);
    }
}
