//! Reads JSON Schemas: resolves references, tells which keywords restrict values, and compares values.

use serde_json::{Map, Value};

/// Resolves a reference within a document.
pub(crate) fn resolve<'a>(reference: &str, root: &'a Value) -> Option<&'a Value> {
    let pointer = reference.strip_prefix('#')?;
    let decoded = pointer.replace("%24", "$").replace("%25", "%");
    root.pointer(&decoded)
}

/// Returns the list of schemas under a keyword; empty if there is none.
pub(crate) fn parts<'a>(keys: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    keys.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Returns whether a schema obviously accepts every value.
pub(crate) fn is_anything(schema: &Value) -> bool {
    match schema {
        Value::Bool(accepts_all) => *accepts_all,
        Value::Object(keys) => {
            is_plain(keys) && !["$ref", "allOf", "anyOf", "oneOf"].iter().any(|key| keys.contains_key(*key))
        }
        _ => false,
    }
}

/// Keywords that do not restrict values by themselves.
pub(crate) const NOTES: &[&str] = &[
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
];

/// Returns whether the keywords of a schema do not restrict values, apart from references and combinations.
pub(crate) fn is_plain(keys: &Map<String, Value>) -> bool {
    keys.keys().all(|key| NOTES.contains(&key.as_str()) || key.starts_with("x-"))
}

/// Returns whether two values are equal in JSON Schema, where `1` equals `1.0`.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(key, x)| y.get(key).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}
