//! A job that follows several others, explored: those succeed or fail and are retried, in any order, before and after
//! it is submitted. The production operations decide; the store is pure data that writes their results.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ork::JobId;
use ork_core::job::{AttemptOutcome, Job, Phase};
use ork_core::ledger::Ledger;
use ork_core::tx::{
    Cancel, Claim, Claimed, NewJob, Operation, OutboxKind, Retry, Settle, Submit, Submitted, Transaction, Writes,
    ends_before, job_of_end,
};
use stateright::{Model, Property};

use super::fixtures::{NOW, by, failure};
use super::search::{Found, caught, search};
use super::{proof, store};

/// Faults, of each of which the exploration must find a consequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// The end of any of the jobs releases the follower.
    FirstEnd,
    /// Only the first of the jobs is recorded.
    OneNoted,
    /// The end of a job that is followed is not recorded.
    EndForgotten,
    /// A job that had ended when the follower was submitted is waited for, too.
    EndedNoted,
    /// Each end releases the follower again.
    NothingRemoved,
    /// A follower that is retried waits for nothing.
    RetriedAtOnce,
}

#[derive(Debug, Clone)]
struct Config {
    /// How many jobs are followed.
    jobs: u8,
    /// How often one of them is retried.
    retries: u8,
    mutant: Option<Mutant>,
}

impl Config {
    /// Lets the mutant change what a transaction writes.
    fn falsify(&self, writes: &mut Writes) {
        match self.mutant {
            Some(Mutant::OneNoted) => writes.followed.truncate(1),
            Some(Mutant::EndForgotten) => writes.ended.clear(),
            Some(Mutant::EndedNoted) if !writes.followed.is_empty() => {
                writes.followed = (0..self.jobs).map(|at| (followed(at), follower())).collect();
            }
            _ => {}
        }
    }
}

/// The state of the exploration.
#[derive(Debug, Clone, PartialEq)]
struct World {
    jobs: BTreeMap<JobId, Job>,
    /// Jobs that have not ended, each with a job that follows it.
    follow: BTreeSet<(JobId, JobId)>,
    /// The names that the outbox rows of the follower wait for, each with its attempt.
    waits: Vec<(u32, Box<str>)>,
    /// How often the current attempt of the follower was released.
    freed: u8,
    retries: u8,
    /// The jobs that have not ended even once since the follower was submitted.
    open: BTreeSet<JobId>,
    early: bool,
}

impl std::hash::Hash for World {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        for job in self.jobs.values() {
            (job.id, job.state, job.attempt, job.tree.has_followers).hash(hasher);
        }
        (&self.follow, &self.waits, self.freed, self.retries, &self.open, self.early).hash(hasher);
    }
}

fn followed(at: u8) -> JobId {
    JobId::from_bytes([at + 1; 16])
}

fn follower() -> JobId {
    store::id()
}

fn new(id: JobId) -> NewJob {
    NewJob { job: Job::new(id, "task", NOW), input: Bytes::from_static(b"{}") }
}

impl World {
    fn new(config: &Config) -> Self {
        let jobs = (0..config.jobs).map(|at| (followed(at), Job::new(followed(at), "task", NOW))).collect();
        let (follow, open) = Default::default();
        Self { jobs, follow, waits: Vec::new(), freed: 0, retries: config.retries, open, early: false }
    }

    /// Carries out an operation, as every store does.
    fn change<O: Operation>(&mut self, config: &Config, operation: &O) -> O::Output {
        let mut tx = Transaction::new(1);
        for id in [operation.job()].iter().chain(operation.follows()) {
            if !tx.is_open(*id) {
                tx.open(*id, self.jobs.get(id).map(|job| (job.clone(), Ledger::default())));
            }
        }
        let output = operation.apply(&mut tx);
        let (mut writes, _) = tx.finish();
        let entries = tx.into_jobs().filter(|entry| entry.dirty).map(|entry| (entry.job.id, entry.job));
        self.jobs.extend(entries);
        config.falsify(&mut writes);
        for row in writes.outbox.iter().filter(|row| row.job == follower() && row.kind == OutboxKind::Start) {
            match &row.waits_for {
                Some(limit) => self.waits.push((row.attempt, (&*limit.name).into())),
                None => self.release(row.attempt),
            }
        }
        for name in writes.woken.keys() {
            self.wake(name);
        }
        for job in writes.ended {
            let followed = self.follow.contains(&(job, follower()));
            if config.mutant != Some(Mutant::NothingRemoved) {
                self.follow.remove(&(job, follower()));
            }
            let last = self.follow.is_empty() || config.mutant == Some(Mutant::FirstEnd);
            if followed && config.mutant == Some(Mutant::NothingRemoved) && self.open.is_empty() {
                self.release(self.jobs[&follower()].attempt);
            } else if followed && last {
                self.wake(&ends_before(follower()));
            }
        }
        self.follow.extend(writes.followed);
        output
    }

    /// Releases the rows that wait for `name`.
    fn wake(&mut self, name: &str) {
        let (woken, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waits).into_iter().partition(|(_, waits)| **waits == *name);
        self.waits = others;
        for (attempt, _) in woken {
            self.release(attempt);
        }
    }

