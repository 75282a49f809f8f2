//! A cache of what messages inherit from their jobs: inputs, and steps of workflow runs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::step::Step;
use crate::id::JobId;

/// The cache holds the data of at most this many jobs, and at most this many bytes.
const CACHE_LIMITS: (usize, usize) = (8, 32 * 1024 * 1024);

/// A cache of what messages inherit from jobs, the most recently used last. The data never changes, so each is read
/// once.
#[derive(Debug, Default)]
pub(crate) struct Inputs(Mutex<VecDeque<Entry>>);

/// An entry of the cache: what messages of this task inherit from one job.
type Entry = ((JobId, &'static str), Arc<OnceCell<Hydrated>>);

/// The data that the messages of a job have in common.
#[derive(Debug, Clone)]
pub(crate) enum Hydrated {
    /// The input of their job.
    Input(Bytes),
    /// The step that their job is in its workflow run.
    Step(Arc<Step>),
}

impl Hydrated {
    fn len(&self) -> usize {
        match self {
            Self::Input(input) => input.len(),
            Self::Step(step) => step.input().len(),
        }
    }
}

impl Inputs {
    /// Returns the entry of a job and task. Entries that were not used lately are evicted.
    pub(super) fn entry(&self, key: (JobId, &'static str)) -> Arc<OnceCell<Hydrated>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().position(|(known, _)| *known == key).and_then(|at| kept.remove(at));
        let place = known.map(|(_, place)| place).unwrap_or_default();
        let bytes =
            |kept: &VecDeque<Entry>| kept.iter().filter_map(|(_, place)| place.get()).map(Hydrated::len).sum::<usize>();
        while kept.len() >= CACHE_LIMITS.0 || bytes(&kept) > CACHE_LIMITS.1 {
            kept.pop_front();
        }
        kept.push_back((key, Arc::clone(&place)));
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_keeps_recent_inputs_within_its_limits() {
        let (inputs, jobs) = (Inputs::default(), [(); 9].map(|()| (JobId::new(), "a")));
        let first = inputs.entry(jobs[0]);
        first.set(Hydrated::Input(Bytes::from_static(b"first"))).unwrap();
        for job in &jobs[1..8] {
            inputs.entry(*job);
        }
        assert!(Arc::ptr_eq(&first, &inputs.entry(jobs[0])));
        assert!(inputs.entry((jobs[0].0, "b")).get().is_none(), "another task has no part in it");
        // The first was used lately, so that others were evicted.
        assert!(Arc::ptr_eq(&first, &inputs.entry(jobs[0])));
        for job in &jobs[1..] {
            inputs.entry(*job);
        }
        assert!(inputs.entry(jobs[0]).get().is_none());
        assert_eq!(inputs.0.lock().unwrap().len(), CACHE_LIMITS.0);
        inputs.entry(jobs[1]).set(Hydrated::Input(vec![0; CACHE_LIMITS.1 + 1].into())).unwrap();
        inputs.entry(jobs[2]);
        assert_eq!(inputs.0.lock().unwrap().len(), 1);
    }
}
