//! What a task knows, and what it may ask.

use ork::{JobId, JobState};

use super::tasks::*;
use super::world::each;

#[test]
fn a_task_submits_a_child_and_tells_its_progress() {
    each(|world| async move {
        let job = world.ork.submit(parent { name: "Ada".into() }).await.unwrap();
        let child: JobId = job.wait().await.unwrap().parse().unwrap();
        assert_eq!(world.outcome(child).await.into_output::<String>().unwrap(), "hello Ada");
        let status = world.ork.status(child).await.unwrap();
        assert_eq!((status.root, status.parent), (job.id(), Some(job.id())));
        assert_eq!(job.status().await.unwrap().state, JobState::Success);
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
