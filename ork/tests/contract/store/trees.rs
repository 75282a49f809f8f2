//! Trees of jobs: random sequences of submits, claims, ends, cancels and retries. After each step the counters that
//! jobs keep about the jobs below them must equal the numbers found by counting.

use std::collections::BTreeMap;

use ork::{Failure, FailureKind, Filter, JobId, JobState};
use ork_core::job::{AttemptOutcome, Job, Phase};
use ork_core::tree::CancelMode;
use ork_core::tx::{Cancel, ChildError, Claim, Claimed, NewJob, Retry, Settle, Submit, Submitted};
use ork_ports::store::JobView;

use super::world::{START, World, each};

/// The maximum number of jobs in one sequence.
const JOBS: usize = 24;

struct Program<'world> {
    world: &'world World,
    rng: fastrand::Rng,
    jobs: Vec<JobId>,
}

impl Program<'_> {
    fn any(&mut self) -> Option<JobId> {
        (!self.jobs.is_empty()).then(|| self.jobs[self.rng.usize(..self.jobs.len())])
    }

    async fn submit(&mut self, parent: Option<JobId>) {
        let mut bytes = [0; 16];
        self.rng.fill(&mut bytes);
        let mut job = Job::new(JobId::from_bytes(bytes), "any", START);
        if let Some(parent) = parent {
            job.parent = Some(parent);
            job.root = self.view(parent).await.job.root;
        }
        let id = job.id;
        let submit = Submit::new(NewJob { job, input: "{}".into() }, self.world.by());
        match self.world.apply(submit).await {
            Submitted::Created => self.jobs.push(id),
            Submitted::ChildRefused(_) => {}
            other => panic!("{other:?}"),
        }
    }

    async fn view(&self, id: JobId) -> JobView {
        self.world.store.job(id).await.unwrap().unwrap()
    }

    async fn run(&self, id: JobId, how: AttemptOutcome) {
        let job = self.view(id).await.job;
        let unknown = NewJob { job: Job::new(id, "any", START), input: "{}".into() };
        let claim = Claim::new(unknown, Phase::Start, job.attempt, self.world.by());
        if let Claimed::Granted { job, .. } = self.world.apply(claim).await {
            let (attempt, phase, by) = (job.attempt, job.phase, self.world.by());
            let settle =
                Settle { job: id, phase, attempt, outcome: how, output: Some("1".into()), permit: None, actor: by };
            self.world.apply(settle).await;
        }
    }

    async fn step(&mut self) {
        let Some(id) = self.any() else { return self.submit(None).await };
        let failure = || Failure::new(FailureKind::Task, "no");
        match self.rng.u32(..12) {
            0 if self.jobs.len() < JOBS => self.submit(None).await,
            1..=4 if self.jobs.len() < JOBS => self.submit(Some(id)).await,
            5 => self.run(id, AttemptOutcome::Failed { failure: failure(), retry_at: None }).await,
            6 => self.run(id, AttemptOutcome::Failed { failure: failure(), retry_at: Some(START) }).await,
            7 => {
                let stop = if self.rng.bool() { CancelMode::Immediate } else { CancelMode::Graceful };
                let cancel = Cancel { job: id, mode: stop, from_ancestor: self.rng.bool(), actor: self.world.by() };
                self.world.apply(cancel).await;
            }
            8 => drop(self.world.apply(Retry::new(id, self.world.by())).await),
            _ => self.run(id, AttemptOutcome::Succeeded).await,
        }
    }

    async fn all(&self) -> BTreeMap<JobId, Job> {
        let filter = Filter { limit: JOBS * 2, ..Filter::default() };
        let views = self.world.store.jobs(filter).await.unwrap();
        views.into_iter().map(|view| (view.job.id, view.job)).collect()
    }

    /// Counts, and compares the results with the counters.
    async fn audit(&self) -> BTreeMap<JobId, Job> {
        let jobs = self.all().await;
        assert_eq!(jobs.len(), self.jobs.len());
        for job in jobs.values() {
            let above = |other: &Job| std::iter::successors(other.parent, |id| jobs[id].parent).any(|id| id == job.id);
            let below: Vec<_> = jobs.values().filter(|other| above(other)).collect();
            let children = || below.iter().filter(|other| other.parent == Some(job.id));
            let count = |state| u64::try_from(children().filter(|child| child.state == state).count()).unwrap();
            let open = children().filter(|child| !child.state.is_final()).count();
            let ended = below.iter().filter(|other| other.state.is_final()).count();
            let tree = &job.tree;
            let counted = [below.len(), ended, open].map(|n| u64::try_from(n).unwrap());
            assert_eq!([tree.descendants, tree.descendants_ended, tree.open_children], counted, "{job:?}");
            assert_eq!(
                (tree.failed_children, tree.cancelled_children),
                (count(JobState::Failed), count(JobState::Cancelled)),
                "{job:?}"
            );
            match job.state {
                JobState::Succeeded => assert_eq!(
                    (tree.open_children, tree.failed_children, tree.cancelled_children),
                    (0, 0, 0),
                    "{job:?}"
                ),
                JobState::Waiting => assert!(tree.open_children > 0 && tree.verdict.is_some(), "{job:?}"),
                _ => {}
            }
            assert_eq!(job.state.is_final(), job.ended.is_some(), "{job:?}");
            let filter = Filter { root: Some(job.root), limit: JOBS * 2, ..Filter::default() };
            let of_root = self.world.store.jobs(filter).await.unwrap();
            let same = jobs.values().filter(|other| other.root == job.root).count();
            assert_eq!(of_root.len(), same);
        }
        jobs
    }

    /// Runs all jobs that can run, from the bottom of the trees to the top.
    async fn drain(&self) {
        for _ in 0..JOBS {
            for id in &self.jobs {
                self.run(*id, AttemptOutcome::Succeeded).await;
            }
        }
    }
}

