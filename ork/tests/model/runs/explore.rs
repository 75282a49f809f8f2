//! Workflow runs as stateright sees them: the possible steps in a world, and the properties of all worlds.

use ork::{JobId, JobState};
use stateright::{Model, Property};

use super::super::search::{Found, search};
use super::super::store::id;
use super::Config;
use super::world::{Activity, Flaw, World};

/// One step of the world.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// A worker takes a message.
    Take {
        worker: usize,
        msg: usize,
    },
    /// A worker takes its next step. If `fails`, its task has failed.
    Advance {
        worker: usize,
        fails: bool,
    },
    /// A worker dies.
    Crash {
        worker: usize,
    },
    /// The broker redelivers a message that a worker still holds.
    Redeliver {
        worker: usize,
    },
    Retry {
        job: JobId,
    },
    /// Cancels the run, or a job below one that was cancelled.
    Cancel {
        job: JobId,
    },
}

/// A config, explored.
#[derive(Debug, Clone)]
struct Explored(Config);

impl Model for Explored {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.0)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.flaw.is_some() {
            return;
        }
        let left = world.left;
        for (worker, it) in world.workers.iter().enumerate() {
            // Workers that do the same are interchangeable.
            if worker > 0 && world.workers[worker - 1] == *it {
                continue;
            }
            if it.activity == Activity::Idle {
                let first = |msg: &usize| *msg == 0 || world.bag[*msg - 1] != world.bag[*msg];
                actions.extend((0..world.bag.len()).filter(first).map(|msg| Action::Take { worker, msg }));
                continue;
            }
            actions.push(Action::Advance { worker, fails: false });
            if left.failures > 0 && matches!(it.activity, Activity::Task { .. }) {
                actions.push(Action::Advance { worker, fails: true });
            }
            if left.crashes > 0 {
                actions.push(Action::Crash { worker });
            }
            if left.duplicates > 0 && it.unacked.is_some() && !it.stale {
                actions.push(Action::Redeliver { worker });
            }
        }
        let Some(run) = world.tables.run() else { return };
        if left.retries > 0 {
            let not_well = |state| matches!(state, JobState::Failed | JobState::Cancelled);
            let jobs = world.tables.jobs.values().filter(|job| not_well(job.state));
            actions.extend(jobs.map(|job| Action::Retry { job: job.id }));
        }
        if left.cancels > 0 && !run.state.is_final() {
            actions.push(Action::Cancel { job: id() });
        }
        if run.tree.cancel_mode.is_some() || run.state == JobState::Cancelled {
            let open = world.tables.tasks().filter(|job| !job.state.is_final());
            actions.extend(open.map(|job| Action::Cancel { job: job.id }));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let (mut next, config) = (world.clone(), &self.0);
        let left = &mut next.left;
        match action {
            Action::Take { worker, msg } => next.take(config, worker, msg),
            Action::Advance { worker, fails } => {
                left.failures -= u8::from(fails);
                next.advance(config, worker, fails);
            }
            Action::Crash { worker } => {
                left.crashes -= 1;
                next.crash(worker);
            }
            Action::Redeliver { worker } => {
                left.duplicates -= 1;
                next.redeliver(worker);
            }
            Action::Retry { job } => {
                left.retries -= 1;
                next.retry(config, job);
            }
            Action::Cancel { job } => {
                left.cancels -= u8::from(job == id());
                next.cancel(config, job);
            }
        }
        next.simplify();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a task starts after those that it needs", |_, w: &World| w.flaw != Some(Flaw::Early)),
            Property::always("a task has one job at a time", |_, w: &World| w.flaw != Some(Flaw::Twice)),
            Property::always("nothing changes after the end", |_, w: &World| w.flaw != Some(Flaw::Moved)),
            Property::always("counts match the steps", |_, w: &World| w.flaw != Some(Flaw::Miscounted)),
            Property::always("a run ends as its tasks, with one reply", |_, w: &World| w.flaw != Some(Flaw::Misjudged)),
            Property::always("a run that ends well has nothing outdated in it", |_, w: &World| {
                w.flaw != Some(Flaw::Outdated)
            }),
            Property::always("a quiet world has ended", |_, w: &World| !is_quiet(w) || w.run_ended()),
            Property::sometimes("a run succeeds", |_, w: &World| {
                w.tables.run().is_some_and(|run| run.state == JobState::Succeeded)
            }),
        ]
    }
}

/// Returns whether nothing is under way and every worker is idle.
fn is_quiet(world: &World) -> bool {
    world.bag.is_empty() && world.workers.iter().all(|worker| worker.activity == Activity::Idle)
}

/// Explores every world, or up to `most` states.
pub(super) fn explore(config: Config, most: usize) -> Found {
    search(Explored(config), most)
}
