//! The constraints that a task's schema puts on its inputs, beyond those that serde checks: ranges, lengths,
//! patterns.
//!
//! A type declares them with `#[schemars(range(min = 1))]`, `length`, `regex` and the like. A `format` is only an
//! annotation, as JSON Schema defines it. Duplicates in the input of a set are accepted and merged.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::error::InputError;
use crate::id::Fingerprint;

/// The constraints of one function. They are prepared on first use. Most functions have none; for these, each further
/// check is a single load.
#[derive(Debug)]
pub struct Rules {
    /// The fingerprint of the input schema.
    fingerprint: OnceLock<Fingerprint>,
    #[cfg(feature = "constraints")]
    ready: OnceLock<Option<Box<jsonschema::Validator>>>,
}

impl Rules {
    /// Creates constraints that have not been prepared yet.
    #[expect(clippy::new_without_default, reason = "only generated code creates one")]
    pub const fn new() -> Self {
        Self {
            fingerprint: OnceLock::new(),
            #[cfg(feature = "constraints")]
            ready: OnceLock::new(),
        }
    }

    /// The fingerprint of the input schema. It is computed on first use.
    pub(super) fn fingerprint(&self, schema: impl FnOnce() -> Value) -> Fingerprint {
        *self.fingerprint.get_or_init(|| {
            let schema = schema();
            crate::schema::fingerprint(&schema, &schema)
        })
    }
}

/// Returns the keyword of a constraint anywhere in a schema, or `None` if it has none.
pub(crate) fn first_rule(schema: &Value) -> Option<&str> {
    match schema {
        Value::Object(schema) => {
            let here = schema.keys().find(|keyword| is_rule(schema, keyword)).map(String::as_str);
            here.or_else(|| schema.values().find_map(first_rule))
        }
        Value::Array(schemas) => schemas.iter().find_map(first_rule),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Whether a keyword is a constraint that serde does not check by the type alone.
fn is_rule(schema: &Map<String, Value>, keyword: &str) -> bool {
    let is = |keyword: &str, value: u64| schema.get(keyword).and_then(Value::as_u64) == Some(value);
    match keyword {
        // A property can have the name of a keyword, but its value is a schema then.
        _ if !schema.get(keyword).is_some_and(|value| value.is_number() || value.is_string()) => false,
        // The bounds of the integer type itself are not constraints.
        "minimum" | "maximum" => {
            let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
            let bound = schema.get(keyword).and_then(Value::as_i64);
            let [low, high] = match format {
                "uint8" => [0, u8::MAX.into()],
                "uint16" => [0, u16::MAX.into()],
                "uint" | "uint32" | "uint64" | "uint128" => [0, u32::MAX.into()],
                "int8" => [i8::MIN.into(), i8::MAX.into()],
                "int16" => [i16::MIN.into(), i16::MAX.into()],
                _ => return true,
            };
            bound != Some(if keyword == "minimum" { low } else { high })
        }
        // The lengths of a `char` are not a constraint.
        "minLength" | "maxLength" => !(is("minLength", 1) && is("maxLength", 1)),
        // The length of a fixed-size array is not a constraint.
        "minItems" | "maxItems" => schema.get("minItems") != schema.get("maxItems"),
        "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" | "pattern" | "minProperties" | "maxProperties" => true,
        _ => false,
    }
}

#[cfg(not(feature = "constraints"))]
impl Rules {
    /// Accepts every body: without the feature `constraints`, the registry rejects tasks whose inputs have constraints.
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "as with the feature")]
    pub(super) fn check(&self, _task: &str, _schema: impl FnOnce() -> Value, _body: &[u8]) -> Result<(), InputError> {
        Ok(())
    }
}

#[cfg(feature = "constraints")]
mod checked {
    use jsonschema::error::{ValidationError, ValidationErrorKind as Kind};
    use jsonschema::paths::LocationSegment;
    use serde_json::Value;

    use super::{InputError, Rules, first_rule};

    /// The maximum length of a value that is repeated in an error message.
    const LONGEST: usize = 100;

    impl Rules {
        /// Checks a body against the constraints of the schema that serde does not check.
        pub(in crate::task) fn check(
            &self,
            task: &str,
            schema: impl FnOnce() -> Value,
            body: &[u8],
        ) -> Result<(), InputError> {
            let Some(validator) = self.ready.get_or_init(|| validator(task, &schema())) else { return Ok(()) };
            let Ok(input) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
            let broken = validator.iter_errors(&input).find_map(|error| broken(&error));
            broken.map_or(Ok(()), Err)
        }
    }

    /// Returns a validator for the constraints of a function, or `None` if it has none.
    fn validator(task: &str, schema: &Value) -> Option<Box<jsonschema::Validator>> {
        first_rule(schema)?;
        let options = jsonschema::options().should_validate_formats(false);
        match options.build(schema) {
            Ok(validator) => Some(Box::new(validator)),
            Err(error) => {
                let error = error.to_string();
                tracing::warn!(task, error, "cannot read the schema of the input; its rules are not checked");
                None
            }
        }
    }

    /// Returns the violated constraint, or `None` if the error is one that serde reports.
    fn broken(error: &ValidationError<'_>) -> Option<InputError> {
        let rule = match error.kind() {
            Kind::Minimum { .. }
            | Kind::Maximum { .. }
            | Kind::ExclusiveMinimum { .. }
            | Kind::ExclusiveMaximum { .. }
            | Kind::MultipleOf { .. }
            | Kind::MinLength { .. }
            | Kind::MaxLength { .. }
            | Kind::Pattern { .. }
            | Kind::MinItems { .. }
            | Kind::MaxItems { .. }
            | Kind::MinProperties { .. }
            | Kind::MaxProperties { .. } => error,
            // Of several alternatives, report the one that violates nothing but constraints.
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                return context.iter().find_map(|form| {
                    let broken: Option<Vec<_>> = form.iter().map(broken).collect();
                    broken?.into_iter().next()
                });
            }
            _ => return None,
        };
        let found = rule.instance().to_string();
        let message = if found.len() > LONGEST { rule.masked().to_string() } else { rule.to_string() };
        Some(InputError::Wrong { field: path(rule), message })
    }

    /// The path of an error in the notation of serde's errors: `size.width`, `items[3]`.
    fn path(error: &ValidationError<'_>) -> String {
        let mut path = String::new();
        for segment in error.instance_path() {
            match segment {
                LocationSegment::Index(index) => path.extend(["[", &index.to_string(), "]"]),
                LocationSegment::Property(name) if path.is_empty() => path.push_str(&name),
                LocationSegment::Property(name) => path.extend([".", &name]),
            }
        }
        if path.is_empty() { "the body".to_owned() } else { path }
    }
}
