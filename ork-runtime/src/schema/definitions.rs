//! The types that tasks refer to. A type has one name if it is read and written in the same form, and two names
//! otherwise.

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::walk;

/// The largest integer up to which JavaScript represents all integers exactly, because its numbers are doubles.
const EXACT: u64 = (1 << 53) - 1;

/// Collects types while the schemas of the tasks are generated.
///
/// serde may read a type in another form than it writes it (`default`, `skip_serializing`, `rename(serialize =
/// "..")`), so there are two generators.
pub(super) struct Types {
    pub(super) read: SchemaGenerator,
    pub(super) written: SchemaGenerator,
}

/// The types by name, and the names of the written forms that differ from the read ones.
pub(super) struct Definitions {
    pub(super) types: BTreeMap<String, Value>,
    renamed: BTreeMap<String, String>,
}

impl Types {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12();
        Self { read: settings.clone().into_generator(), written: settings.for_serialize().into_generator() }
    }

    pub(super) fn finish(mut self) -> Definitions {
        let read: BTreeMap<_, _> = self.read.take_definitions(true).into_iter().collect();
        let written: BTreeMap<_, _> = self.written.take_definitions(true).into_iter().collect();
        let mut taken: BTreeSet<String> = read.keys().chain(written.keys()).cloned().collect();
        let renamed: BTreeMap<String, String> = differing(&read, &written)
            .into_iter()
            .map(|name| (name.clone(), free(&name, "Output", &mut taken)))
            .collect();
        let mut definitions = Definitions { types: read, renamed };
        for (name, mut schema) in written {
            definitions.rename(&mut schema);
            let name = definitions.renamed.get(&name).cloned().unwrap_or(name);
            definitions.types.insert(name, schema);
        }
        definitions
    }
}

/// Returns the types whose two forms differ, or that refer to such a type.
fn differing(read: &BTreeMap<String, Value>, written: &BTreeMap<String, Value>) -> BTreeSet<String> {
    let both = written.iter().filter_map(|(name, schema)| Some((name, schema, read.get(name)?)));
    let both: Vec<_> = both.collect();
    let unlike = both.iter().filter(|(_, a, b)| a != b).map(|(name, ..)| (*name).clone());
    let mut found: BTreeSet<String> = unlike.collect();
    loop {
        let before = found.len();
        for (name, schema, _) in &both {
            if walk::targets(schema).iter().any(|target| found.contains(target)) {
                found.insert((*name).clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// Returns an unused name with this ending. A number is added if the name is taken.
fn free(name: &str, ending: &str, taken: &mut BTreeSet<String>) -> String {
    let mut numbers = std::iter::once(String::new()).chain((2_u32..).map(|number| number.to_string()));
    loop {
        let number = numbers.next().unwrap_or_default();
        let name = format!("{name}{ending}{number}");
        if taken.insert(name.clone()) {
            return name;
        }
    }
}

impl Definitions {
    /// Makes the references of a written schema point to the written forms.
    pub(super) fn rename(&self, schema: &mut Value) {
        walk::each(schema, &mut |keys| {
            if let Some(name) = walk::target(keys).and_then(|name| self.renamed.get(&name)) {
                keys.insert("$ref".into(), walk::reference(name).into());
            }
        });
    }

    /// Adds a schema as a definition, unless it is only a reference to a type. Returns a reference to it.
    pub(super) fn name(&mut self, schema: Value, name: &str) -> Value {
        if schema.get("$ref").is_some() {
            return schema;
        }
        let mut taken = self.types.keys().cloned().collect();
        let name = free(name, "", &mut taken);
        self.types.insert(name.clone(), schema);
        json!({ "$ref": walk::reference(&name) })
    }

    /// Returns the `$defs` of the document in the order of their names. Each has a title and its description first.
    pub(super) fn into_defs(self) -> Map<String, Value> {
        let titled = self.types.into_iter().map(|(name, mut schema)| {
            if let Value::Object(keys) = &mut schema {
                let title = keys.shift_remove("title").unwrap_or_else(|| Value::String(name.clone()));
                if let Some(description) = keys.shift_remove("description") {
                    keys.shift_insert(0, "description".into(), description);
                }
                keys.shift_insert(0, "title".into(), title);
            }
            (name, schema)
        });
        titled.collect()
    }
}

/// Adds a note to each number that may be too large for JavaScript.
pub(super) fn warn_of_large_numbers(schema: &mut Value) {
    walk::each(schema, &mut |keys| {
        let format = keys.get("format").and_then(Value::as_str).unwrap_or_default();
        let is_large = matches!(format, "int" | "int64" | "int128" | "uint" | "uint64" | "uint128");
        let is_bounded = keys.get("maximum").and_then(Value::as_u64).is_some_and(|most| most <= EXACT);
        if is_large && !is_bounded {
            let text = format!("JavaScript represents it exactly only up to {EXACT}.");
            let before = keys.get("description").and_then(Value::as_str);
            let text = before.map_or_else(|| text.clone(), |before| format!("{before}\n\n{text}"));
            keys.insert("description".into(), Value::String(text));
        }
    });
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Same {
        size: u8,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Unlike {
        #[serde(default)]
        same: Vec<Same>,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Above {
        unlike: Option<Unlike>,
    }

    #[test]
    fn types_that_differ_when_read_and_written_get_two_names() {
        let mut types = Types::new();
        types.read.subschema_for::<Above>();
        let mut output = types.written.subschema_for::<Vec<Above>>().to_value();
        let definitions = types.finish();
        definitions.rename(&mut output);
        let names: Vec<_> = definitions.types.keys().map(String::as_str).collect();
        assert_eq!(names, ["Above", "AboveOutput", "Same", "Unlike", "UnlikeOutput"]);
        assert_eq!(output["items"]["$ref"], "#/$defs/AboveOutput");
        assert_eq!(
            definitions.types["AboveOutput"]["properties"]["unlike"]["anyOf"][0]["$ref"],
            "#/$defs/UnlikeOutput"
        );
        assert_eq!(definitions.types["UnlikeOutput"]["required"], json!(["same"]));
        assert_eq!(definitions.types["Unlike"].get("required"), None);
    }

    #[test]
    fn large_integers_carry_a_javascript_note() {
        let mut schema = json!({ "properties": {
            "a": { "format": "uint64", "description": "How many." },
            "b": { "format": "int64", "maximum": 10 },
            "c": { "format": "uint32" },
        } });
        warn_of_large_numbers(&mut schema);
        let description = |name: &str| schema["properties"][name].get("description").cloned();
        assert_eq!(
            description("a").unwrap(),
            "How many.\n\nJavaScript represents it exactly only up to 9007199254740991."
        );
        assert_eq!((description("b"), description("c")), (None, None));
    }
}
