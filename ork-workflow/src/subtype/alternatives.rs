//! Expands a JSON Schema into the alternatives that it allows: references are resolved, unions are flattened, and
//! each type and each enumerated value becomes one alternative.

use serde_json::{Map, Value, json};

use crate::notation;
use crate::schema::{NOTES, is_plain, parts, resolve, same};

/// The maximum number of alternatives; a schema with more of them is not compared.
const MOST: usize = 64;
/// The maximum nesting depth. It also ends the expansion of references that lead to each other.
const DEEPEST: u32 = 24;
/// The maximum number of subschemas that one expansion visits. A subschema counts each time it is visited.
const MOST_PARTS: u32 = 1_000;

/// The type of the values of an alternative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueType {
    Null,
    Boolean,
    Integer,
    Number,
    Text,
    List,
    Object,
    Anything,
}

impl ValueType {
    /// Returns the name of the type in JSON Schema.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Text => "string",
            Self::List => "array",
            Self::Object => "object",
            Self::Anything => "anything",
        }
    }

    fn of(word: &str) -> Option<Self> {
        let all = [Self::Null, Self::Boolean, Self::Integer, Self::Number, Self::Text, Self::List, Self::Object];
        all.into_iter().find(|it| it.word() == word)
    }
}

/// One kind of value that a schema allows.
#[derive(Debug, Clone)]
pub(crate) struct Alternative {
    pub(crate) value_type: ValueType,
    /// The only value that it allows; `None` if it allows more than one.
    pub(crate) value: Option<Value>,
    /// The keywords of the schema that apply to it, without references and unions.
    pub(crate) keys: Map<String, Value>,
    /// Whether the schema has rules that are not represented here, so that this alternative allows more values than
    /// the schema.
    pub(crate) is_wider: bool,
}

/// Keywords that an alternative does not represent.
const LEFT_OUT: &[&str] = &[
    "not",
    "if",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "maxProperties",
    "minProperties",
    "patternProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
];

impl Alternative {
    fn new(value_type: ValueType, keys: Map<String, Value>) -> Self {
        let is_wider = LEFT_OUT.iter().any(|key| keys.contains_key(*key));
        Self { value_type, value: None, keys, is_wider }
    }

    /// Creates the alternative that allows a single value.
    pub(crate) fn constant(value: &Value) -> Self {
        let (value_type, keys) = match value {
            Value::Null => (ValueType::Null, json!({})),
            Value::Bool(_) => (ValueType::Boolean, json!({})),
            Value::Number(number) => {
                let is_whole = number.as_f64().is_none_or(|it| it.fract() == 0.0);
                (
                    if is_whole { ValueType::Integer } else { ValueType::Number },
                    json!({ "minimum": value, "maximum": value }),
                )
            }
            Value::String(text) => {
                let length = text.chars().count();
                (ValueType::Text, json!({ "minLength": length, "maxLength": length }))
            }
            Value::Array(items) => {
                let each: Vec<Value> = items.iter().map(|it| json!({ "const": it })).collect();
                let count = items.len();
                (ValueType::List, json!({ "prefixItems": each, "items": false, "minItems": count, "maxItems": count }))
            }
            Value::Object(fields) => {
                let each: Map<String, Value> = fields.iter().map(|(k, v)| (k.clone(), json!({ "const": v }))).collect();
                let names: Vec<&String> = fields.keys().collect();
                (ValueType::Object, json!({ "properties": each, "required": names, "additionalProperties": false }))
            }
        };
        let keys = match keys {
            Value::Object(keys) => keys,
            _ => Map::new(),
        };
        Self { value_type, value: Some(value.clone()), keys, is_wider: false }
    }

    /// Describes the alternative for messages.
    pub(crate) fn show(&self, root: &Value) -> String {
        match &self.value {
            Some(value) => notation::literal(value),
            None if self.value_type == ValueType::Anything => "anything".to_owned(),
            None => {
                let mut keys = self.keys.clone();
                keys.insert("type".to_owned(), self.value_type.word().into());
                notation::show(&Value::Object(keys), root)
            }
        }
    }

