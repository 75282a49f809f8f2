//! Values that JSON cannot represent, or that their type cannot deserialize: they are refused where they are made, with
//! the path to the value.

use std::collections::HashMap;

use ork::{Context, FailureKind, Parts, Result, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tasks::{called, calls};
use super::world::{World, each};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Measured {
    name: Option<String>,
    means: Vec<f64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
enum Tagged {
    Counts { by: HashMap<u32, u8> },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Untagged {
    Large(u128),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Deep(Vec<Self>);

fn measured(last: f64) -> Measured {
    Measured { name: None, means: vec![1.0, last] }
}

#[task]
fn not_a_number() -> f64 {
    f64::NAN
}

#[task]
async fn mean_of(last: f64) -> Result<Measured> {
    Ok(measured(last))
}

#[task]
fn counts_by_number() -> Tagged {
    Tagged::Counts { by: HashMap::from([(7, 1)]) }
}

#[task]
fn very_large() -> Untagged {
    Untagged::Large(u128::MAX)
}

#[task]
fn very_deep(levels: usize) -> Deep {
    (1..levels).fold(Deep(vec![]), |inner, _| Deep(vec![inner]))
}

#[task]
fn words_for_ever() -> std::borrow::Cow<'static, str> {
    "written, and never read by its type".into()
}

#[task]
fn hello(name: String) -> String {
    format!("hello {name}")
}

/// The mean of one part is not a number.
#[task]
fn divided(number: u32) -> f64 {
    f64::from(number) / f64::from(number)
}

#[task(part, tolerate = 1)]
fn divided_part(count: u32) -> impl Iterator<Item = divided> {
    (0..count).map(|number| divided { number })
}

#[task(join)]
fn divided_join(parts: Parts<f64>) -> Result<Vec<String>> {
    parts.failed().into_iter().map(|failed| failed.map(|(index, failure)| format!("{index}: {failure}"))).collect()
}

#[task]
fn takes(measured: Measured, key: String) {
    drop(measured);
    called(&key);
}

/// Its second item cannot be represented in JSON.
#[task(part)]
fn takes_part(key: String) -> Vec<takes> {
    [1.0, f64::INFINITY].map(|last| takes { measured: measured(last), key: key.clone() }).into()
}

#[task]
async fn submits(key: String, context: Context) -> Result<String> {
    let refused = context.submit(takes { measured: measured(f64::NAN), key }).await.unwrap_err();
    Ok(refused.to_string())
}

/// Regression: each of these used to succeed, with `null` as output, or with one that the client reported as
/// written by another version.
#[test]
fn output_that_cannot_be_read_back_fails_its_job_with_the_path() {
    each(|world| async move {
        let (ork, json) = (&world.ork, || "{}".into());
        for (job, expected) in [
            (ork.submit_json("not_a_number", json()).await.unwrap(), "it is NaN, which JSON cannot represent"),
            (
                ork.submit_json("counts_by_number", json()).await.unwrap(),
                "`it::values::Tagged` cannot deserialize what it has",
            ),
            (ork.submit_json("very_large", json()).await.unwrap(), "integers beyond 64 bits"),
            (ork.submit(very_deep { levels: 130 }).await.unwrap().id(), "nested more than 127 levels deep"),
        ] {
            let outcome = world.outcome(job).await;
            let failure = outcome.status().failure.clone().unwrap();
            assert!(failure.kind == FailureKind::Output && failure.message.contains(expected), "{failure:?}");
        }
        assert_eq!(ork.submit(mean_of { last: 2.5 }).result().await.unwrap().means, [1.0, 2.5]);
        let deep = ork.submit(very_deep { levels: 127 }).result().await;
        assert!(deep.is_ok(), "{deep:?}");
        let output = ork.submit_json_for_result("words_for_ever", json()).await.unwrap();
        assert_eq!(output.get(), "\"written, and never read by its type\"");
        world.end().await;
    });
}

/// Regression: the output of such a part used to be `null`, and the join failed when it reached that part.
#[test]
fn part_whose_output_cannot_be_read_back_fails_alone() {
    each(|world| async move {
        let failed = world.ork.submit(divided_part { count: 3 }).result().await.unwrap();
        assert_eq!(failed.len(), 1);
        assert!(failed[0].starts_with("0: unwritable output: it is NaN, which JSON cannot represent"), "{failed:?}");
        world.end().await;
    });
}

/// Regression: the input used to become `null`, and the job failed where it ran; a hook was sent with it.
#[test]
fn input_that_cannot_be_read_back_is_refused_at_submission() {
    each(|world| async move {
        let (ork, key) = (&world.ork, ork::JobId::new().to_string());
        let takes = |last| takes { measured: measured(last), key: key.clone() };
        let place = "the input `measured`: `means[1]` is NaN";
        let message_of = |error: ork::ClientError| format!("{error}: {}", std::error::Error::source(&error).unwrap());
        let alone = message_of(ork.submit(takes(f64::NAN)).await.unwrap_err());
        assert!(alone.contains(place), "{alone}");
        let many = message_of(ork.submit_all([takes(1.0), takes(f64::NAN)]).await.unwrap_err());
        assert!(many.contains(place), "{many}");
        let hook = message_of(ork.submit(hello { name: "a".into() }).on_success(takes(f64::NAN)).await.unwrap_err());
        assert!(hook.contains(place), "{hook}");
        let below = ork.submit(submits { key: key.clone() }).result().await.unwrap();
        assert!(below.contains(place), "{below}");
        let split = ork.submit(takes_part { key: key.clone() }).await.unwrap().wait().await.unwrap();
        let failure = split.status().failure.clone().unwrap().to_string();
        assert!(failure.contains("the input `measured`: `means[1]` is inf"), "{failure}");
        assert!(calls(&key) <= 1, "only the first item can have run");
        world.end().await;
    });
}

/// The error of a client that expects another type does not state a cause that is not known.
#[tokio::test]
async fn output_of_another_type_is_not_reported_as_another_version() {
    let world = World::new("memory:").await;
    let id = world.ork.submit(hello { name: "a".into() }).await.unwrap().id();
    let error = world.outcome(id).await.into_output::<u8>().unwrap_err().to_string();
    assert!(error.contains("is not of the type that this program expects"), "{error}");
    world.end().await;
}

/// Splits itself into parts, one of which is a number that JSON cannot represent.
#[task]
async fn measured_apart(context: Context) -> Result<f64> {
    if context.is_part() {
        return context.part_data();
    }
    context.split_into([1.0, f64::NEG_INFINITY]).await?;
    Ok(0.0)
}

/// Regression: the data of the part used to be `null`, and the part failed when it read them.
#[test]
fn part_data_that_cannot_be_read_back_are_refused_at_the_split() {
    each(|world| async move {
        let outcome = world.ork.submit(measured_apart {}).await.unwrap().wait().await.unwrap();
        let failure = outcome.status().failure.clone().unwrap().to_string();
        assert!(failure.contains("it is -inf, which JSON cannot represent"), "{failure}");
        world.end().await;
    });
}
