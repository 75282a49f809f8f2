//! Dynamic splits over RabbitMQ: the parts go to any worker, and their messages contain only their own data.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use ork::{ClientError, Context, Error, JobId, JobState, Parts, Result, task};

use super::leases::until_leased;
use super::parts::{make, part};
use super::tasks::*;
use super::world::{each, fresh, header, on, once, shared, until, why};

/// A batch of a sheet: the numbers of its rows.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Batch {
    rows: Vec<u64>,
}

/// Adds up the rows of a sheet in batches of ten. The first batches wait for one another, so that no single worker can
/// run all of them.
#[task(queue = "parts", retries = 1, backoff = "1ms", chunk = 7)]
async fn sheet(run: String, name: String, rows: u64, context: Context) -> Result<u64> {
    if context.is_part() {
        let batch: Batch = context.part_data()?;
        assert_eq!((context.parent_id(), name.len()), (Some(context.job_id()), 100_000));
        called(&format!("{run}.{}", context.parallel_index()));
        if called(&format!("{run}.began")) <= 8 {
            Gate::of(&run).pass().await;
        }
        return Ok(batch.rows.into_iter().sum());
    }
    called(&format!("{run}.split"));
    let numbers: Vec<_> = (0..rows).collect();
    context.split_into(numbers.chunks(10).map(|rows| Batch { rows: rows.to_vec() })).await?;
    Ok(0)
}

#[task(join)]
async fn sheet_join(parts: Parts<u64>, context: Context) -> Result<u64> {
    called(&format!("{}.join", context.job_id()));
    let sums = parts.all_ok()?.collect().await?;
    assert!(sums.is_sorted(), "in order");
    Ok(sums.into_iter().sum())
}

#[test]
fn two_workers_share_the_parts_of_a_dynamic_split() {
    shared(|world| async move {
        let workers = [
            world.builder().set("name", "one").set("concurrency", "4").build().await.unwrap(),
            world.builder().set("name", "two").set("concurrency", "4").build().await.unwrap(),
        ];
        for worker in &workers {
            worker.spawn_worker();
        }
        let (client, run) = (world.client().await, fresh());
        let job = client.submit(sheet { run: run.clone(), name: "x".repeat(100_000), rows: 3_000 }).await.unwrap();
        // As many as both workers can run at a time, and more than either can alone.
        Gate::of(&run).entered(8).await;
        Gate::of(&run).open();
        assert_eq!(job.result().await.unwrap(), 3_000 * 2_999 / 2);
        let status = job.status().await.unwrap();
        assert_eq!((status.total, status.parts.succeeded, status.parts.settled()), (Some(300), 300, 300));
        assert_eq!((calls(&format!("{}.join", job.id())), calls(&format!("{run}.split"))), (1, 1));
        assert!((0..300).all(|index| calls(&format!("{run}.{index}")) == 1));
        for ork in workers.into_iter().chain([client]) {
            ork.shutdown().await;
        }
    });
}

/// Splits itself, and returns another type than its parts do.
#[task(queue = "parts", tolerate = 1, retries = 2, backoff = "1ms")]
async fn mailing(to: Vec<String>, context: Context) -> Result<String> {
    if context.is_part() {
        let to: String = context.part_data()?;
        return if to.contains('@') { Ok(to) } else { Err(Error::permanent(format!("{to:?} is no address"))) };
    }
    let n = to.len();
    context.split_into(to).await?;
    if context.attempt() == 1 { Err(Error::new("not yet")) } else { Ok(format!("{n} letters")) }
}

