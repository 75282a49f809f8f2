//! The types that tasks name: those that are read and those that are written, under one name each where they are alike.

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::walk;

/// JavaScript has no whole numbers but those that a double holds.
const EXACT: u64 = (1 << 53) - 1;

/// Collects types while the schemas of tasks are made.
///
/// serde may read a type otherwise than it writes it (`default`, `skip_serializing`, `rename(serialize = "..")`), so there
/// are two generators.
pub(super) struct Types {
    pub(super) read: SchemaGenerator,
    pub(super) written: SchemaGenerator,
}

/// The types under their names, and what those that are written are called where both forms differ.
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

/// The types that have one name and two forms, or name one that has.
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

/// A name that nobody has: with this ending, and a number if that is taken, too.
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
    /// Makes a schema that is written name the written forms.
    pub(super) fn rename(&self, schema: &mut Value) {
        walk::each(schema, &mut |keys| {
            if let Some(name) = walk::target(keys).and_then(|name| self.renamed.get(&name)) {
                keys.insert("$ref".into(), walk::reference(name).into());
            }
        });
    }

    /// Gives a schema a name of its own, unless it is nothing but the name of a type; answers what refers to it.
    pub(super) fn name(&mut self, schema: Value, name: &str) -> Value {
        if schema.get("$ref").is_some() {
            return schema;
        }
        let mut taken = self.types.keys().cloned().collect();
        let name = free(name, "", &mut taken);
        self.types.insert(name.clone(), schema);
        json!({ "$ref": walk::reference(&name) })
    }

    /// The document's `$defs`: in the order of their names, each with a title, and what it says of itself first.
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

/// Says of each number that JavaScript may not hold that it may not.
pub(super) fn warn_of_large_numbers(schema: &mut Value) {
    walk::each(schema, &mut |keys| {
        let format = keys.get("format").and_then(Value::as_str).unwrap_or_default();
        let is_large = matches!(format, "int" | "int64" | "int128" | "uint" | "uint64" | "uint128");
        let is_bounded = keys.get("maximum").and_then(Value::as_u64).is_some_and(|most| most <= EXACT);
        if is_large && !is_bounded {
            let note = format!("JavaScript holds it exactly up to {EXACT}.");
            let before = keys.get("description").and_then(Value::as_str);
            let text = before.map_or_else(|| note.clone(), |before| format!("{before}\n\n{note}"));
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
    fn a_type_that_is_read_otherwise_than_written_has_two_names_and_so_has_what_names_it() {
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
    fn a_number_of_64_bits_says_that_javascript_cannot_hold_it() {
        let mut schema = json!({ "properties": {
            "a": { "format": "uint64", "description": "How many." },
            "b": { "format": "int64", "maximum": 10 },
            "c": { "format": "uint32" },
        } });
        warn_of_large_numbers(&mut schema);
        let description = |name: &str| schema["properties"][name].get("description").cloned();
        assert_eq!(description("a").unwrap(), "How many.\n\nJavaScript holds it exactly up to 9007199254740991.");
        assert_eq!((description("b"), description("c")), (None, None));
    }
}
