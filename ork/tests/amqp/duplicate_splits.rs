//! Two copies of the message of one split, at two workers.
//!
//! If the copy with the stale run were requeued at once, its next delivery would start a newer run and make the
//! other worker's run stale: the split would run a third time, and again each time for as long as it lasts.

use lapin::BasicProperties;
use ork::{JobId, Parts, Result, task};

use super::tasks::*;
use super::world::{fresh, shared};

const PARTS: u64 = 10_000;

#[task(queue = "parts")]
async fn copied(number: u64) -> u64 {
    number
}

/// Yields so many parts that a third run would start before the second one has yielded all of them. No run yields a
/// part before two runs have started.
#[task(part)]
async fn copied_part(key: String) -> Vec<copied> {
    called(&key);
    Gate::of(&key).pass().await;
    (0..PARTS).map(|number| copied { number }).collect()
}

#[task(join)]
fn copied_join(parts: Parts<u64>) -> Result<u64> {
    parts.all_ok()?.into_iter().sum()
}

#[test]
fn stale_copy_of_a_split_waits_for_the_current_run() {
    shared(|world| async move {
        let builder = |name: &str| world.builder().set("name", name.to_owned());
        let (one, two) = (builder("one").build().await.unwrap(), builder("two").build().await.unwrap());
        let (foreigner, key) = (world.foreigner().await, fresh());
        let body = format!("{{\"key\": \"{key}\"}}");
        // A draining worker takes nothing more, so the second copy goes to the other one.
        for worker in [&one, &two] {
            worker.spawn_worker();
            let named = BasicProperties::default().with_message_id(key.as_str().into());
            foreigner.publish("copied", body.as_bytes(), named).await;
            Gate::of(&key).entered(1).await;
            worker.worker().stop();
        }
        let last = world.worker().await;
        // This worker takes all requeued messages.
        assert_eq!(last.submit(add { a: 1, b: 2 }).result().await.unwrap(), 3);
        Gate::of(&key).open();
        let outcome = last.wait(JobId::from_foreign(&key)).await.unwrap();
        assert_eq!(outcome.into_output::<u64>().unwrap(), PARTS * (PARTS - 1) / 2);
        assert_eq!(calls(&key), 2, "the split ran more often than there were copies");
        for ork in [one, two, last] {
            ork.shutdown().await;
        }
    });
}
