//! Finds the fields in which two types differ, with their old and new types.

use ork_workflow::{Type, show_type};
use serde::Serialize;
use serde_json::{Map, Value};

use super::in_same_document;
use crate::schema::walk;

/// A field that has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// The path of the field, such as `input.size` or `output[].name`.
    pub path: String,
    /// The old type. `None` if the field is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The new type. `None` if the field was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// The maximum depth of the comparison.
const DEEPEST: u32 = 32;

/// Returns the fields that differ.
pub(super) fn changed(path: &str, old: Option<Type<'_>>, new: Option<Type<'_>>) -> Vec<Field> {
    let mut found = Vec::new();
    each(path, old, new, &mut Seen::default(), &mut found);
    found
}

/// The pairs of types that are being compared, so that recursive types are compared once.
#[derive(Default)]
struct Seen {
    pairs: Vec<(String, String)>,
    depth: u32,
}

fn each(path: &str, old: Option<Type<'_>>, new: Option<Type<'_>>, seen: &mut Seen, found: &mut Vec<Field>) {
    let (Some(before), Some(after)) = (old, new) else {
        found.push(Field { path: path.to_owned(), before: old.map(shown), after: new.map(shown) });
        return;
    };
    if super::same(before, after) {
        return;
    }
    let pair = [before, after].map(|it| it.schema.as_object().and_then(walk::target));
    if let [Some(a), Some(b)] = pair {
        let pair = (a, b);
        if seen.pairs.contains(&pair) {
            return;
        }
        seen.pairs.push(pair);
    }
    let (inner_before, inner_after) = (followed(before), followed(after));
    let deeper = seen.depth < DEEPEST;
    match (keys_of(inner_before, "object"), keys_of(inner_after, "object")) {
        (Some(a), Some(b)) if deeper && has_fields(a) && has_fields(b) && !differ_beside(a, b, FIELDS) => {
            seen.depth += 1;
            fields(path, inner_before, a, inner_after, b, seen, found);
            seen.depth -= 1;
            return;
        }
        _ => {}
    }
    if let (Some(a), Some(b)) = (keys_of(inner_before, "array"), keys_of(inner_after, "array"))
        && let (true, Some(a_items), Some(b_items)) = (deeper, a.get("items"), b.get("items"))
        && !differ_beside(a, b, &["items"])
    {
        seen.depth += 1;
        let items = (in_same_document(inner_before, a_items), in_same_document(inner_after, b_items));
        each(&format!("{path}[]"), Some(items.0), Some(items.1), seen, found);
        seen.depth -= 1;
        return;
    }
    let (mut one, mut other) = (shown(before), shown(after));
    if one == other {
        // The short form omits bounds and patterns, so show the whole schema.
        (one, other) = (bare(inner_before.schema), bare(inner_after.schema));
    }
    found.push(Field { path: path.to_owned(), before: Some(one), after: Some(other) });
}

/// The keywords that concern the fields of an object.
const FIELDS: &[&str] = &["properties", "required"];

fn fields(
    path: &str,
    old: Type<'_>,
    a: &Map<String, Value>,
    new: Type<'_>,
    b: &Map<String, Value>,
    seen: &mut Seen,
    found: &mut Vec<Field>,
) {
    let of = |keys: &Map<String, Value>| keys.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let (mine, theirs) = (of(a), of(b));
    let added = theirs.keys().filter(|name| !mine.contains_key(*name));
    for name in mine.keys().chain(added) {
        let at = format!("{path}.{name}");
        let (before, after) = (mine.get(name), theirs.get(name));
        let was_needed = requires(a, name);
        match (before, after) {
            (Some(before), Some(after)) if was_needed != requires(b, name) => {
                let word = |needed| if needed { "" } else { ", may be missing" };
                let before = shown(in_same_document(old, before)) + word(was_needed);
                let after = shown(in_same_document(new, after)) + word(!was_needed);
                found.push(Field { path: at, before: Some(before), after: Some(after) });
            }
            (before, after) => {
                each(
                    &at,
                    before.map(|it| in_same_document(old, it)),
                    after.map(|it| in_same_document(new, it)),
                    seen,
                    found,
                );
            }
        }
    }
}

fn requires(keys: &Map<String, Value>, name: &str) -> bool {
    keys.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|it| it == name))
}

fn has_fields(keys: &Map<String, Value>) -> bool {
    keys.get("properties").is_some_and(Value::is_object)
}

/// Whether two schemas have different constraints apart from these keywords.
fn differ_beside(a: &Map<String, Value>, b: &Map<String, Value>, keywords: &[&str]) -> bool {
    let rest = |keys: &Map<String, Value>| {
        let mut keys = keys.clone();
        keys.retain(|key, _| !keywords.contains(&key.as_str()) && !super::is_note(key));
        keys
    };
    rest(a) != rest(b)
}

/// The keywords of a schema, if its `type` is this word.
fn keys_of<'a>(of: Type<'a>, word: &str) -> Option<&'a Map<String, Value>> {
    of.schema.as_object().filter(|keys| keys.get("type").and_then(Value::as_str) == Some(word))
}

fn followed(mut of: Type<'_>) -> Type<'_> {
    for _ in 0..DEEPEST {
        let target = of.schema.as_object().and_then(walk::target);
        match target.and_then(|name| of.root.get("$defs")?.get(&name)) {
            Some(schema) => of = in_same_document(of, schema),
            None => break,
        }
    }
    of
}

fn shown(of: Type<'_>) -> String {
    show_type(of.schema, of.root)
}

/// Formats a schema without its annotations.
fn bare(schema: &Value) -> String {
    let mut schema = schema.clone();
    walk::each(&mut schema, &mut |keys| keys.retain(|key, _| !super::is_note(key)));
    schema.to_string()
}
