//! Assignability of objects: required fields, optional fields and additional fields.

use serde_json::{Map, Value};

use super::{Alternative, Comparison, Fit};
use crate::notation;
use crate::schema::{is_anything, parts};

/// The treatment by a schema of fields that it does not name.
enum Others<'a> {
    /// There are no such fields.
    None,
    /// They have this type.
    Of(&'a Value),
    /// The schema does not mention them.
    Silent,
    /// The schema explicitly allows any value, or has rules for names that are not compared.
    Anything,
}

fn others(keys: &Map<String, Value>) -> Others<'_> {
    match keys.get("additionalProperties") {
        _ if keys.contains_key("patternProperties") => Others::Anything,
        None => Others::Silent,
        Some(Value::Bool(false)) => Others::None,
        Some(schema) if is_anything(schema) => Others::Anything,
        Some(schema) => Others::Of(schema),
    }
}

fn properties(keys: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    keys.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn property<'a>(keys: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    keys.get("properties").and_then(|it| it.get(name))
}

fn requires(keys: &Map<String, Value>, name: &str) -> bool {
    parts(keys, "required").iter().any(|it| it == name)
}

impl Comparison<'_> {
    pub(super) fn object(&mut self, from: &Alternative, to: &Map<String, Value>, path: &str) -> Fit {
        let from = &from.keys;
        let mut fit = Fit::Yes;
        for name in parts(to, "required").iter().filter_map(Value::as_str) {
            fit = fit.and(self.required_field(from, to, name, path));
        }
        for (name, schema) in properties(to) {
            fit = fit.and(self.typed_field(from, name, schema, path));
        }
        let theirs = match others(to) {
            Others::Silent | Others::Anything => return fit,
            Others::None => &Value::Bool(false),
            Others::Of(schema) => schema,
        };
        for (name, mine) in properties(from).filter(|(name, _)| property(to, name).is_none()) {
            fit = fit.and(match theirs {
                Value::Bool(false) if *mine == Value::Bool(false) => Fit::Yes,
                Value::Bool(false) if requires(from, name) => {
                    Fit::never(path, format!("the field `{name}` is not accepted"))
                }
                Value::Bool(false) => Fit::no(path, format!("the field `{name}` is not accepted")),
                _ => {
                    let one = self.all_fit(mine, theirs, &format!("{path}.{name}"));
                    if requires(from, name) { one } else { one.sometimes() }
                }
            });
        }
        fit.and(match (others(from), theirs) {
            (Others::None, _) => Fit::Yes,
            (Others::Of(_), Value::Bool(false)) => Fit::no(path, "additional fields are not accepted"),
            (Others::Of(mine), theirs) => self.all_fit(mine, theirs, &format!("{path}.*")).sometimes(),
            (Others::Silent | Others::Anything, _) => Fit::unknown("there may be more fields"),
        })
    }

    /// Checks a field that the second schema requires.
    fn required_field(&mut self, from: &Map<String, Value>, to: &Map<String, Value>, name: &str, path: &str) -> Fit {
        if requires(from, name) {
            return Fit::Yes;
        }
        let expected = property(to, name).filter(|it| !is_anything(it));
        let expected = expected.map_or_else(String::new, |it| format!(", expected {}", notation::show(it, self.to)));
        if property(from, name).is_some() {
            return Fit::no(path, format!("the field `{name}` may be missing{expected}"));
        }
        let missing = format!("the field `{name}` is missing{expected}");
        match others(from) {
            Others::None => Fit::never(path, missing),
            Others::Of(_) | Others::Silent => Fit::no(path, missing),
            Others::Anything => Fit::unknown("the fields are not known"),
        }
    }

    /// Checks a field for which the second schema has a type.
    fn typed_field(&mut self, from: &Map<String, Value>, name: &str, schema: &Value, path: &str) -> Fit {
        let at = format!("{path}.{name}");
        if let Some(mine) = property(from, name) {
            let one = self.all_fit(mine, schema, &at);
            return if requires(from, name) { one } else { one.sometimes() };
        }
        match others(from) {
            _ if is_anything(schema) => Fit::Yes,
            Others::None => Fit::Yes,
            Others::Of(mine) => self.all_fit(mine, schema, &at).sometimes(),
            Others::Silent | Others::Anything => Fit::Unknown(format!("there may be a field `{name}` of another type")),
        }
    }
}