    /// Returns a key that identifies the alternative among others.
    pub(super) fn key(&self) -> String {
        format!("{} {} {}", self.value_type.word(), Value::from(self.value.clone()), Value::Object(self.keys.clone()))
    }

    /// Returns whether the keywords may restrict the alternative to a few values, without listing them.
    pub(super) fn may_have_few_values(&self) -> bool {
        let narrow: &[&str] = match self.value_type {
            ValueType::Text => &["pattern", "format", "maxLength"],
            ValueType::Integer | ValueType::Number => {
                &["maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "multipleOf"]
            }
            ValueType::Null | ValueType::Boolean => &[],
            ValueType::List | ValueType::Object | ValueType::Anything => return true,
        };
        narrow.iter().any(|key| self.keys.contains_key(*key))
    }

    /// Returns the intersection of two alternatives; `None` if it is empty.
    fn merge(&self, other: &Self) -> Option<Self> {
        let value_type = match (self.value_type, other.value_type) {
            (a, b) if a == b => a,
            (ValueType::Anything, it) | (it, ValueType::Anything) => it,
            (ValueType::Integer, ValueType::Number) | (ValueType::Number, ValueType::Integer) => ValueType::Integer,
            _ => return None,
        };
        match (&self.value, &other.value) {
            (Some(a), Some(b)) if !same(a, b) => return None,
            (Some(_), _) => return Some(self.beside(other)),
            (None, Some(_)) => return Some(other.beside(self)),
            (None, None) => {}
        }
        let mut merged =
            Self { value_type, value: None, keys: self.keys.clone(), is_wider: self.is_wider || other.is_wider };
        for (key, value) in &other.keys {
            merged.restrict(key, value);
        }
        // `additionalProperties` and `items` refer to everything that the same schema does not name, so they cannot
        // be merged exactly with the keywords of another schema.
        for (own, others) in [("properties", "additionalProperties"), ("prefixItems", "items")] {
            let has_key = |it: &Self| it.keys.contains_key(own) || it.keys.contains_key(others);
            merged.is_wider |= has_key(self) && has_key(other) && self.keys.get(own) != other.keys.get(own);
        }
        Some(merged)
    }

    /// Returns the alternative for a single value that another schema restricts as well, possibly so that it is not
    /// allowed.
    fn beside(&self, other: &Self) -> Self {
        let may_exclude = other.value.is_none() && !is_plain(&other.keys);
        Self { is_wider: self.is_wider || other.is_wider || may_exclude, ..self.clone() }
    }

    /// Adds a keyword of another schema, so that both apply.
    fn restrict(&mut self, key: &str, value: &Value) {
        let Some(mine) = self.keys.get_mut(key) else {
            self.keys.insert(key.to_owned(), value.clone());
            return;
        };
        if mine == value {
            return;
        }
        let both = |a: &Value, b: &Value| json!({ "allOf": [a, b] });
        match (key, mine, value) {
            ("properties", Value::Object(mine), Value::Object(others)) => {
                for (name, schema) in others {
                    let merged = mine.get(name).filter(|it| *it != schema).map(|it| both(it, schema));
                    mine.insert(name.clone(), merged.unwrap_or_else(|| schema.clone()));
                }
            }
            ("required", Value::Array(mine), Value::Array(others)) => {
                let new: Vec<Value> = others.iter().filter(|it| !mine.contains(it)).cloned().collect();
                mine.extend(new);
            }
            ("items", mine, value) => *mine = both(mine, value),
            ("minimum" | "exclusiveMinimum" | "minLength" | "minItems", mine, value) => {
                if value.as_f64() > mine.as_f64() {
                    *mine = value.clone();
                }
            }
            ("maximum" | "exclusiveMaximum" | "maxLength" | "maxItems", mine, value) => {
                if value.as_f64() < mine.as_f64() {
                    *mine = value.clone();
                }
            }
            (key, _, _) if NOTES.contains(&key) => {}
            _ => self.is_wider = true,
        }
    }
}

/// Returns the alternatives of a schema; `None` if there are too many, or if the schema cannot be expanded.
pub(crate) fn expand(schema: &Value, root: &Value) -> Option<Vec<Alternative>> {
    inner(schema, root, 0, &mut 0)
}

fn inner(schema: &Value, root: &Value, depth: u32, n_parts: &mut u32) -> Option<Vec<Alternative>> {
    *n_parts += 1;
    let keys = match schema {
        Value::Bool(true) => return Some(vec![Alternative::new(ValueType::Anything, Map::new())]),
        Value::Bool(false) => return Some(Vec::new()),
        Value::Object(keys) => keys,
        _ => return None,
    };
    if depth >= DEEPEST
        || *n_parts > MOST_PARTS
        || keys.contains_key("$dynamicRef")
        || keys.contains_key("$recursiveRef")
    {
        return None;
    }
    let mut found = own(keys);
    if let Some(reference) = keys.get("$ref") {
        let target = resolve(reference.as_str()?, root)?;
        found = product(&found, &inner(target, root, depth + 1, n_parts)?)?;
    }
    for part in parts(keys, "allOf") {
        found = product(&found, &inner(part, root, depth + 1, n_parts)?)?;
    }
    for key in ["anyOf", "oneOf"] {
        let Some(Value::Array(branches)) = keys.get(key) else { continue };
        let mut union = Vec::new();
        for branch in branches {
            union.extend(inner(branch, root, depth + 1, n_parts)?);
        }
        found = product(&found, &union)?;
    }
    (found.len() <= MOST).then_some(found)
}

/// Returns the alternatives from the keywords of a schema itself, without references and combinations.
fn own(keys: &Map<String, Value>) -> Vec<Alternative> {
    const APART: &[&str] = &["type", "enum", "const", "$ref", "allOf", "anyOf", "oneOf", "$defs", "definitions"];
    let rest: Map<String, Value> =
        keys.iter().filter(|(key, _)| !APART.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
    let types: Vec<ValueType> = match keys.get("type") {
        Some(Value::String(word)) => ValueType::of(word).into_iter().collect(),
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).filter_map(ValueType::of).collect(),
        _ => vec![ValueType::Anything],
    };
    let few = keys.get("enum").and_then(Value::as_array);
    let Some(values) = keys.get("const").map(std::slice::from_ref).or(few.map(Vec::as_slice)) else {
        let each = types.into_iter().flat_map(|value_type| {
            let flags = [Value::Bool(false), Value::Bool(true)];
            match value_type {
                ValueType::Boolean => flags.iter().map(Alternative::constant).collect(),
                _ => vec![Alternative::new(value_type, rest.clone())],
            }
        });
        return each.collect();
    };
    // Keep the values that match one of the types. The other keywords should not exclude a value, but that is not
    // verified here.
    let constants = values.iter().map(Alternative::constant);
    let fits = |it: &Alternative| {
        types.iter().any(|expected| {
            *expected == ValueType::Anything
                || *expected == it.value_type
                || (*expected == ValueType::Number && it.value_type == ValueType::Integer)
        })
    };
    let is_wider = !is_plain(&rest) || few.is_some_and(|_| keys.contains_key("const"));
    constants.filter(fits).map(|it| Alternative { is_wider, ..it }).collect()
}

fn product(some: &[Alternative], others: &[Alternative]) -> Option<Vec<Alternative>> {
    if some.len() * others.len() > MOST * MOST {
        return None;
    }
    let pairs = some.iter().flat_map(|a| others.iter().filter_map(move |b| a.merge(b)));
    let merged: Vec<Alternative> = pairs.collect();
    (merged.len() <= MOST).then_some(merged)
}
