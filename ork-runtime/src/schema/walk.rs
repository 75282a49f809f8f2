//! Finds the schemas inside a schema, but not values that only look like schemas.

use serde_json::{Map, Value};

/// Keywords with an object that has a schema for each name.
const NAMED: &[&str] = &["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];

/// Keywords with a list of schemas.
const LISTED: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];

/// Keywords with a single schema.
const SINGLE: &[&str] = &[
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Calls `visit` with a schema and then with each schema inside it.
pub(super) fn each(schema: &mut Value, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Value::Object(keys) = schema else { return };
    visit(keys);
    for (keyword, inner) in keys {
        match inner {
            Value::Object(named) if NAMED.contains(&keyword.as_str()) => {
                for schema in named.values_mut() {
                    each(schema, visit);
                }
            }
            Value::Array(listed) if LISTED.contains(&keyword.as_str()) => {
                for schema in listed {
                    each(schema, visit);
                }
            }
            single if SINGLE.contains(&keyword.as_str()) => each(single, visit),
            _ => {}
        }
    }
}

/// The prefix of references within a bundle.
const DEFS: &str = "#/$defs/";

/// Returns the name of the definition that a schema refers to.
pub(super) fn target(keys: &Map<String, Value>) -> Option<String> {
    keys.get("$ref").and_then(Value::as_str).and_then(name)
}

/// Returns the name of the definition in a reference.
pub(super) fn name(reference: &str) -> Option<String> {
    let name = reference.strip_prefix(DEFS)?;
    Some(name.replace("%25", "%").replace("~1", "/").replace("~0", "~"))
}

/// Returns a reference to the definition with this name.
pub(super) fn reference(name: &str) -> String {
    format!("{DEFS}{}", name.replace('~', "~0").replace('/', "~1").replace('%', "%25"))
}

/// Returns the names of all definitions that a schema directly refers to, in order of occurrence.
pub(super) fn targets(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    each(&mut schema.clone(), &mut |keys| found.extend(target(keys)));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_that_look_like_schemas_are_not_visited() {
        let mut schema = json!({
            "properties": { "$ref": { "type": "string" }, "items": { "items": { "$ref": "#/$defs/a~1b" } } },
            "default": { "$ref": "#/$defs/no" }, "const": { "properties": {} }, "additionalProperties": false,
        });
        assert_eq!(targets(&schema), ["a/b"]);
        let mut count = 0;
        each(&mut schema, &mut |_| count += 1);
        assert_eq!(count, 4);
    }
}
