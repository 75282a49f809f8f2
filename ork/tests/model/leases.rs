//! Leases of long work and permits of a limit, which a worker holds besides its deliveries. Both end with the worker,
//! whether it is dead or only presumed dead.

use std::sync::Arc;

use ork_core::tx::{Lease, Limit, OutboxKind, Permit};

use super::config::{Config, Mutant};
use super::fixtures::NOW;
use super::rules::Step;
use super::store::{Tables, id};
use super::world::{Activity, Worker, World, by};

impl World {
    /// Returns the limit that a call starts under, if it is `limited`.
    pub(crate) fn limit(config: &Config, limited: bool) -> Option<Limit> {
        config.limit().filter(|_| limited)
    }

    /// Returns the permit that is released when a call ends that was `limited`.
    pub(crate) fn released(config: &Config, limited: bool) -> Option<Permit> {
        let limit = Self::limit(config, limited).filter(|_| config.mutant != Some(Mutant::PermitKept));
        limit.map(|limit| Permit { limit, since: NOW })
    }

    /// The work takes long: a lease replaces its delivery.
    pub(crate) fn lease(&mut self, config: &Config, worker: usize) {
        let Some((row_kind, attempt)) = held_row(&self.workers[worker]) else { return };
        let lease = Lease { job: id(), kind: row_kind, attempt, actor: by(Some(worker)) };
        let leased =
            config.mutant == Some(Mutant::Unleased) || self.change(config, Some(worker), &lease, Step::Other).is_some();
        self.workers[worker].unacked.clear();
        self.workers[worker].lease = (leased && config.mutant != Some(Mutant::Unleased)).then_some((row_kind, attempt));
    }

    /// The leased work has ended, or need not be done.
    pub(crate) fn end_lease(&mut self, config: &Config, worker: usize) {
        if let Some(lease) = self.workers[worker].lease.take().filter(|_| config.mutant != Some(Mutant::LeaseKept)) {
            self.edit(config, |tables| tables.forget(lease));
        }
    }

    /// A lease is released: another process may take the work.
    pub(crate) fn free(&mut self, config: &Config, worker: usize, lost: bool) {
        if let Some(lease) = self.workers[worker].lease.take() {
            self.edit(config, |tables| tables.free(lease, lost));
        }
    }

    /// A worker has sent no heartbeat for too long, so its rows are free. It may continue all the same.
    pub(crate) fn expire(&mut self, config: &Config, worker: usize) {
        self.free(config, worker, true);
        let freed = config.mutant != Some(Mutant::PermitsOfDead);
        self.sweep(config, |permits| permits[worker] *= u32::from(!freed));
    }

    /// A living process releases as many rows as there are free permits.
    pub(crate) fn sweep(&mut self, config: &Config, end: impl FnOnce(&mut Vec<u32>)) {
        if config.permits.is_some() {
            self.edit(config, |tables| {
                end(&mut tables.permits);
                tables.sweep();
            });
        }
    }

    /// Changes rows without an operation.
    fn edit(&mut self, config: &Config, change: impl FnOnce(&mut Tables)) {
        let mut tables = Tables::clone(&self.seen);
        change(&mut tables);
        self.seen = Arc::new(tables);
        self.write();
        self.relay(config);
    }

    /// Workers are interchangeable; their permits move with them.
    pub(crate) fn sort_with_permits(&mut self) {
        let mut order: Vec<_> = (0..self.workers.len()).collect();
        order.sort_by_key(|at| (&self.workers[*at], self.seen.permits[*at], self.disk.permits[*at]));
        if order.is_sorted() {
            return;
        }
        let same = Arc::ptr_eq(&self.seen, &self.disk);
        self.workers = order.iter().map(|at| self.workers[*at].clone()).collect();
        let sorted = |tables: &Tables| {
            let permits = order.iter().map(|at| tables.permits[*at]).collect();
            Arc::new(Tables { permits, ..tables.clone() })
        };
        self.seen = sorted(&self.seen);
        self.disk = if same { Arc::clone(&self.seen) } else { sorted(&self.disk) };
    }

    /// How many running calls need permits.
    pub(crate) fn limited_calls(&self, config: &Config) -> usize {
        let calls = |worker: &Worker| match &worker.activity {
            Activity::Parts { parts, .. } => parts.len(),
            Activity::Job { join: false, .. } if config.plain => 1,
            Activity::Idle
            | Activity::Job { .. }
            | Activity::Split { .. }
            | Activity::Done
            | Activity::Held { .. }
            | Activity::Early { .. } => 0,
        };
        self.workers.iter().map(calls).sum()
    }
}

/// Returns the outbox kind and attempt of the work of a worker, if that is a single job or part.
pub(crate) fn held_row(worker: &Worker) -> Option<(OutboxKind, u32)> {
    match &worker.activity {
        Activity::Job { join: true, attempt, .. } => Some((OutboxKind::Join, *attempt)),
        Activity::Job { join: false, attempt, .. } | Activity::Split { attempt, .. } => {
            Some((OutboxKind::Start, *attempt))
        }
        Activity::Parts { epoch, attempt, waited, parts } if parts.len() == 1 => {
            Some((OutboxKind::Parts { epoch: *epoch, first: parts[0].0, len: 1, waited: *waited }, *attempt))
        }
        Activity::Parts { .. } | Activity::Idle | Activity::Done | Activity::Held { .. } | Activity::Early { .. } => {
            None
        }
    }
}
