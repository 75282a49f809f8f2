//! Types in one line, for messages: `list of {input_file: string, rows: integer}`.

use serde_json::{Map, Value};

use crate::schema::resolve;

/// The maximum nesting depth that is shown.
const DEEPEST: u32 = 4;
/// The maximum number of fields or alternatives that are shown.
const MOST: usize = 8;
/// The length in characters above which a type is shown with less detail.
const LINE: usize = 100;
/// The maximum length of a value in a message, in characters.
const LONGEST: usize = 60;

/// Formats a type in one line, with less nested detail if the line would be too long.
///
/// ```
/// use serde_json::json;
///
/// let schema = json!({ "type": "array", "items": { "$ref": "#/$defs/A" }, "$defs": { "A": { "type": ["string", "null"]
/// } } }); assert_eq!(ork_workflow::show_type(&schema, &schema), "list of (string | null)");
/// ```
pub fn show(schema: &Value, root: &Value) -> String {
    let all = inner(schema, root, 0);
    if all.chars().count() <= LINE { all } else { inner(schema, root, DEEPEST - 2) }
}

/// Formats a value in one line, truncated if it is long.
pub(crate) fn literal(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain("..".chars()).collect()
}

fn inner(schema: &Value, root: &Value, depth: u32) -> String {
    let keys = match schema {
        Value::Bool(false) => return "nothing".to_owned(),
        Value::Object(keys) => keys,
        _ => return "anything".to_owned(),
    };
    if let Some(name) = keys.get("$ref").and_then(Value::as_str) {
        return match resolve(name, root) {
            Some(target) if depth < DEEPEST => inner(target, root, depth + 1),
            _ => name.rsplit('/').next().unwrap_or(name).to_owned(),
        };
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(Value::Array(branches)) = keys.get(key) {
            return union(branches.iter().take(2 * MOST).map(|it| inner(it, root, depth + 1)));
        }
    }
    if let Some(value) = keys.get("const") {
        return literal(value);
    }
    if let Some(Value::Array(values)) = keys.get("enum") {
        return union(values.iter().map(literal));
    }
    match keys.get("type") {
        Some(Value::String(word)) => typed(word, keys, root, depth),
        Some(Value::Array(words)) => {
            union(words.iter().filter_map(Value::as_str).map(|word| typed(word, keys, root, depth)))
        }
        _ => match keys.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            Some([one]) => inner(one, root, depth + 1),
            Some(several) => {
                several.iter().take(MOST).map(|it| inner(it, root, depth + 1)).collect::<Vec<_>>().join(" & ")
            }
            None => "anything".to_owned(),
        },
    }
}

fn typed(word: &str, keys: &Map<String, Value>, root: &Value, depth: u32) -> String {
    match word {
        "array" => list(keys, root, depth),
        "object" => object(keys, root, depth),
        _ => word.to_owned(),
    }
}

fn list(keys: &Map<String, Value>, root: &Value, depth: u32) -> String {
    if let Some(Value::Array(first)) = keys.get("prefixItems") {
        let each: Vec<String> = first.iter().map(|it| inner(it, root, depth + 1)).collect();
        return format!("[{}]", each.join(", "));
    }
    match keys.get("items") {
        None | Some(Value::Bool(true)) => "list".to_owned(),
        Some(_) if depth >= DEEPEST => "list of ..".to_owned(),
        Some(items) => {
            let item = inner(items, root, depth + 1);
            if is_union(&item) { format!("list of ({item})") } else { format!("list of {item}") }
        }
    }
}

/// Returns whether a formatted type has alternatives outside of brackets.
fn is_union(shown: &str) -> bool {
    let mut depth = 0_i32;
    shown.chars().any(|it| {
        depth += match it {
            '{' | '[' | '(' => 1,
            '}' | ']' | ')' => -1,
            _ => 0,
        };
        it == '|' && depth == 0
    })
}

fn object(keys: &Map<String, Value>, root: &Value, depth: u32) -> String {
    let required: Vec<&str> = match keys.get("required") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let fields = keys.get("properties").and_then(Value::as_object).filter(|it| !it.is_empty());
    let Some(fields) = fields else {
        return match keys.get("additionalProperties") {
            Some(values @ Value::Object(_)) => format!("map of {}", inner(values, root, depth + 1)),
            Some(Value::Bool(false)) => "{}".to_owned(),
            _ => "object".to_owned(),
        };
    };
    if depth >= DEEPEST {
        return "{..}".to_owned();
    }
    let each = fields.iter().take(MOST).map(|(name, schema)| {
        let mark = if required.contains(&name.as_str()) { "" } else { "?" };
        format!("{name}{mark}: {}", inner(schema, root, depth + 1))
    });
    let mut each: Vec<String> = each.collect();
    if fields.len() > MOST {
        each.push("..".to_owned());
    }
    format!("{{{}}}", each.join(", "))
}

/// Joins alternatives, without duplicates and at most [`MOST`] of them.
fn union(each: impl Iterator<Item = String>) -> String {
    let mut seen: Vec<String> = Vec::new();
    for one in each {
        if !seen.contains(&one) {
            seen.push(one);
        }
        if seen.len() > MOST {
            break;
        }
    }
    if seen.len() > MOST {
        seen.truncate(MOST);
        seen.push("..".to_owned());
    }
    seen.join(" | ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_fit_in_a_line() {
        let root =
            json!({ "$defs": { "Node": { "type": "object", "properties": { "next": { "$ref": "#/$defs/Node" } } } } });
        for (schema, shown) in [
            (json!(true), "anything"),
            (json!({ "type": "array", "items": { "type": ["string", "null"] } }), "list of (string | null)"),
            (json!({ "enum": ["a", 1] }), "\"a\" | 1"),
            (
                json!({ "type": "object", "properties": { "a": { "type": "integer" }, "b": true }, "required": ["a"] }),
                "{a: integer, b?: anything}",
            ),
            (json!({ "type": "object", "additionalProperties": { "type": "number" } }), "map of number"),
            (json!({ "$ref": "#/$defs/Node" }), "{next?: {next?: Node}}"),
            (json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }), "string | null"),
        ] {
            assert_eq!(show(&schema, &root), shown);
        }
    }
}