/// The outcome is sent when the last part has ended, with the output that the function returned long before.
#[test]
fn outcome_without_a_join_is_the_return_value() {
    each(|world| async move {
        let ork = world.worker().await;
        for n in [0, 1, 40] {
            let to = (0..n).map(|n| format!("{n}@example.org")).collect();
            assert_eq!(ork.submit(mailing { to }).result().await.unwrap(), format!("{n} letters"));
        }
        let mut foreigner = world.foreigner().await;
        foreigner.publish("mailing", br#"{"to": ["a@b", "c", "d@e"]}"#, foreigner.requesting("borne")).await;
        let (correlation, reply) = foreigner.reply().await;
        assert_eq!((correlation.as_str(), &reply["output"]), ("borne", &"3 letters".into()), "{reply}");
        foreigner.publish("mailing", br#"{"to": ["a@b", "c", "d"]}"#, foreigner.requesting("not borne")).await;
        let (correlation, reply) = foreigner.reply().await;
        assert_eq!((correlation.as_str(), &reply["state"]), ("not borne", &"failed".into()));
        assert_eq!(reply["error"]["message"], "2 of 3 parts failed");
        assert_eq!(reply.get("output"), None, "{reply}");
        ork.shutdown().await;
    });
}

/// Its delivery is acknowledged while it is still splitting, and the lease is removed when the split is sealed.
#[task(queue = "parts")]
async fn slow_to_split(key: String, context: Context) -> Result<String> {
    if !context.is_part() {
        context.split(3).await?;
        called(&key);
        Gate::of(&key).pass().await;
    }
    Ok(key)
}

#[test]
fn long_dynamic_split_is_leased_and_its_job_ends() {
    once(|world| async move {
        let ork = world.builder().set("ack_timeout", "100ms").build().await.unwrap();
        ork.spawn_worker();
        let key = fresh();
        let job = ork.submit(slow_to_split { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        until(&ork, job.id(), |status| status.parts.succeeded == 3).await;
        until_leased(&world).await;
        Gate::of(&key).open();
        assert_eq!(job.result().await.unwrap(), key);
        let status = job.status().await.unwrap();
        assert_eq!((status.state, status.parts.succeeded, calls(&key)), (JobState::Succeeded, 3, 1));
        let why = ork.why(job.id()).await.unwrap();
        assert!(why.sentence.contains("waiting for nothing"), "{why}");
        ork.shutdown().await;
    });
}

#[test]
fn part_of_a_foreign_set_cannot_split() {
    once(|world| async move {
        let (ork, foreigner) = (world.worker().await, world.foreigner().await);
        let queue = format!("part.{}", fresh());
        make(&foreigner, &queue, FieldTable::default()).await;
        foreigner.publish("mailing", br#"{"to": ["a@b"]}"#, part(0, 1, &queue, "[]")).await;
        let id = JobId::from_foreign(&format!("{queue}.0"));
        let outcome = loop {
            // The job is unknown until it is claimed.
            match ork.wait(id).await {
                Ok(outcome) => break outcome,
                Err(_unknown) => tokio::task::yield_now().await,
            }
        };
        let expected = format!("job {id} is a part of an external part set, and parts cannot be split");
        assert_eq!(why(&outcome), expected);
        ork.shutdown().await;
    });
}

/// A message that only names a job neither runs with the job's input nor fails its parts.
#[test]
fn parts_of_unknown_jobs_and_of_other_tasks_are_dead_lettered() {
    once(|world| async move {
        let (ork, mut foreigner) = (world.worker().await, world.foreigner().await);
        let of_another = ork.submit(hello { name: "Ada".into() }).await.unwrap();
        of_another.result().await.unwrap();
        let unknown = JobId::new();
        for (job, detail) in [
            (unknown, format!("there is no job {unknown} in this store, so it has no parts")),
            (of_another.id(), format!("job {} is a job of `hello`, so it has no parts for `mailing`", of_another.id())),
        ] {
            let text = |text: &str| AMQPValue::LongString(text.into());
            let mut headers = FieldTable::default();
            headers.insert("ork-kind".into(), text("part"));
            headers.insert("ork-job".into(), text(&job.to_string()));
            headers.insert("ork-epoch".into(), AMQPValue::LongLongInt(1));
            headers.insert("ork-index".into(), AMQPValue::LongLongInt(0));
            let properties = BasicProperties::default().with_headers(headers);
            foreigner.publish("mailing", br#""a@b""#, properties).await;
            let dead = foreigner.dead().await;
            assert_eq!((header(&dead, "x-ork-reason"), header(&dead, "x-ork-detail")), ("unknown-job".into(), detail));
        }
        assert_eq!(of_another.status().await.unwrap().state, JobState::Succeeded);
        ork.shutdown().await;
    });
}

#[test]
fn dynamic_split_needs_a_store() {
    on("none", "quorum", |world| async move {
        let ork = world.worker().await;
        let ended = ork.submit(mailing { to: vec!["a@b".into()] }).result().await;
        let Err(ClientError::Failed { failure, .. }) = ended else { panic!("{ended:?}") };
        let expected = "`mailing` cannot split its job without a store: set ORK_STORE";
        assert_eq!(failure.to_string(), expected);
        ork.shutdown().await;
    });
}
