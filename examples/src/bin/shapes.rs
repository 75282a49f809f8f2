//! Tasks for clients in other languages: one with every kind of type that serde supports, as its input and its
//! output, and one that takes a while.
//!
//! `shapes schema show shapes` prints the JSON Schema; `docs/other-languages.md` has clients in Python, TypeScript
//! and Java.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use ork::{Context, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One field a shape.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Shapes {
    text: String,
    flag: bool,
    small: u8,
    large: u64,
    number: f64,
    optional: Option<String>,
    /// Always written, and optional when read.
    #[serde(default)]
    defaulted: u32,
    /// From 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    ranged: NonZeroU64,
    words: Vec<String>,
    pair: (String, u32),
    counts: BTreeMap<String, u32>,
    newtype: Meters,
    color: Color,
    external: External,
    internal: Internal,
    adjacent: Adjacent,
    untagged: Untagged,
    tree: Tree,
    anything: serde_json::Value,
}

/// A length.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Meters(f64);

/// An enum without fields.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Color {
    Red,
    DarkGreen,
}

/// An enum in serde's default representation.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
enum External {
    Nothing,
    Name(String),
    Circle { radius: f64 },
}

/// An enum with its tag among its fields.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
enum Internal {
    Circle { radius: f64 },
    Square { side: f64 },
}

/// An enum with its tag beside its content.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "value")]
enum Adjacent {
    Name(String),
    Count(u32),
}

/// An enum without a tag.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Untagged {
    Number(f64),
    Name(String),
}

/// A type that contains itself.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Tree {
    value: u32,
    children: Vec<Self>,
}

/// Returns its input.
#[task]
fn shapes(input: Shapes) -> Shapes {
    input
}

/// Climbs a stair, and reports its progress at each step.
#[task]
async fn climb(
    /// How many steps there are.
    steps: u32,
    context: Context,
) -> u32 {
    for step in 1..=steps {
        tokio::time::sleep(Duration::from_millis(10)).await;
        context.report_progress(f64::from(step) * 100.0 / f64::from(steps), format!("step {step}"));
    }
    steps
}

fn main() -> std::process::ExitCode {
    ork::main()
}
