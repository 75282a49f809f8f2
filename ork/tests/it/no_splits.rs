//! Where a task cannot split its job, which parts have no data, and that a refused split loses nothing.

use ork::{CancelMode, Context, Parts, Result, task};

use super::tasks::*;
use super::world::{each, why};

/// Tries to split in one place, and returns the result as text.
#[task]
async fn tries(place: String, context: Context) -> Result<String> {
    match (place.as_str(), context.is_part()) {
        ("twice", false) => {
            context.split(2).await?;
            yes_or_error(context.split(2).await)
        }
        ("part", false) => context.split(1).await.map(|()| String::new()),
        ("part", true) => yes_or_error(context.split(1).await),
        ("many", false) => yes_or_error(context.split((1 << 32) + 1).await),
        ("data", false) => yes_or_error(context.part_data::<u64>().map(drop)),
        ("kind", false) => context.split_into([serde_json::json!({"rows": [1, "two"]})]).await.map(|()| String::new()),
        ("kind", true) => yes_or_error(context.part_data::<Rows>().map(drop)),
        (_, true) => Ok(String::new()),
        _ => yes_or_error(context.split(1).await),
    }
}

#[derive(Debug, serde::Deserialize)]
struct Rows {
    #[expect(dead_code, reason = "it is deserialized, and never used")]
    rows: Vec<u64>,
}

/// Returns "yes", or the error as text.
fn yes_or_error(result: Result<()>) -> Result<String> {
    result.map(|()| "yes".to_owned()).or_else(|no| Ok(no.to_string()))
}

#[task(join)]
async fn tries_join(parts: Parts<String>, context: Context) -> Result<String> {
    let mut texts = parts.all_ok()?.collect().await?;
    texts.push(yes_or_error(context.split(1).await)?);
    Ok(texts.join(" | "))
}

#[test]
fn refused_split_reports_the_reason_and_loses_nothing() {
    each(|world| async move {
        let submit = |place: &str| world.ork.submit(tries { place: place.into() });
        let job = submit("part").await.unwrap();
        let id = job.id();
        let join = |id| format!("the join of job {id} cannot be split: its parts have ended");
        let part = format!("part 0 of job {id} cannot be split: parts cannot be split");
        assert_eq!(job.result().await.unwrap(), format!("{part} | {}", join(id)));
        // The second split is refused, and does not undo the first one.
        let job = submit("twice").await.unwrap();
        assert_eq!(job.result().await.unwrap(), format!(" |  | {}", join(job.id())));
        assert_eq!(job.status().await.unwrap().parts.succeeded, 2);
        let job = submit("many").await.unwrap();
        assert_eq!(job.result().await.unwrap(), "4294967297 parts are too many: a job has at most 4294967296");
        assert_eq!(job.status().await.unwrap().total, None);
        let job = submit("data").await.unwrap();
        let expected = format!("job {} is not a part of a dynamic split, so it has no part data", job.id());
        assert_eq!(job.result().await.unwrap(), expected);
        let job = submit("kind").await.unwrap();
        let expected = format!(
            "the data of part 0 of job {} is not a valid `it::no_splits::Rows`: `rows[1]`: invalid type: string \
             \"two\", expected u64 at line 1 column 16",
            job.id()
        );
        assert_eq!(job.result().await.unwrap(), format!("{expected} | {}", join(job.id())));
        world.end().await;
    });
}

/// The split function of this task yields its parts.
#[task]
async fn made(context: Context) -> Result<String> {
    assert!(context.is_part());
    yes_or_error(context.part_data::<u64>().map(drop)).map(|data| format!("{data} | {:?}", context.parent_id()))
}

#[task(part)]
fn made_part() -> Vec<made> {
    vec![made {}]
}

#[task(join)]
async fn made_join(parts: Parts<String>) -> Result<String> {
    Ok(parts.all_ok()?.collect().await?.concat())
}

/// A part that tries to split its job, submitted as a single item.
#[task]
async fn item(context: Context) -> Result<String> {
    yes_or_error(context.split(1).await)
}

#[task(part)]
fn item_part() -> Vec<item> {
    vec![item {}]
}

#[test]
fn task_with_a_split_function_cannot_split_its_job_itself() {
    each(|world| async move {
        let message = world.ork.submit(item {}).result().await.unwrap();
        assert_eq!(
            message,
            "the function of `item` cannot split its job: the task has a split, `it::no_splits::item_part`"
        );
        let job = world.ork.submit(made_part {}).await.unwrap();
        let id = job.id();
        let no_data = format!("job {id} is not a part of a dynamic split, so it has no part data");
        assert_eq!(job.result().await.unwrap(), format!("{no_data} | {:?}", Some(id)));
        world.end().await;
    });
}

#[test]
fn context_for_tests_splits_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refused = runtime.block_on(Context::for_test().split(1)).unwrap_err();
    assert_eq!(refused.to_string(), "a context for tests cannot split its job");
}

/// Tries to split after its job was cancelled, and is refused.
#[task]
async fn tardy(key: String, context: Context) -> Result<()> {
    Gate::of(&key).pass().await;
    let no = context.split(1).await.unwrap_err().to_string();
    assert_eq!(no, format!("job {} was cancelled or has ended and can no longer be split", context.job_id()));
    called(&key);
    Ok(())
}

#[test]
fn cancelled_job_cannot_be_split_any_more() {
    each(|world| async move {
        let key = ork::JobId::new().to_string();
        let job = world.ork.submit(tardy { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        job.cancel(CancelMode::Immediate).await.unwrap();
        Gate::of(&key).open();
        let refused = async {
            while calls(&key) == 0 {
                tokio::task::yield_now().await;
            }
        };
        refused.await;
        let status = world.outcome(job.id()).await.status().clone();
        assert_eq!((status.state, status.yielded), (ork::JobState::Cancelled, 0));
        world.end().await;
    });
}

/// A graceful cancel lets running calls finish and starts none: neither new parts nor existing ones.
#[test]
fn gracefully_cancelled_job_cannot_be_split_any_more() {
    each(|world| async move {
        let key = ork::JobId::new().to_string();
        let job = world.ork.submit(tardy { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        world.ork.cancel(job.id(), CancelMode::Graceful).await.unwrap();
        Gate::of(&key).open();
        let status = job.wait().await.unwrap().status().clone();
        assert_eq!((status.state, status.yielded, calls(&key)), (ork::JobState::Cancelled, 0, 1));
        world.end().await;
    });
}

/// Fails because its data have another type.
#[task(retries = 3)]
async fn reads(context: Context) -> Result<u64> {
    if context.is_part() {
        return context.part_data();
    }
    context.split_into(["one"]).await?;
    Ok(1)
}

#[test]
fn part_data_of_another_type_fail_the_part_permanently() {
    each(|world| async move {
        let job = world.ork.submit(reads {}).await.unwrap();
        assert_eq!(why(&job.wait().await.unwrap()), "1 of 1 parts failed");
        let part = &world.ork.part_outputs(job.id(), 0, 1).await.unwrap()[0];
        let message = part.failure.as_ref().unwrap().to_string();
        let expected = "is not a valid `u64`: invalid type: string \"one\", expected u64";
        assert!(message.starts_with(&format!("the data of part 0 of job {} {expected}", job.id())), "{message}");
        world.end().await;
    });
}
