//! The JSON Schemas of tasks: what a function takes and what it returns.

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::def::{Param, TaskDef};
use super::error::InputError;
use crate::id::Fingerprint;

/// The schema of a function's input: an object with a property for each input, or the type of the whole body.
pub fn input(def: &TaskDef, generator: &mut SchemaGenerator) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for param in def.params {
        match param {
            Param::Body { schema, .. } => return schema(generator).to_value(),
            Param::Field { name, docs, schema, optional, .. } => {
                let mut schema = schema(generator).to_value();
                if let (Value::Object(schema), false) = (&mut schema, docs.is_empty()) {
                    schema.insert("description".into(), Value::String((*docs).to_owned()));
                }
                properties.insert((*name).to_owned(), schema);
                if !optional() {
                    required.push(*name);
                }
            }
            Param::State { .. } | Param::Context | Param::Parts => {}
        }
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// The name of the parameter that takes the whole body.
pub const WHOLE: &str = "input";

/// Whether a function takes the whole body as one value.
pub(crate) fn takes_whole(def: &TaskDef) -> bool {
    def.params.iter().any(|param| matches!(param, Param::Body { .. }))
}

/// Returns a self-contained schema, which includes the types that it refers to.
pub(crate) fn whole(schema: impl FnOnce(&mut SchemaGenerator) -> Value) -> Value {
    let mut generator = SchemaGenerator::default();
    let mut schema = schema(&mut generator);
    let definitions = generator.take_definitions(true);
    if let (Value::Object(schema), false) = (&mut schema, definitions.is_empty()) {
        schema.insert("$defs".into(), Value::Object(definitions));
    }
    schema
}

impl TaskDef {
    /// The fingerprint of the input schema. It is computed on first use.
    pub fn fingerprint(&self) -> Fingerprint {
        self.rules.fingerprint(|| whole(|generator| input(self, generator)))
    }

    /// Checks a body against the constraints of the schema that serde does not check.
    ///
    /// Errors that serde finds as well are not reported here, because serde's messages are better.
    ///
    /// # Errors
    /// [`InputError::Wrong`] with the input and the constraint that it violates.
    pub fn check_rules(&self, body: &[u8]) -> Result<(), InputError> {
        self.rules.check(self.name, || constraints(self), body)
    }
}

/// Returns the keyword of a constraint of the inputs that serde does not check, or `None` if there is none.
#[cfg(not(feature = "constraints"))]
pub(crate) fn first_constraint(def: &TaskDef) -> Option<String> {
    super::rules::first_rule(&constraints(def)).map(str::to_owned)
}

/// Returns a schema with the constraints of all inputs. It does not say which inputs are required or known, as serde
/// checks that.
fn constraints(def: &TaskDef) -> Value {
    let mut generator = SchemaGenerator::default();
    let mut properties = Map::new();
    let mut whole = Vec::new();
    for param in def.params {
        match param {
            Param::Field { name, schema, .. } => {
                properties.insert((*name).to_owned(), schema(&mut generator).to_value());
            }
            Param::Body { schema, .. } => whole.push(schema(&mut generator).to_value()),
            Param::State { .. } | Param::Context | Param::Parts => {}
        }
    }
    whole.push(json!({ "properties": properties }));
    json!({ "allOf": whole, "$defs": generator.take_definitions(true) })
}
