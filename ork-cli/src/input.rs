//! Reads the input of a job from the command line: `key=value` pairs, parsed by the schema of the task, or JSON.

use std::io::Read as _;

use bytes::Bytes;
use clap::Args;
use schemars::SchemaGenerator;
use serde_json::{Map, Value};

use super::Failure;
use ork_runtime::task::def::{Param, TaskDef};

/// The input of a job.
#[derive(Debug, Args)]
pub(super) struct Input {
    /// Inputs by name; strings, numbers and booleans as plain text, anything else as JSON
    #[arg(value_name = "KEY=VALUE")]
    pairs: Vec<String>,
    /// The whole input as JSON, `@FILE` to read it from a file, or `-` for stdin
    ///
    /// For a workflow: a parameter of the run as NAME=VALUE; may be repeated
    #[arg(long, value_name = "JSON|@FILE|-", conflicts_with = "pairs")]
    input: Vec<String>,
}

impl Input {
    /// Returns the parameters of a workflow run.
    #[cfg(feature = "workflow")]
    pub(super) fn parameters(&self) -> Result<ork_workflow::Parameters, Failure> {
        super::workflow::parameters(&self.pairs, &self.input)
    }

    /// Returns the input as JSON.
    pub(super) fn read(&self, def: &TaskDef) -> Result<Bytes, Failure> {
        let json = match self.input.as_slice() {
            [] => return self.pairs(def),
            [_, _, ..] => return Err(Failure::user("a task takes one `--input`, but several were given")),
            [text] => match (text.as_str(), text.strip_prefix('@')) {
                ("-", _) => {
                    let mut json = Vec::new();
                    let read = std::io::stdin().read_to_end(&mut json);
                    read.map_err(|error| Failure::user(format!("stdin cannot be read: {error}")))?;
                    json
                }
                (_, Some(path)) => std::fs::read(path)
                    .map_err(|error| Failure::user(format!("the input file {path} cannot be read: {error}")))?,
                (json, None) => json.as_bytes().to_vec(),
            },
        };
        Ok(json.into())
    }

    fn pairs(&self, def: &TaskDef) -> Result<Bytes, Failure> {
        let mut generator = SchemaGenerator::default();
        let mut fields = Map::new();
        let mut whole = None;
        for param in def.params {
            match param {
                Param::Field { name, schema, .. } => {
                    fields.insert((*name).to_owned(), schema(&mut generator).to_value());
                }
                Param::Body { schema, .. } => whole = Some(schema(&mut generator).to_value()),
                Param::State { .. } | Param::Context | Param::Parts => {}
            }
        }
        let definitions = Value::Object(generator.take_definitions(true));
        if let Some(whole) = whole
            && let Some(Value::Object(properties)) = resolve(&whole, &definitions).get("properties")
        {
            fields.clone_from(properties);
        }
        let mut input = Map::new();
        for pair in &self.pairs {
            let (key, text) = pair.split_once('=').ok_or_else(|| {
                Failure::user(format!("invalid input `{pair}`")).hint("write inputs as KEY=VALUE, or use --input JSON")
            })?;
            let value = match fields.get(key) {
                Some(schema) => value(key, text, resolve(schema, &definitions), &definitions)?,
                // The check of the whole input will report the unknown name, together with the known ones.
                None => Value::String(text.to_owned()),
            };
            if input.insert(key.to_owned(), value).is_some() {
                return Err(Failure::user(format!("`{key}` was given twice")));
            }
        }
        Ok(serde_json::to_vec(&input).unwrap_or_default().into())
    }
}

/// Follows a reference to a definition.
fn resolve<'v>(schema: &'v Value, definitions: &'v Value) -> &'v Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    name.and_then(|name| definitions.get(name)).unwrap_or(schema)
}

/// Collects the types that a schema allows.
fn types<'v>(schema: &'v Value, definitions: &'v Value, found: &mut Vec<&'v str>) {
    let schema = resolve(schema, definitions);
    match schema.get("type") {
        Some(Value::String(one)) => found.push(one),
        Some(Value::Array(many)) => found.extend(many.iter().filter_map(Value::as_str)),
        _ => {}
    }
    if schema.get("enum").is_some() || schema.get("const").is_some() {
        found.push("string");
    }
    for word in ["anyOf", "oneOf", "allOf"] {
        for one in schema.get(word).and_then(Value::as_array).into_iter().flatten() {
            types(one, definitions, found);
        }
    }
}

/// Parses the text of one input by the types that its schema allows.
fn value(key: &str, text: &str, schema: &Value, definitions: &Value) -> Result<Value, Failure> {
    let mut allowed = Vec::new();
    types(schema, definitions, &mut allowed);
    let json = serde_json::from_str::<Value>(text).ok();
    let is_allowed = |value: &Value| {
        let type_names: &[&str] = match value {
            Value::Null => &["null"],
            Value::Bool(_) => &["boolean"],
            Value::Number(_) => &["integer", "number"],
            Value::String(_) => &["string"],
            Value::Array(_) => &["array"],
            Value::Object(_) => &["object"],
        };
        allowed.is_empty() || type_names.iter().any(|word| allowed.contains(word))
    };
    match json {
        // Where a string is allowed, the text stays a string, even if it is valid JSON. A JSON string is never
        // unquoted, because the quotes may be part of the text.
        Some(value) if !(value.is_string() || allowed.contains(&"string")) && is_allowed(&value) => Ok(value),
        Some(value) if !value.is_string() && !allowed.contains(&"string") => {
            Err(Failure::user(format!("`{key}`: expected {}, found {value}", list(&allowed))))
        }
        _ if allowed.contains(&"string") || allowed.is_empty() => Ok(Value::String(text.to_owned())),
        _ => {
            let hint = format!("write JSON in quotes: '{key}=[1, 2]'");
            let failure = Failure::user(format!("`{key}`: expected {}, found `{text}`", list(&allowed)));
            let nested = allowed.contains(&"array") || allowed.contains(&"object");
            Err(if nested { failure.hint(hint) } else { failure })
        }
    }
}

fn list(allowed: &[&str]) -> String {
    let mut type_names: Vec<_> = allowed.to_vec();
    type_names.dedup();
    type_names.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(schema: &str, text: &str) -> Result<Value, String> {
        let schema: Value = serde_json::from_str(schema).unwrap();
        value("key", text, &schema, &Value::Null).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn input_text_is_parsed_by_the_type_in_the_schema() {
        assert_eq!(read(r#"{"type": "string"}"#, "12"), Ok("12".into()));
        assert_eq!(read(r#"{"type": "integer"}"#, "12"), Ok(12.into()));
        assert_eq!(read(r#"{"type": "boolean"}"#, "true"), Ok(true.into()));
        assert_eq!(read(r#"{"type": ["string", "null"]}"#, "x"), Ok("x".into()));
        assert_eq!(read(r#"{"type": "array"}"#, "[1]"), Ok(Value::Array(vec![1.into()])));
        assert_eq!(read(r#"{"enum": ["a", "b"]}"#, "a"), Ok("a".into()));
        assert!(read(r#"{"type": "integer"}"#, "many").unwrap_err().contains("expected integer, found `many`"));
        assert!(read(r#"{"type": "array"}"#, "1").unwrap_err().contains("expected array, found 1"));
    }
}
