//! Two copies of the message of one split, at two workers.
//!
//! Given back at once, the copy whose run was overtaken overtakes the other one: then the split runs a third time, and for
//! as long as it lasts once more each time.

use lapin::BasicProperties;
use ork::{JobId, Parts, Result, task};

use super::tasks::*;
use super::world::{fresh, shared};

const PARTS: u64 = 10_000;

#[task(queue = "parts")]
async fn copied(number: u64) -> u64 {
    number
}

/// So many parts that a third run would begin before the second one has yielded them. No run yields any before two have
/// begun.
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
fn the_run_that_was_overtaken_waits_for_the_other_one() {
    shared(|world| async move {
        let builder = |name: &str| world.builder().set("name", name.to_owned());
        let (one, two) = (builder("one").build().await.unwrap(), builder("two").build().await.unwrap());
        let (foreigner, key) = (world.foreigner().await, fresh());
        let body = format!("{{\"key\": \"{key}\"}}");
        // Whoever has begun takes no more, so that the second copy goes to the other one.
        for worker in [&one, &two] {
            worker.start_worker();
            let named = BasicProperties::default().with_message_id(key.as_str().into());
            foreigner.publish("copied", body.as_bytes(), named).await;
            Gate::of(&key).entered(1).await;
            worker.drain();
        }
        let last = world.worker().await;
        // It is there for whatever is given back.
        assert_eq!(last.submit(add { a: 1, b: 2 }).and_wait().await.unwrap(), 3);
        Gate::of(&key).open();
        let outcome = last.wait(JobId::from_foreign(&key)).await.unwrap();
        assert_eq!(outcome.into_output::<u64>().unwrap(), PARTS * (PARTS - 1) / 2);
        assert_eq!(calls(&key), 2, "the split ran more often than there were copies");
        for ork in [one, two, last] {
            ork.shutdown().await;
        }
    });
}
