//! Schemas as schemars and pydantic generate them: each type fits itself, and different types are distinguished.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ork_workflow::{Type, Verdict, is_subtype};
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(JsonSchema, Serialize, Deserialize)]
struct Image {
    path: PathBuf,
    /// In pixels.
    width: u32,
    title: Option<String>,
    #[serde(default)]
    tags: BTreeSet<String>,
    #[schemars(range(min = 1, max = 5), extend("x-unit" = "stars"))]
    stars: u8,
    ratio: f32,
    kind: Kind,
    position: (i32, i32),
    extra: BTreeMap<String, Vec<Option<bool>>>,
    anything: Value,
}

#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Photo,
    /// Drawn by hand.
    Drawing,
}

#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
    Empty,
}

#[derive(JsonSchema, Serialize, Deserialize)]
enum Outer {
    Unit,
    One(Shape),
    Two(i32, String),
    Named { left: Box<Self>, right: Option<Box<Self>> },
}

#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(untagged)]
enum Loose {
    Text(String),
    Number(i64),
    Many(Vec<Self>),
}

#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tree {
    value: Loose,
    children: Vec<Self>,
}

#[derive(JsonSchema, Serialize, Deserialize)]
struct Flat {
    #[serde(flatten)]
    image: Image,
    more: Option<Tree>,
}

#[derive(JsonSchema, Serialize, Deserialize)]
struct Narrow(Image);

#[derive(JsonSchema, Serialize, Deserialize)]
struct Nothing {}

fn verdict_of(from: &Value, to: &Value) -> Verdict {
    is_subtype(Type { schema: from, root: from }, Type { schema: to, root: to })
}

fn of<T: JsonSchema>() -> Value {
    schema_for!(T).to_value()
}

#[test]
fn types_fit_themselves() {
    for schema in [
        of::<Image>(),
        of::<Kind>(),
        of::<Shape>(),
        of::<Outer>(),
        of::<Tree>(),
        of::<Flat>(),
        of::<Narrow>(),
        of::<Nothing>(),
        of::<Vec<Option<Image>>>(),
        of::<()>(),
        of::<BTreeMap<String, Tree>>(),
        of::<[u8; 4]>(),
        of::<(bool, char)>(),
        of::<Value>(),
    ] {
        assert_eq!(verdict_of(&schema, &schema), Verdict::Yes, "{schema}");
    }
    // These schemas do not exclude that several alternatives accept one value.
    for schema in [of::<Loose>(), of::<Result<u8, String>>()] {
        assert!(!matches!(verdict_of(&schema, &schema), Verdict::No(_)), "{schema}");
    }
}

#[test]
fn different_types_have_the_expected_mismatch() {
    for (from, to, why) in [
        (
            of::<Kind>(),
            of::<Shape>(),
            "\"photo\" is none of {kind: \"circle\", radius: number} | {kind: \"box\", width: number, height: number} | {kind: \"empty\"}",
        ),
        (of::<Option<String>>(), of::<String>(), "null where string is expected"),
        (of::<Vec<Option<i32>>>(), of::<Vec<i32>>(), "at `[]`: null where integer is expected"),
        (of::<f64>(), of::<i64>(), "number where integer is expected"),
        (of::<(i32, String)>(), of::<(i32, i32)>(), "at `[1]`: string where integer is expected"),
        (of::<BTreeMap<String, String>>(), of::<BTreeMap<String, i32>>(), "at `*`: string where integer is expected"),
        (of::<String>(), of::<Kind>(), "string is none of \"photo\" | \"drawing\""),
        (of::<Nothing>(), of::<Image>(), "the field `path` is missing, expected string"),
    ] {
        match verdict_of(&from, &to) {
            Verdict::No(mismatches) => assert_eq!(mismatches[0].to_string(), why),
            other => panic!("{from} into {to}: {other:?}"),
        }
    }
}

#[test]
fn rust_types_are_compared_with_python_types() {
    let python = json!({
        "$defs": { "Image": {
            "title": "Image", "type": "object",
            "properties": {
                "path": { "title": "Path", "type": "string" },
                "width": { "title": "Width", "type": "integer" },
                "title": { "anyOf": [{ "type": "string" }, { "type": "null" }], "default": null, "title": "Title" },
            },
            "required": ["path", "width"],
        } },
        "type": "array", "items": { "$ref": "#/$defs/Image" },
    });
    assert_eq!(verdict_of(&of::<Vec<Image>>(), &python), Verdict::Yes);
    let strict = json!({ "type": "object", "properties": { "path": { "type": "string" } }, "required": ["path"], "additionalProperties": false });
    let Verdict::No(mismatches) = verdict_of(&of::<Image>(), &strict) else { panic!("more fields are not accepted") };
    assert_eq!(mismatches[0].to_string(), "the field `width` is not accepted");
}