#[test]
fn tree_counters_equal_counted_numbers() {
    let ends = std::sync::Mutex::new(BTreeMap::new());
    each(async |world| {
        let memory = world.store.check().await.unwrap().starts_with("in memory");
        for seed in 0..if memory { 300 } else { 6 } {
            // A seed creates the same jobs in every store, and they must end in the same states.
            let mut program = Program { world: &world, rng: fastrand::Rng::with_seed(seed), jobs: Vec::new() };
            for _ in 0..60 {
                program.step().await;
                program.audit().await;
            }
            program.drain().await;
            let jobs = program.audit().await;
            assert!(jobs.values().all(|job| job.state.is_final()), "seed {seed}: {jobs:?}");
            let end_states: Vec<_> =
                jobs.values().map(|job| (job.id, job.parent, job.state, job.attempt, job.tree)).collect();
            let first = ends.lock().unwrap().entry(seed).or_insert_with(|| end_states.clone()).clone();
            assert_eq!(end_states, first, "seed {seed}");
            let done = program.jobs.clone();
            let prune = ork_ports::store::Prune {
                jobs: done,
                before: START + std::time::Duration::from_secs(1),
                parts: u64::MAX,
            };
            world.store.prune(prune).await.unwrap();
            assert!(world.store.jobs(Filter { limit: 1, ..Filter::default() }).await.unwrap().is_empty());
        }
    });
}

/// A submission of a child job, as another program would make it.
fn below(parent: JobId, world: &World) -> Submit {
    let mut job = Job::new(JobId::new(), "any", START);
    job.parent = Some(parent);
    Submit::new(NewJob { job, input: "{}".into() }, world.by())
}

#[test]
fn a_job_accepts_children_only_until_its_own_work_ends() {
    each(async |world| {
        let unknown = JobId::new();
        let answer = world.apply(below(unknown, &world)).await;
        assert_eq!(answer, Submitted::ChildRefused(ChildError::ParentNotFound));
        let (parent, cancelled) = (world.submit("any").await, world.submit("any").await);
        let program = Program { world: &world, rng: fastrand::Rng::with_seed(0), jobs: Vec::new() };
        program.run(parent, AttemptOutcome::Succeeded).await;
        let answer = world.apply(below(parent, &world)).await;
        assert_eq!(answer, Submitted::ChildRefused(ChildError::ParentEnded(JobState::Succeeded)));
        world.apply(Cancel::new(cancelled, world.by())).await;
        let answer = world.apply(below(cancelled, &world)).await;
        assert_eq!(answer, Submitted::ChildRefused(ChildError::AncestorCancelled(cancelled)));
        assert_eq!(
            program.view(parent).await.job.tree.descendants + program.view(cancelled).await.job.tree.descendants,
            0
        );
    });
}

#[test]
fn the_depth_of_a_tree_is_limited() {
    each(async |world| {
        let root = world.submit("any").await;
        let mut parent = root;
        for _ in 0..ork_core::tree::DEEPEST {
            let submit = below(parent, &world);
            parent = submit.new.job.id;
            assert!(matches!(world.apply(submit).await, Submitted::Created));
        }
        let answer = world.apply(below(parent, &world)).await;
        assert_eq!(answer, Submitted::ChildRefused(ChildError::TooDeep));
        let tree = world.store.job(root).await.unwrap().unwrap().job.tree;
        assert_eq!((tree.descendants, tree.open_children), (64, 1));
    });
}

/// Any program that can publish messages may name any job as the parent. The message is run, but as a root.
#[test]
fn a_claim_without_an_open_parent_creates_a_root() {
    each(async |world| {
        let ended = world.submit("any").await;
        let program = Program { world: &world, rng: fastrand::Rng::with_seed(0), jobs: Vec::new() };
        program.run(ended, AttemptOutcome::Succeeded).await;
        for parent in [ended, JobId::new()] {
            let Submit { new, actor: by, .. } = below(parent, &world);
            let id = new.job.id;
            let claim = Claim { durable: true, ..Claim::new(new, Phase::Start, 1, by) };
            assert!(matches!(world.apply(claim).await, Claimed::Granted { .. }));
            let job = program.view(id).await.job;
            assert_eq!((job.parent, job.root), (None, id));
        }
    });
}
