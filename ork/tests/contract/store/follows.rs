//! Jobs that follow several others, with every store: random sequences compared with an oracle, and processes that end
//! the last two jobs at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ork::{Failure, FailureKind, JobId};
use ork_core::job::{AttemptOutcome, Job, Phase};
use ork_core::message::Outgoing;
use ork_core::tx::{Cancel, Claim, Claimed, NewJob, Retry, Settle, Submit, Submitted};
use ork_sqlite::{Sqlite, Synchronous};

use super::postgres;
use super::world::{START, World, each, on};

/// The maximum number of jobs in one sequence.
const JOBS: usize = 20;

async fn follow(world: &World, after: &[JobId]) -> Submitted {
    follow_as(world, JobId::new(), after).await
}

async fn follow_as(world: &World, id: JobId, after: &[JobId]) -> Submitted {
    let new = NewJob { job: Job::new(id, "any", START), input: "{}".into() };
    let submit = Submit { after: after.to_vec(), ..Submit::new(new, world.by()) };
    world.apply(submit).await
}

/// Claims the current attempt, and settles it.
async fn end(world: &World, id: JobId, how: AttemptOutcome) {
    let attempt = world.store.job(id).await.unwrap().unwrap().job.attempt;
    let unknown = NewJob { job: Job::new(id, "any", START), input: "{}".into() };
    let (phase, by) = (Phase::Start, world.by());
    let claim = Claim::new(unknown, phase, attempt, by.clone());
    if let Claimed::Granted { .. } = world.apply(claim).await {
        drop(
            world
                .store
                .apply(Settle {
                    job: id,
                    phase,
                    attempt,
                    outcome: how,
                    output: Some("1".into()),
                    permit: None,
                    actor: by,
                })
                .await
                .unwrap(),
        );
    }
}

/// Takes all messages that are due. Returns their jobs and attempts.
async fn take_messages(world: &World) -> Vec<(JobId, u32)> {
    let taken = world.take(usize::MAX).await;
    let messages = taken.iter().flat_map(|row| &row.messages);
    let found = messages.filter_map(|message| match message {
        Outgoing::Work(message) => Some((message.job, message.attempt)),
        _ => None,
    });
    let found = found.collect();
    let by = ork_core::tx::Actor { hold: true, ..world.by() };
    world.store.delete_outbox(taken.iter().map(|row| row.id).collect(), by).await.unwrap();
    found
}

/// The expected behavior: the first message of a job is available once all jobs that had not ended when it was
/// submitted have ended once.
#[derive(Default)]
struct Oracle {
    waits: BTreeMap<JobId, BTreeSet<JobId>>,
    due: BTreeSet<JobId>,
}

impl Oracle {
    fn submitted(&mut self, id: JobId, open: BTreeSet<JobId>) {
        if open.is_empty() {
            self.due.insert(id);
        } else {
            self.waits.insert(id, open);
        }
    }

    fn ended(&mut self, id: JobId) {
        for (job, waits) in &mut self.waits {
            if waits.remove(&id) && waits.is_empty() {
                self.due.insert(*job);
            }
        }
        self.waits.retain(|_, waits| !waits.is_empty());
    }
}

#[test]
fn followers_start_once_when_the_last_job_has_ended() {
    each(async |world| {
        let memory = world.store.check().await.unwrap().starts_with("in memory");
        for seed in 0..if memory { 300 } else { 8 } {
            let (mut rng, mut jobs, mut oracle) = (fastrand::Rng::with_seed(seed), Vec::new(), Oracle::default());
            for step in 0..80 {
                let state = async |id: JobId| world.store.job(id).await.unwrap().unwrap().job.state;
                let any = |rng: &mut fastrand::Rng| jobs[rng.usize(..jobs.len())];
                match rng.u32(..10) {
                    0..=3 if jobs.len() < JOBS => {
                        let n = if jobs.is_empty() { 0 } else { rng.usize(..5) };
                        let after: Vec<JobId> = (0..n).map(|_| any(&mut rng)).collect();
                        let mut open = BTreeSet::new();
                        for job in &after {
                            if !state(*job).await.is_final() {
                                open.insert(*job);
                            }
                        }
                        let mut bytes = [0; 16];
                        rng.fill(&mut bytes);
                        let id = JobId::from_bytes(bytes);
                        assert!(matches!(follow_as(&world, id, &after).await, Submitted::Created));
                        jobs.push(id);
                        oracle.submitted(id, open);
                    }
                    _ if jobs.is_empty() => {}
                    4 => drop(world.apply(Retry::new(any(&mut rng), world.by())).await),
                    kind => {
                        let id = any(&mut rng);
                        let was_final = state(id).await.is_final();
                        let failure = Failure::new(FailureKind::Task, "no");
                        match kind {
                            5 => drop(world.apply(Cancel::new(id, world.by())).await),
                            6 => end(&world, id, AttemptOutcome::Failed { failure, retry_at: None }).await,
                            _ => end(&world, id, AttemptOutcome::Succeeded).await,
                        }
                        if !was_final && state(id).await.is_final() {
                            oracle.ended(id);
                        }
                    }
                }
                for (job, waits) in &oracle.waits {
                    let situation = world.store.diagnostics(*job).await.unwrap();
                    // If the job follows only one job, the limit that its row waits for names that job.
                    let named = situation.outbox.limit.and_then(|(limit, _)| ork_core::tx::job_of_end(&limit.name));
                    let known: BTreeSet<_> = situation.follows.into_iter().chain(named).collect();
                    assert_eq!(&known, waits, "seed {seed}, step {step}");
                }
                // Later attempts are caused by retries.
                let first = take_messages(&world).await.into_iter().filter(|(_, attempt)| *attempt == 1);
                for (job, _) in first {
                    assert!(oracle.due.remove(&job), "seed {seed}, step {step}: {job} came early, or twice");
                }
                assert!(oracle.due.is_empty(), "seed {seed}, step {step}: {:?} did not come", oracle.due);
            }
        }
    });
}

