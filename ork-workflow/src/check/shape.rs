//! A type as the checker uses it: a schema with its document, and operations for fields, items and lists.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::notation;
use crate::subtype::{Alternative, Type, ValueType, Verdict, expand, is_subtype};

/// A type, given by a JSON Schema.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    schema: Value,
    root: Rc<Value>,
}

/// The result of looking up a field of a type.
#[derive(Debug)]
pub(super) enum Field {
    /// The field has this type.
    Found(Shape),
    /// There is no such field; these are the fields of the type.
    Missing(Vec<String>),
    /// The type is not an object.
    NotAnObject,
    /// Nothing is known about the field.
    Unknown,
}

/// The result of looking up the items of a type.
#[derive(Debug)]
pub(super) enum Items {
    Found(Shape),
    NotAList,
    Unknown,
}

/// The inputs of a task.
#[derive(Debug, Clone)]
pub(super) struct Inputs {
    /// The name and the type of each input, and whether it is required.
    pub(super) fields: Vec<(String, Shape, bool)>,
    /// The type of inputs with other names; `None` if no others are accepted.
    pub(super) others: Option<Shape>,
}

/// Returns the first few of many reasons, with the number of the others.
pub(super) fn truncate_reasons(mut reasons: Vec<String>) -> Vec<String> {
    const MOST: usize = 5;
    let more = reasons.len().saturating_sub(MOST);
    if more > 0 {
        reasons.truncate(MOST);
        reasons.push(format!("and {more} more such reasons"));
    }
    reasons
}

impl Inputs {
    /// The inputs of a task about which nothing is known.
    pub(super) fn anything() -> Self {
        Self { fields: Vec::new(), others: Some(Shape::new(Value::Bool(true))) }
    }

    /// Returns the type of an input.
    pub(super) fn get(&self, name: &str) -> Option<&Shape> {
        let own = self.fields.iter().find(|(field, ..)| field == name).map(|(_, shape, _)| shape);
        own.or(self.others.as_ref())
    }

    /// Returns whether there is an input of exactly this name, and not only one of any name.
    pub(super) fn names(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, ..)| field == name)
    }

    /// Returns whether inputs of any name and any type are accepted.
    pub(super) fn is_open(&self) -> bool {
        self.others.as_ref().is_some_and(Shape::is_anything)
    }
}

impl Shape {
    /// Creates the type that a whole document describes.
    pub(super) fn new(root: Value) -> Self {
        Self { schema: root.clone(), root: Rc::new(root) }
    }

    fn part(&self, schema: Value) -> Self {
        Self { schema, root: Rc::clone(&self.root) }
    }

    /// Returns the type of lists of this type.
    pub(super) fn list(&self) -> Self {
        self.part(json!({ "type": "array", "items": self.schema }))
    }

    /// Returns the type that also allows `null`.
    pub(super) fn or_null(&self) -> Self {
        self.part(json!({ "anyOf": [self.schema, { "type": "null" }] }))
    }

    fn is_anything(&self) -> bool {
        matches!(self.alternatives().as_slice(), [one] if one.value_type == ValueType::Anything && one.keys.is_empty())
    }

    /// Formats the type in one line.
    pub(super) fn show(&self) -> String {
        notation::show(&self.schema, &self.root)
    }

    /// Returns whether each value of this type is also one of another type.
    pub(super) fn fits(&self, to: &Self) -> Verdict {
        let of = |it| -> Type<'_> { Self::borrow(it) };
        is_subtype(of(self), of(to))
    }

