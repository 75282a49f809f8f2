//! The schemas inside a schema: where JSON Schema has one, and not where a value merely looks like one.

use serde_json::{Map, Value};

/// Keywords that hold a schema for each name.
const NAMED: &[&str] = &["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];

/// Keywords that hold a list of schemas.
const LISTED: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];

/// Keywords that hold a schema.
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

/// Shows a schema, and then every schema inside it, to `visit`.
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

/// Where references within a bundle lead to.
const DEFS: &str = "#/$defs/";

/// The definition that a schema refers to.
pub(super) fn target(keys: &Map<String, Value>) -> Option<String> {
    keys.get("$ref").and_then(Value::as_str).and_then(name)
}

/// The name in a reference to a definition.
pub(super) fn name(reference: &str) -> Option<String> {
    let name = reference.strip_prefix(DEFS)?;
    Some(name.replace("%25", "%").replace("~1", "/").replace("~0", "~"))
}

/// A reference to the definition of this name.
pub(super) fn reference(name: &str) -> String {
    format!("{DEFS}{}", name.replace('~', "~0").replace('/', "~1").replace('%', "%25"))
}

/// Every definition that a schema refers to by itself, in the order in which it does.
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
    fn a_value_that_looks_like_a_schema_is_none() {
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
