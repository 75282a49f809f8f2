//! Constraints of schemas: ranges, lengths and patterns are checked wherever types are.
#![cfg(feature = "constraints")]

use std::collections::BTreeMap;

use ork::{ClientError, JobState, Parts, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::world::each;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Size {
    #[schemars(range(min = 1, max = 10))]
    width: u32,
    #[schemars(extend("multipleOf" = 2))]
    height: u32,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Order {
    #[serde(alias = "title")]
    #[schemars(length(min = 2, max = 5))]
    name: String,
    #[schemars(regex(pattern = r"^[a-z]+$"))]
    code: Option<String>,
    #[schemars(length(max = 2))]
    sizes: Vec<Size>,
    shape: Shape,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Shape {
    Round {
        #[schemars(range(min = 1))]
        radius: i64,
    },
    Named(String),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Share(#[schemars(range(min = 0.0, max = 1.0))] f64);

#[task]
fn ship(order: Order, share: Share, at: Option<Share>) -> f64 {
    drop((order, at));
    share.0
}

#[task]
fn measure(input: Size) -> u32 {
    input.width * input.height
}

#[task(part)]
fn measure_part(widths: Vec<u32>) -> Vec<measure> {
    widths.into_iter().map(|width| measure { input: Size { width, height: 2 } }).collect()
}

#[task(join)]
async fn measure_join(parts: Parts<u32>) -> ork::Result<String> {
    let failed = parts.failed().collect().await?;
    let texts = failed.iter().map(|(index, failure)| format!("{index}: {:?} {}", failure.kind, failure.message));
    Ok(texts.collect::<Vec<_>>().join(", "))
}

/// Its schema requires no more than serde does.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Plain {
    minimum: u8,
    pattern: char,
    fixed: [i16; 3],
    set: std::collections::BTreeSet<u64>,
    map: BTreeMap<String, Vec<Option<i8>>>,
}

#[task]
fn plain(input: Plain) -> usize {
    input.set.len()
}

const GOOD: &str = r#"{"order": {"name": "pens", "sizes": [], "shape": "x"}, "share": 0.5}"#;

#[test]
fn input_that_violates_its_schema_is_refused_before_it_is_submitted() {
    each(|world| async move {
        let good = world.ork.submit_json("ship", GOOD.into()).await.unwrap();
        assert_eq!(world.outcome(good).await.into_output::<serde_json::Value>().unwrap(), 0.5);
        for (from, to, expected) in [
            ("0.5", "1.5", "`share`: 1.5 is greater than the maximum of 1"),
            ("0.5}", r#"0.5, "at": -1}"#, "`at`: -1 is less than the minimum of 0"),
            ("pens", "x", "`order.name`: \"x\" is shorter than 2 characters"),
            ("[]", r#"[], "code": "A1""#, "`order.code`: \"A1\" does not match \"^[a-z]+$\""),
            (
                "[]",
                r#"[{"width": 1, "height": 2}, {"width": 11, "height": 2}]"#,
                "`order.sizes[1].width`: 11 is greater",
            ),
            ("[]", r#"[{"width": 1, "height": 3}]"#, "`order.sizes[0].height`: 3 is not a multiple of 2"),
            (r#""x""#, r#"{"radius": 0}"#, "`order.shape.radius`: 0 is less than the minimum of 1"),
            // Errors that serde finds, too, have its wording.
            ("0.5", "true", "`share`: invalid type: boolean `true`, expected f64"),
        ] {
            let error = world.ork.submit_json("ship", GOOD.replace(from, to).into()).await.unwrap_err();
            assert!(matches!(error, ClientError::InvalidInput { task: "ship", .. }), "{error:?}");
            assert!(
                format!("{error} {error:?}").contains(expected) || sources(&error).contains(expected),
                "{}",
                sources(&error)
            );
        }
        // A name that serde accepts as an alias is accepted.
        let alias = GOOD.replace("name", "title");
        let alias = world.ork.submit_json("ship", alias.into()).await.unwrap();
        assert_eq!(world.outcome(alias).await.status().state, JobState::Succeeded);
        let long =
            format!(r#"{{"order": {{"name": "{}", "sizes": [], "shape": "x"}}, "share": 0.5}}"#, "x".repeat(1_000));
        let error = world.ork.submit_json("ship", long.into()).await.unwrap_err();
        assert!(sources(&error).contains("`order.name`: value is longer than 5 characters"), "{}", sources(&error));
        world.end().await;
    });
}

fn sources(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn typed_message_that_violates_its_schema_is_refused_before_it_is_submitted() {
    each(|world| async move {
        let error = world.ork.submit(measure { input: Size { width: 0, height: 2 } }).await.unwrap_err();
        assert!(sources(&error).contains("`width`: 0 is less than the minimum of 1"), "{}", sources(&error));
        world.end().await;
    });
}

#[test]
fn part_that_violates_its_schema_fails_alone() {
    each(|world| async move {
        let output = world.ork.submit(measure_part { widths: vec![3, 11, 4, 0] }).result().await.unwrap();
        let expected =
            "1: Input `width`: 11 is greater than the maximum of 10, 3: Input `width`: 0 is less than the minimum of 1";
        assert_eq!(output, expected);
        world.end().await;
    });
}

#[test]
fn types_alone_impose_no_constraint() {
    each(|world| async move {
        let body = r#"{"minimum": 255, "pattern": "x", "fixed": [1, 2, 3], "set": [1, 1], "map": {"a": [null, 1]}}"#;
        let id = world.ork.submit_json("plain", body.into()).await.unwrap();
        assert_eq!(world.outcome(id).await.into_output::<usize>().unwrap(), 1);
        world.end().await;
    });
}