#[test]
fn a_job_cannot_follow_an_unknown_job_and_nothing_is_written() {
    each(async |world| {
        let (known, unknown, id) = (world.submit("any").await, JobId::new(), JobId::new());
        assert_eq!(follow_as(&world, id, &[known, unknown]).await, Submitted::NoJobToFollow(unknown));
        assert!(world.store.job(id).await.unwrap().is_none());
        assert!(!world.store.job(known).await.unwrap().unwrap().job.tree.has_followers);
    });
}

/// Claims the first attempt of a job, and returns the operation that settles it as failed.
async fn claimed(world: &World, id: JobId) -> Settle {
    assert!(matches!(world.claim(id, Phase::Start, 1).await, Claimed::Granted { .. }));
    let how = AttemptOutcome::Failed { failure: Failure::new(FailureKind::Task, "no"), retry_at: None };
    Settle { job: id, phase: Phase::Start, attempt: 1, outcome: how, output: None, permit: None, actor: world.by() }
}

fn following(world: &World, id: JobId, after: Vec<JobId>) -> Submit {
    let new = NewJob { job: Job::new(id, "any", START), input: "{}".into() };
    Submit { after, ..Submit::new(new, world.by()) }
}

/// Operations that are requested at the same time share one transaction, in this order, in stores that batch writes.
#[test]
fn submits_ends_and_retries_in_one_transaction_apply_in_order() {
    each(async |world| {
        let (store, follower) = (&world.store, JobId::new());
        let [one, two] = [world.submit("any").await, world.submit("any").await];
        take_messages(&world).await;
        let [end_one, end_two] = [claimed(&world, one).await, claimed(&world, two).await];
        // Both jobs end after the job that follows them was submitted.
        let submit = following(&world, follower, vec![one, two]);
        let (submitted, ..) = tokio::join!(store.apply(submit), store.apply(end_one), store.apply(end_two));
        assert!(matches!(submitted.unwrap().output, Submitted::Created));
        assert_eq!(take_messages(&world).await, [(follower, 1)]);
        assert_eq!(store.diagnostics(follower).await.unwrap().follows, []);
        // A job ends and is retried before other jobs that follow it are submitted: they wait until it ends again.
        for several in [false, true] {
            let [again, other] = [world.submit("any").await, world.submit("any").await];
            take_messages(&world).await;
            let [before, after] = [JobId::new(), JobId::new()];
            drop(store.apply(following(&world, before, vec![again])).await.unwrap());
            let end_again = claimed(&world, again).await;
            let jobs = if several { vec![again, other] } else { vec![again] };
            let (retry, submit) = (Retry::new(again, world.by()), following(&world, after, jobs));
            drop(tokio::join!(store.apply(end_again), store.apply(retry), store.apply(submit)));
            let mut came = take_messages(&world).await;
            came.sort_by_key(|(_, attempt)| *attempt);
            assert_eq!(came, [(before, 1), (again, 2)], "several: {several}");
            end(&world, again, AttemptOutcome::Succeeded).await;
            if several {
                assert_eq!(take_messages(&world).await, []);
                end(&world, other, AttemptOutcome::Succeeded).await;
            }
            assert_eq!(take_messages(&world).await, [(after, 1)], "several: {several}");
        }
    });
}

/// Two processes with separate stores end two jobs at the same time that many others follow. Without the lock on the
/// waiting row, each transaction would find that the other job has not ended, and neither would free the follower.
async fn race(worlds: [World; 2], rounds: usize) {
    for _ in 0..rounds {
        let [one, two] = [worlds[0].submit("any").await, worlds[0].submit("any").await];
        take_messages(&worlds[0]).await;
        for at in 0..5 {
            let after = if at % 2 == 0 { [one, two] } else { [two, one] };
            follow(&worlds[at % 2], &after).await;
        }
        tokio::join!(end(&worlds[0], one, AttemptOutcome::Succeeded), end(&worlds[1], two, AttemptOutcome::Succeeded));
        let came = take_messages(&worlds[1]).await;
        assert_eq!(came.len(), 5, "each comes once");
        assert_eq!(came.iter().collect::<BTreeSet<_>>().len(), 5);
    }
    for world in worlds {
        world.store.close().await;
    }
}

#[test]
fn followers_start_once_if_two_processes_end_the_last_jobs_concurrently_over_postgres() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        race([World::postgres(&url).await, World::postgres(&url).await], 60).await;
    });
}

#[test]
fn followers_start_once_if_two_processes_end_the_last_jobs_concurrently_over_sqlite() {
    on(async {
        let folder = tempfile::tempdir().unwrap();
        let open = || Arc::new(Sqlite::open(&folder.path().join("ork.db"), Synchronous::Full).unwrap());
        race([World::over(open()), World::over(open())], 20).await;
    });
}
