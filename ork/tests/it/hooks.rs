//! Hooks of a job: `on_complete`, `on_success` and `on_failure`, in one process without a broker.

use ork::{CancelMode, JobState};

use super::tasks::*;
use super::world::each;

/// A task that records its call and ends at once.
fn noted(key: &str) -> gated {
    Gate::of(key).open();
    gated { key: key.to_owned() }
}

async fn wait_for_call(key: &str) {
    Gate::of(key).entered().await;
    assert_eq!(calls(key), 1, "{key}");
}

fn fresh() -> String {
    ork::JobId::new().to_string()
}

#[test]
fn hooks_are_submitted_once_after_success_and_failure() {
    each(|world| async move {
        let key = |word: &str, run: &str| format!("{run}.{word}");
        for (well, run) in [(true, fresh()), (false, fresh())] {
            let (always, success, failure, last) =
                (key("always", &run), key("success", &run), key("failure", &run), key("last", &run));
            let id = if well {
                let job = world.ork.submit(add { a: 1, b: 2 }).on_complete(noted(&always)).on_success(noted(&success));
                job.on_failure(noted(&failure)).on_complete(noted(&last)).await.unwrap().id()
            } else {
                let job = world.ork.submit(fails { message: "no".into() }).on_complete(noted(&always));
                let job = job.on_success(noted(&success)).on_failure(noted(&failure)).on_complete(noted(&last));
                job.await.unwrap().id()
            };
            wait_for_call(&always).await;
            wait_for_call(if well { &success } else { &failure }).await;
            wait_for_call(&last).await;
            assert_eq!(calls(if well { &failure } else { &success }), 0);
            // Each hook starts a job, whose id is derived from that of the job.
            let follows = world.outcome(id.following(0)).await;
            assert_eq!((follows.status().state, follows.status().root), (JobState::Succeeded, id.following(0)));
            let why = world.ork.why(id).await.unwrap().to_string();
            assert!(!why.contains("could not be sent"), "{why}");
        }
        world.end().await;
    });
}

#[test]
fn hooks_belong_to_the_job_and_not_to_its_parts() {
    each(|world| async move {
        let key = fresh();
        let sum = world.ork.submit(double_part { count: 20, failing: Vec::new(), run: fresh() });
        assert_eq!(sum.on_complete(noted(&key)).result().await.unwrap(), 380);
        wait_for_call(&key).await;
        // A cancelled job has not succeeded, so its `on_failure` hooks are sent.
        let (key, run) = (fresh(), fresh());
        let job = world.ork.submit(gated { key: run.clone() }).on_failure(noted(&key)).await.unwrap();
        Gate::of(&run).entered().await;
        job.cancel(CancelMode::Immediate).await.unwrap();
        wait_for_call(&key).await;
        world.end().await;
    });
}

#[test]
fn retry_sends_only_hooks_that_were_not_sent_before() {
    each(|world| async move {
        let [run, always, failed, well] = [(); 4].map(|()| fresh());
        let job = world.ork.submit(heals { key: run.clone() }).on_complete(noted(&always));
        let job = job.on_failure(noted(&failed)).on_success(noted(&well)).await.unwrap();
        assert_eq!(job.wait().await.unwrap().status().state, JobState::Failed);
        wait_for_call(&always).await;
        wait_for_call(&failed).await;
        world.ork.retry(job.id()).await.unwrap();
        wait_for_call(&well).await;
        assert_eq!((calls(&always), calls(&failed)), (1, 1));
        world.end().await;
    });
}

#[test]
fn too_many_hooks_are_refused_before_the_job_is_submitted() {
    each(|world| async move {
        let mut job = world.ork.submit(add { a: 1, b: 2 });
        for _ in 0..33 {
            job = job.on_complete(add { a: 1, b: 2 });
        }
        let error = job.await.unwrap_err().to_string();
        assert!(error.contains("33 hooks `on_complete`, at most 32"), "{error}");
        let item = double { number: 1, fail: false, run: fresh() };
        let error = world.ork.submit(add { a: 1, b: 2 }).on_complete(item).await.unwrap_err().to_string();
        assert!(error.contains("send `double_part` instead"), "{error}");
        assert!(world.ork.jobs(ork::Filter { limit: 10, ..ork::Filter::default() }).await.unwrap().is_empty());
        world.end().await;
    });
}
