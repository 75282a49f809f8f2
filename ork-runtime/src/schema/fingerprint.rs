//! The fingerprint of a schema: a hash of sixteen bytes of its constraints, without its annotations.

use serde_json::{Map, Value};

use super::walk;
use crate::id::Fingerprint;

/// Annotations: keywords that no value can violate.
const NOTES: &[&str] = &[
    "$comment",
    "$defs",
    "$schema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

/// Keywords with lists whose order does not matter.
const SETS: &[&str] = &["enum", "required", "type"];

/// Returns the fingerprint of a schema. References are resolved in `root`.
///
/// ```
/// use ork::schema::fingerprint;
/// use serde_json::json;
///
/// let a = json!({ "type": "object", "required": ["a", "b"], "description": "one" });
/// let b = json!({ "required": ["b", "a"], "type": "object" });
/// assert_eq!(fingerprint(&a, &a), fingerprint(&b, &b));
/// ```
pub fn fingerprint(schema: &Value, root: &Value) -> Fingerprint {
    let mut numbers = Numbers { root, names: Vec::new() };
    let mut text = numbers.canonical(followed(schema, root)).to_string();
    // Referenced types are appended as they are found, so the list grows while it is read.
    let mut at = 0;
    while let Some(name) = numbers.names.get(at).cloned() {
        let target = root.get("$defs").and_then(|defs| defs.get(&name)).unwrap_or(&Value::Null);
        text.push('\n');
        text.push_str(&numbers.canonical(target).to_string());
        at += 1;
    }
    Fingerprint::of(&text)
}

/// Whether a keyword is an annotation.
pub(super) fn is_note(keyword: &str) -> bool {
    NOTES.contains(&keyword) || keyword.starts_with("x-")
}

/// Resolves a schema that consists only of a reference.
fn followed<'a>(mut schema: &'a Value, root: &'a Value) -> &'a Value {
    // The limit is needed because a type may be defined as itself.
    for _ in 0..16 {
        let only = schema.as_object().filter(|keys| keys.keys().all(|key| key == "$ref" || is_note(key)));
        let next = only.and_then(walk::target).and_then(|name| root.get("$defs")?.get(&name));
        match next {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

/// Numbers types in the order of their first use, so that their names do not matter.
struct Numbers<'a> {
    root: &'a Value,
    names: Vec<String>,
}

impl Numbers<'_> {
    fn number(&mut self, name: String) -> usize {
        let known = self.names.iter().position(|known| *known == name);
        known.unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        })
    }

    /// Returns the schema without annotations and in a canonical order.
    fn canonical(&mut self, schema: &Value) -> Value {
        let mut bare = schema.clone();
        walk::each(&mut bare, &mut |keys| {
            keys.retain(|key, _| !is_note(key));
            for (_, list) in keys.iter_mut().filter(|(key, _)| SETS.contains(&key.as_str())) {
                if let Value::Array(items) = list {
                    items.sort_by_cached_key(Value::to_string);
                }
            }
        });
        let mut bare = sorted(bare);
        let mut found = Vec::new();
        walk::each(&mut bare, &mut |keys| found.extend(walk::target(keys)));
        for name in found {
            self.number(name);
        }
        walk::each(&mut bare, &mut |keys| {
            if let Some(name) = walk::target(keys) {
                // A reference without a target stays unchanged.
                if self.root.get("$defs").is_some_and(|defs| defs.get(&name).is_some()) {
                    keys.insert("$ref".into(), self.number(name).into());
                }
            }
        });
        bare
    }
}

/// Returns a value with the keys of all objects sorted.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(keys) => {
            let mut keys: Vec<_> = keys.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            keys.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(keys.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(document: &Value) -> Fingerprint {
        fingerprint(document, document)
    }

    #[test]
    fn fingerprint_ignores_annotations_names_and_order() {
        let a = json!({
            "properties": { "a": { "$ref": "#/$defs/Row" }, "title": { "type": ["null", "string"] } },
            "$defs": { "Row": { "type": "integer", "description": "x" } },
        });
        let b = json!({
            "title": "Table", "x-note": 1,
            "$defs": { "Line": { "type": "integer" } },
            "properties": { "title": { "type": ["string", "null"] }, "a": { "$ref": "#/$defs/Line" } },
        });
        assert_eq!(of(&a), of(&b));
    }

    #[test]
    fn fingerprint_depends_on_nested_constraints() {
        let schema = |inner: Value| json!({ "items": { "$ref": "#/$defs/A" }, "$defs": { "A": { "$ref": "#/$defs/B" }, "B": inner } });
        assert_ne!(of(&schema(json!({ "type": "string" }))), of(&schema(json!({ "type": "integer" }))));
        // A property may have the name of an annotation.
        assert_ne!(of(&schema(json!({ "properties": { "title": true } }))), of(&schema(json!({ "properties": {} }))));
    }

    #[test]
    fn recursive_type_has_a_fingerprint() {
        let tree =
            json!({ "$ref": "#/$defs/T", "$defs": { "T": { "properties": { "next": { "$ref": "#/$defs/T" } } } } });
        assert_eq!(of(&tree), of(&tree));
    }
}