    fn borrow(&self) -> Type<'_> {
        Type { schema: &self.schema, root: &self.root }
    }

    /// Returns the reasons why a value does not have this type; empty if it does.
    pub(super) fn violations(&self, value: &Value) -> Vec<String> {
        let constant = json!({ "const": value });
        match is_subtype(Type { schema: &constant, root: &constant }, self.borrow()) {
            Verdict::Yes => Vec::new(),
            Verdict::No(mismatches) => truncate_reasons(mismatches.iter().map(ToString::to_string).collect()),
            Verdict::Unknown(_) => self.first_violation(value).into_iter().collect(),
        }
    }

    /// Returns the rule that a value breaks, found by full validation.
    fn first_violation(&self, value: &Value) -> Option<String> {
        let mut document = json!({ "allOf": [self.schema] });
        for key in ["$defs", "definitions"] {
            if let (Some(defs), Some(document)) = (self.root.get(key), document.as_object_mut()) {
                document.insert(key.to_owned(), defs.clone());
            }
        }
        let validator = jsonschema::options().should_validate_formats(false).build(&document).ok()?;
        let error = validator.iter_errors(value).next()?;
        Some(match error.instance_path().to_string().as_str() {
            "" => error.to_string(),
            path => format!("at `{}`: {error}", path.trim_start_matches('/').replace('/', ".")),
        })
    }

    fn alternatives(&self) -> Vec<Alternative> {
        expand(&self.schema, &self.root).unwrap_or_default()
    }

    /// Returns the union of several types.
    fn any_of(&self, mut schemas: Vec<Value>) -> Self {
        schemas.dedup();
        match (schemas.pop(), schemas.is_empty()) {
            (Some(one), true) => self.part(one),
            (Some(one), false) => {
                schemas.push(one);
                self.part(json!({ "anyOf": schemas }))
            }
            (None, _) => self.part(Value::Bool(true)),
        }
    }

    /// Looks up the type of a field.
    pub(super) fn field(&self, name: &str) -> Field {
        let (mut found, mut known, mut objects) = (Vec::new(), Vec::new(), 0);
        let alternatives = self.alternatives();
        for alternative in &alternatives {
            match alternative.value_type {
                ValueType::Anything => return Field::Unknown,
                ValueType::Object => objects += 1,
                _ => continue,
            }
            let fields = alternative.keys.get("properties").and_then(Value::as_object);
            known.extend(fields.into_iter().flat_map(|it| it.keys().cloned()));
            let others = alternative.keys.get("additionalProperties").filter(|it| **it != Value::Bool(false));
            match fields.and_then(|it| it.get(name)).or(others) {
                Some(Value::Bool(true)) => return Field::Unknown,
                Some(schema) => found.push(schema.clone()),
                None if alternative.keys.contains_key("patternProperties") => return Field::Unknown,
                None => {}
            }
        }
        if !found.is_empty() {
            return Field::Found(self.any_of(found));
        }
        match (objects, alternatives.is_empty()) {
            (_, true) => Field::Unknown,
            (0, _) => Field::NotAnObject,
            _ => Field::Missing(known),
        }
    }

    /// Looks up the type of the items.
    pub(super) fn items(&self) -> Items {
        let alternatives = self.alternatives();
        if alternatives.is_empty() || alternatives.iter().any(|it| it.value_type == ValueType::Anything) {
            return Items::Unknown;
        }
        let mut found = Vec::new();
        for alternative in &alternatives {
            if alternative.value_type != ValueType::List {
                return Items::NotAList;
            }
            let first = alternative.keys.get("prefixItems").and_then(Value::as_array);
            found.extend(first.into_iter().flatten().cloned());
            let rest = alternative.keys.get("items").cloned().unwrap_or(Value::Bool(true));
            if rest != Value::Bool(false) {
                found.push(rest);
            }
        }
        Items::Found(self.any_of(found))
    }

    /// Interprets the type as the inputs of a task; `None` if it is not an object.
    pub(super) fn inputs(&self) -> Option<Inputs> {
        let alternatives = self.alternatives();
        if alternatives.iter().any(|it| it.value_type == ValueType::Anything) || alternatives.is_empty() {
            return Some(Inputs::anything());
        }
        let mut objects = alternatives.iter().filter(|it| it.value_type == ValueType::Object);
        let one = objects.next()?;
        if objects.next().is_some() {
            return Some(Inputs::anything());
        }
        let required = one.keys.get("required").and_then(Value::as_array);
        let is_required = |name: &String| required.is_some_and(|all| all.iter().any(|it| it == name));
        let fields = one.keys.get("properties").and_then(Value::as_object).into_iter().flatten();
        let fields = fields.map(|(name, schema)| (name.clone(), self.part(schema.clone()), is_required(name)));
        let others = match one.keys.get("additionalProperties") {
            _ if one.keys.contains_key("patternProperties") => Some(self.part(Value::Bool(true))),
            None | Some(Value::Bool(false)) => None,
            Some(schema) => Some(self.part(schema.clone())),
        };
        Some(Inputs { fields: fields.collect(), others })
    }
}
