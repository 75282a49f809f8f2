//! Converts documents to YAML, for people and for tools that read it.

use std::fmt::Write as _;

use serde_json::Value;

/// Words that are not plain strings in some version of YAML.
const WORDS: &[&str] = &["false", "n", "no", "null", "off", "on", "true", "y", "yes"];

/// Formats a JSON value as a YAML document in block style.
///
/// Strings are quoted as in JSON, which is valid YAML. So no version of YAML takes one for a number, a date or a
/// boolean.
///
/// ```
/// let value = serde_json::json!({ "type": "object", "required": ["a"], "$defs": {} });
/// assert_eq!(ork::schema::yaml(&value), "type: \"object\"\nrequired:\n  - \"a\"\n$defs: {}\n");
/// ```
pub fn yaml(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(_) | Value::Array(_) if !is_empty(value) => write(&mut text, value, 0, ""),
        scalar => text.push_str(&scalar.to_string()),
    }
    text.trim_start_matches('\n').to_owned() + if text.ends_with('\n') { "" } else { "\n" }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(keys) => keys.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Writes an object or a list that is not empty. `first` is the beginning of its first line, because in a list that
/// line follows the dash.
fn write(text: &mut String, value: &Value, depth: usize, first: &str) {
    let indent = "  ".repeat(depth);
    let mut before = first;
    let mut entry = |text: &mut String, name: &str, value: &Value, dash: &str| {
        let start = if before.is_empty() { indent.as_str() } else { before };
        // Writing to a string cannot fail.
        let _written = if is_empty(value) {
            let space = if name.is_empty() { "" } else { " " };
            writeln!(text, "{start}{dash}{name}{space}{value}")
        } else if dash.is_empty() {
            writeln!(text, "{start}{name}")
        } else {
            Ok(())
        };
        if !is_empty(value) {
            let inline = format!("{start}{dash}");
            write(text, value, depth + 1, if dash.is_empty() { "" } else { &inline });
        }
        before = "";
    };
    match value {
        Value::Object(keys) => keys.iter().for_each(|(name, value)| entry(text, &format!("{}:", key(name)), value, "")),
        Value::Array(items) => items.iter().for_each(|value| entry(text, "", value, "- ")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Formats an object key: unquoted if every version of YAML reads it as a string.
fn key(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '$')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$' | '.'))
        && !WORDS.iter().any(|word| name.eq_ignore_ascii_case(word));
    if is_plain { name.to_owned() } else { Value::String(name.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_lists_and_objects_are_indented() {
        let value = json!([{ "a": 1, "on": [[1, 2], []] }, [{ "b": { "c": "x: #y" } }], "2026-01-01", null]);
        let expected =
            "- a: 1\n  \"on\":\n    - - 1\n      - 2\n    - []\n- - b:\n      c: \"x: #y\"\n- \"2026-01-01\"\n- null\n";
        assert_eq!(yaml(&value), expected);
    }

    #[test]
    fn empty_values_and_scalars_take_one_line() {
        assert_eq!(
            (yaml(&json!({})), yaml(&json!("a")), yaml(&json!([]))),
            ("{}\n".into(), "\"a\"\n".into(), "[]\n".into())
        );
    }
}
