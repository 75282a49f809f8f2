//! The bundle: one JSON Schema document of all tasks, with their inputs and outputs, and of the messages that ork
//! sends.

use serde_json::{Map, Value, json};

use super::definitions::{Definitions, Types, warn_of_large_numbers};
use super::fingerprint::fingerprint;
use crate::event::Event;
use crate::message::Reply;
use crate::registry::Task;
use crate::task::schema;

/// The version of the form of this document. A reader rejects a version that it does not know.
pub(super) const VERSION: u64 = 1;

/// The key of the version.
pub(super) const VERSION_KEY: &str = "x-ork-schemas";

/// The key under which a task has the fingerprint of its input schema, as it is used in messages.
pub(super) const FINGERPRINT_KEY: &str = "x-ork-fingerprint";

/// The description of the output of a task that has no single output.
const NO_OUTPUT: &str = "The task has a split and no join, so its outcome has no output.";

/// Returns the JSON Schema (2020-12) of these tasks.
///
/// The schema describes an object with a property for each task. The properties of a task are its `input` (that of
/// the split if it has one), the input of one `part` if it has a split, and its `output` (that of the join if it has
/// one). Types that are used several times are in `$defs` once. So are `OrkOutcome`, `OrkFailure` and `OrkEvent`, the
/// messages that ork itself sends. The same program always gives the same bytes.
///
/// ```
/// let none = ork::schema::bundle(&[]);
/// assert_eq!(none["$schema"], "https://json-schema.org/draft/2020-12/schema");
/// ```
pub fn bundle<'t>(tasks: impl IntoIterator<Item = &'t Task>) -> Value {
    let mut types = Types::new();
    let described: Vec<_> = tasks.into_iter().map(|task| Described::of(task, &mut types)).collect();
    types.written.subschema_for::<Reply>();
    types.written.subschema_for::<Event>();
    let mut definitions = types.finish();
    let properties: Map<_, _> = described.into_iter().map(|task| task.named(&mut definitions)).collect();
    let required: Vec<_> = properties.keys().cloned().collect();
    let mut document = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tasks",
        "description": "The input and output of each task, by name.",
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
        VERSION_KEY: VERSION,
        "$defs": definitions.into_defs(),
    });
    add_fingerprints(&mut document);
    warn_of_large_numbers(&mut document);
    document
}

/// A task whose types have not been named yet.
struct Described {
    name: &'static str,
    docs: String,
    queue: &'static str,
    input: Value,
    part: Option<Value>,
    output: Option<Value>,
}

impl Described {
    fn of(task: &Task, types: &mut Types) -> Self {
        let docs = if task.entry().docs.is_empty() { task.work.docs } else { task.entry().docs };
        let is_one = task.split.is_none() || task.join.is_some();
        let returns = task.join.as_ref().unwrap_or(&task.work);
        Self {
            name: task.name(),
            docs: docs.to_owned(),
            queue: task.queue(),
            input: schema::input(task.entry(), &mut types.read),
            part: task.split.map(|_| schema::input(&task.work, &mut types.read)),
            output: is_one.then(|| (returns.output)(&mut types.written).to_value()),
        }
    }

    /// Returns the name and the schema of the task.
    fn named(self, definitions: &mut Definitions) -> (String, Value) {
        let name = pascal(self.name);
        let mut properties = Map::new();
        let input = definitions.name(self.input, &format!("{name}Input"));
        properties.insert("input".into(), input);
        if let Some(part) = self.part {
            properties.insert("part".into(), definitions.name(part, &format!("{name}Part")));
        }
        let output = self.output.map(|mut output| {
            definitions.rename(&mut output);
            output
        });
        properties
            .insert("output".into(), output.unwrap_or_else(|| json!({ "type": "null", "description": NO_OUTPUT })));
        let names: Vec<_> = properties.keys().cloned().collect();
        let mut task = json!({
            "type": "object",
            "properties": properties,
            "required": names,
            "additionalProperties": false,
            "x-ork-queue": self.queue,
        });
        if let (Value::Object(task), false) = (&mut task, self.docs.is_empty()) {
            task.shift_insert(0, "description".into(), Value::String(self.docs));
        }
        (self.name.to_owned(), task)
    }
}

/// Adds the fingerprint of its input schema to each task.
fn add_fingerprints(document: &mut Value) {
    let root = document.clone();
    let tasks = document.get_mut("properties").and_then(Value::as_object_mut);
    for task in tasks.into_iter().flat_map(Map::values_mut) {
        let Some(input) = task.pointer("/properties/input") else { continue };
        let name = fingerprint(input, &root).to_string();
        if let Value::Object(task) = task {
            task.insert(FINGERPRINT_KEY.into(), name.into());
        }
    }
}

/// Converts a task name such as `submit_large-sheet` to a type name: `SubmitLargeSheet`.
fn pascal(name: &str) -> String {
    let words = name.split(['_', '-', '.']).filter(|word| !word.is_empty());
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    words.map(capital).collect()
}

/// Returns pairs of definitions that look as if several types have the same name, such as `Row` and `Row2`. The
/// number was then added by the generator, and depends on the order of the tasks.
///
/// ```
/// let bundle = serde_json::json!({ "$defs": { "Row": {}, "Row2": {}, "Mp3": {} } });
/// assert_eq!(ork::schema::namesakes(&bundle), [("Row".to_owned(), "Row2".to_owned())]);
/// ```
pub fn namesakes(bundle: &Value) -> Vec<(String, String)> {
    let Some(names) = bundle.get("$defs").and_then(Value::as_object) else { return Vec::new() };
    let pairs = names.keys().filter_map(|name| {
        let first = name.trim_end_matches(|c: char| c.is_ascii_digit());
        (first.len() < name.len() && names.contains_key(first)).then(|| (first.to_owned(), name.clone()))
    });
    pairs.collect()
}
