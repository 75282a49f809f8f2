//! The information about its job that a task gets through its context, and what it can do with the job.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use ork::{Context, JobId, JobState, Parts, Result, task};

use super::tasks::*;
use super::world::each;

/// How often each piece of work of a job was called, by its key.
static KEYS: LazyLock<Mutex<BTreeMap<JobId, BTreeMap<String, u32>>>> = LazyLock::new(Mutex::default);

/// Records a call, and fails the first one for each key.
fn keyed(context: &Context) -> Result<()> {
    let mut keys = KEYS.lock().unwrap();
    let calls = keys.entry(context.job_id()).or_default().entry(context.idempotency_key()).or_default();
    *calls += 1;
    if *calls == 1 { Err("the first call fails".into()) } else { Ok(()) }
}

#[task(retries = 1, backoff = "1ms")]
async fn effect(number: u64, context: Context) -> Result<u64> {
    keyed(&context)?;
    Ok(number)
}

#[task(part)]
fn effect_part(count: u64) -> impl Iterator<Item = effect> {
    (0..count).map(|number| effect { number })
}

#[task(join, retries = 1, backoff = "1ms")]
async fn effect_join(parts: Parts<u64>, context: Context) -> Result<u64> {
    keyed(&context)?;
    Ok(parts.counts().succeeded)
}

#[test]
fn idempotency_key_is_the_same_for_all_attempts_of_one_piece_of_work_only() {
    each(|world| async move {
        let job = world.ork.submit(effect_part { count: 3 }).await.unwrap();
        assert_eq!(job.result().await.unwrap(), 3);
        let keys = KEYS.lock().unwrap().remove(&job.id()).unwrap();
        let expected = ["0", "1", "2", "join"].map(|what| (format!("{}.{what}", job.id()), 2));
        assert_eq!(keys, BTreeMap::from(expected));
        world.end().await;
    });
}

#[test]
fn task_submits_a_child_and_reports_progress() {
    each(|world| async move {
        let job = world.ork.submit(parent { name: "Ada".into() }).await.unwrap();
        let child: JobId = job.result().await.unwrap().parse().unwrap();
        assert_eq!(world.outcome(child).await.into_output::<String>().unwrap(), "hello Ada");
        let status = world.ork.status(child).await.unwrap();
        assert_eq!((status.root, status.parent), (job.id(), Some(job.id())));
        assert_eq!(job.status().await.unwrap().state, JobState::Succeeded);
        let (ork, id) = (&world.ork, job.id());
        let progress = async {
            loop {
                if let Some(progress) = ork.status(id).await.unwrap().progress {
                    return progress;
                }
                tokio::task::yield_now().await;
            }
        };
        let progress = progress.await;
        assert_eq!((progress.percent, progress.info.as_str()), (40.0, "asking the child"));
        world.end().await;
    });
}