    /// A message of an older attempt, or of a cancelled job, starts nothing.
    fn release(&mut self, attempt: u32) {
        let job = &self.jobs[&follower()];
        if attempt == job.attempt && !job.state.is_final() {
            self.freed += 1;
            self.early |= !self.open.is_empty();
        }
    }

    /// Retries the follower, which was cancelled while it waited, as a client does.
    fn retry_follower(&mut self, config: &Config) {
        let waits = self.waits.iter().filter_map(|(_, name)| job_of_end(name));
        let after: Vec<_> = self.follow.iter().map(|(job, _)| *job).chain(waits).collect();
        let after = if config.mutant == Some(Mutant::RetriedAtOnce) { Vec::new() } else { after };
        self.freed = 0;
        self.change(config, &Retry { after, ..Retry::new(follower(), by(None)) });
    }

    fn submit(&mut self, config: &Config) {
        let after: Vec<JobId> = (0..config.jobs).map(followed).collect();
        let is_open = |id: &JobId| !self.jobs[id].state.is_final();
        self.open = after.iter().copied().filter(is_open).collect();
        let submitted = self.change(config, &Submit { after, ..Submit::new(new(follower()), by(None)) });
        assert!(matches!(submitted, Submitted::Created), "{submitted:?}");
    }

    /// Claims a job and settles it.
    fn end(&mut self, config: &Config, id: JobId, fails: bool) {
        let (phase, attempt) = (Phase::Start, self.jobs[&id].attempt);
        let claim = Claim::new(new(id), phase, attempt, by(Some(0)));
        let claimed = self.change(config, &claim);
        assert!(matches!(claimed, Claimed::Granted { .. }), "{claimed:?}");
        self.open.remove(&id);
        let how = if fails {
            AttemptOutcome::Failed { failure: failure(), retry_at: None }
        } else {
            AttemptOutcome::Succeeded
        };
        let output = (!fails).then(|| Bytes::from_static(b"0"));
        self.change(
            config,
            &Settle { job: id, phase, attempt, outcome: how, output, permit: None, actor: by(Some(0)) },
        );
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Action {
    Submit,
    End { at: u8, fails: bool },
    Cancel { at: u8 },
    Retry { at: u8 },
    CancelFollower,
    RetryFollower,
}

impl Model for Config {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        match world.jobs.get(&follower()) {
            None => actions.push(Action::Submit),
            Some(job) if !job.state.is_final() && world.freed == 0 => actions.push(Action::CancelFollower),
            Some(job) if job.state.is_final() && world.retries > 0 => actions.push(Action::RetryFollower),
            Some(_) => {}
        }
        for at in 0..self.jobs {
            match world.jobs[&followed(at)].state {
                state if !state.is_final() => {
                    actions.extend([false, true].map(|fails| Action::End { at, fails }));
                    actions.push(Action::Cancel { at });
                }
                ork::JobState::Succeeded => {}
                _ if world.retries > 0 => actions.push(Action::Retry { at }),
                _ => {}
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Submit => next.submit(self),
            Action::End { at, fails } => next.end(self, followed(at), fails),
            Action::Cancel { at } => {
                next.open.remove(&followed(at));
                next.change(self, &Cancel::new(followed(at), by(None)));
            }
            Action::Retry { at } => {
                next.retries -= 1;
                next.change(self, &Retry::new(followed(at), by(None)));
            }
            Action::CancelFollower => drop(next.change(self, &Cancel::new(follower(), by(None)))),
            Action::RetryFollower => {
                next.retries -= 1;
                next.retry_follower(self);
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a follower starts after the last end", |_, w: &World| !w.early),
            Property::always("a follower is released once", |_, w: &World| w.freed <= 1),
            Property::always("a follower of ended jobs is released", |_, w: &World| {
                w.jobs.get(&follower()).is_none_or(|job| job.state.is_final()) || !w.open.is_empty() || w.freed > 0
            }),
            Property::sometimes("a follower that has waited is let go", |_, w: &World| {
                w.freed == 1 && w.jobs.values().any(|job| job.tree.has_followers)
            }),
        ]
    }
}

fn explore(jobs: u8, retries: u8, mutant: Option<Mutant>) -> Found {
    search(Config { jobs, retries, mutant }, 0)
}

#[test]
fn follower_of_several_jobs_starts_once_after_the_last_of_them() {
    for (jobs, retries) in [(1, 2), (2, 3), (3, 2), (4, 1)] {
        let found = explore(jobs, retries, None);
        if let Some((property, path)) = found.broken {
            panic!("{jobs} jobs: violated: {property}:\n  {path}");
        }
        println!("a follower of {jobs}: {} states", found.states);
        proof::note("states", found.states);
    }
}

#[test]
fn every_mutant_of_followers_is_caught() {
    for mutant in [
        Mutant::FirstEnd,
        Mutant::OneNoted,
        Mutant::EndForgotten,
        Mutant::EndedNoted,
        Mutant::NothingRemoved,
        Mutant::RetriedAtOnce,
    ] {
        caught(mutant, &explore(3, 2, None), &explore(3, 2, Some(mutant)));
        proof::note("mutants", 1);
    }
}
