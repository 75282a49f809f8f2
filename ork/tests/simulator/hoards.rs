//! Checks that no work waits in one worker while another one has a slot for it.

use std::collections::BTreeMap;

use ork::{Filter, JobId, JobState};

use super::executor::Owner;
use super::process::Worker;
use super::world::World;

/// How long a worker may keep work without a slot while another worker idles, in microseconds; it should release it
/// after ten seconds at most.
const LONGEST: u64 = 30_000_000;

/// The state of the checks so far.
#[derive(Debug, Default)]
pub(crate) struct Hoards {
    /// In which worker a job waits that has not started, and since when.
    waits: BTreeMap<JobId, (Owner, u64)>,
    /// Since when a worker has had a free slot.
    free: BTreeMap<Owner, u64>,
}

impl World {
    /// A worker releases work: other workers may get it, though it may come back to that worker by chance.
    pub(crate) fn releases(&self, owner: Owner) {
        self.hoards.lock().unwrap().waits.retain(|_, (of, _)| *of != owner);
    }

    /// Checks where work waits and which workers have a free slot.
    pub(crate) fn check_hoards(&self) {
        if self.scenario.max_losses > 0 {
            // One more loss would fail this job, so that it waits for a worker without other work.
            return;
        }
        let now = self.executor.now();
        let workers: Vec<_> = self.workers.iter().filter_map(|worker| Some((worker.owner()?, worker))).collect();
        let is_free = |owner: Owner, worker: &Worker| {
            self.oracle(|oracle| oracle.n_calls_of(owner)) < worker.concurrency() && !worker.is_asked_to_stop()
        };
        let filter = Filter { limit: usize::MAX, states: vec![JobState::Ready], ..Filter::default() };
        let ready = self.truth(|tables| tables.jobs(&filter));
        let held =
            ready.into_iter().filter(|view| matches!(view.job.task.as_str(), "plain" | "timed" | "next" | "ticked"));
        let held: BTreeMap<_, _> = held.filter_map(|view| Some((view.job.id, self.holder(view.job.id)?))).collect();
        let mut hoards = self.hoards.lock().unwrap();
        hoards.waits.retain(|job, (owner, _)| held.get(job) == Some(owner));
        for (job, owner) in held {
            hoards.waits.entry(job).or_insert((owner, now));
        }
        hoards.free.retain(|owner, _| workers.iter().any(|(of, worker)| of == owner && is_free(*of, worker)));
        for (owner, worker) in workers {
            if is_free(owner, worker) {
                hoards.free.entry(owner).or_insert(now);
            }
        }
        for (job, (owner, since)) in &hoards.waits {
            let task = self.truth(|tables| tables.job(*job)).map_or_else(String::new, |view| view.job.task);
            let knows =
                |other: &Owner| self.workers.iter().any(|worker| worker.owner() == Some(*other) && worker.knows(&task));
            let is_idle = |other: &Owner, free: u64| other != owner && now > free.max(*since) + LONGEST && knows(other);
            let idle = hoards.free.iter().find(|(other, free)| is_idle(other, **free));
            if let Some((other, _)) = idle {
                self.oracle(|oracle| oracle.hoards(*job, (*owner, *other), now - LONGEST, now));
            }
        }
    }

    /// The worker that has the message of a job.
    fn holder(&self, job: JobId) -> Option<Owner> {
        if let Some(server) = &self.server {
            return server.holder(job);
        }
        let pending = self.truth(|tables| tables.diagnostics(job)).outbox;
        let (boot, _) = pending.held.first()?;
        let owner = Owner(u32::try_from(u128::from_be_bytes(*boot)).ok()?);
        self.workers.iter().any(|worker| worker.owner() == Some(owner)).then_some(owner)
    }
}
