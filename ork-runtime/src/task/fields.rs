//! The named inputs of a call: finds them in the body, and reads each by its type.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

use super::error::{CallError, InputError};

/// The named inputs of a call. They have been found in the body, but not read.
#[derive(Debug)]
pub struct Fields<'a> {
    names: &'a [&'static str],
    values: Vec<Option<&'a RawValue>>,
}

impl<'a> Fields<'a> {
    /// Finds the named inputs in a body.
    ///
    /// # Errors
    /// [`CallError::Input`] if the body is not JSON or not an object, or if it has an unknown or repeated name.
    pub fn find(body: &'a [u8], names: &'a [&'static str]) -> Result<Self, CallError> {
        let mut problem = None;
        let visitor = FieldsVisitor { names, problem: &mut problem };
        let mut json = serde_json::Deserializer::from_slice(body);
        let found = json.deserialize_any(visitor).and_then(|values| json.end().map(|()| values));
        let error = match (problem, found) {
            (Some(problem), _) => problem,
            (None, Ok(values)) => return Ok(Self { names, values }),
            (None, Err(error)) if error.is_data() => {
                let found = error.to_string();
                let found = found.strip_prefix("invalid type: ").and_then(|rest| rest.split(", expected").next());
                let found = found.unwrap_or("something else").to_owned();
                InputError::NotAnObject { found, expected: names.to_vec() }
            }
            (None, Err(error)) => InputError::NotJson { message: error.to_string() },
        };
        Err(CallError::Input(error))
    }
}

impl Fields<'_> {
    /// Reads one input.
    ///
    /// # Errors
    /// [`CallError::Input`] if it is missing or not a `T`.
    pub fn get<T: DeserializeOwned + JsonSchema>(&self, name: &'static str) -> Result<T, CallError> {
        let place = self.names.iter().position(|known| *known == name);
        match place.and_then(|place| *self.values.get(place)?) {
            Some(raw) => {
                serde_json::from_str(raw.get()).map_err(|_found_again_below| wrong::<T>(name, raw.get().as_bytes()))
            }
            None => T::deserialize(Missing).map_err(|_it_is_required| {
                CallError::Input(InputError::Missing { field: name, expected: expected::<T>() })
            }),
        }
    }
}

/// Whether an input of this type may be omitted: an `Option`, or any type that can be read from nothing.
pub(super) fn optional<T: DeserializeOwned>() -> bool {
    T::deserialize(Missing).is_ok()
}

/// Returns a short description of a type's JSON form.
fn expected<T: JsonSchema>() -> String {
    let schema = SchemaGenerator::default().into_root_schema_for::<T>();
    match schema.get("type").and_then(serde_json::Value::as_str) {
        Some(word) if word == "object" || word == "array" => {
            format!("{word} `{}`", T::schema_name())
        }
        Some(word) => word.to_owned(),
        None => format!("`{}`", T::schema_name()),
    }
}

/// Reads the value again with a slower reader that reports the path of the error.
#[cold]
pub(super) fn wrong<T: DeserializeOwned>(field: &str, json: &[u8]) -> CallError {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let (path, message) = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => (String::new(), "trailing characters".to_owned()),
        Err(error) => (error.path().to_string(), error.inner().to_string()),
    };
    let field = match (field, path.as_str()) {
        ("", "." | "") => "the body".to_owned(),
        ("", path) => path.to_owned(),
        (field, "." | "") => field.to_owned(),
        (field, path) if path.starts_with('[') => format!("{field}{path}"),
        (field, path) => format!("{field}.{path}"),
    };
    // The position is dropped: it is relative to the value, which the user does not see on its own.
    let message = message.split(" at line ").next().unwrap_or_default().to_owned();
    CallError::Input(InputError::Wrong { field, message })
}

struct FieldsVisitor<'v> {
    names: &'v [&'static str],
    problem: &'v mut Option<InputError>,
}

impl<'de> Visitor<'de> for FieldsVisitor<'_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![None; self.names.len()];
        while let Some(name) = map.next_key_seed(Name)? {
            let value: &RawValue = map.next_value()?;
            let place = self.names.iter().position(|known| *known == name);
            match place.and_then(|place| Some((self.names.get(place)?, values.get_mut(place)?))) {
                Some((_, slot @ None)) => *slot = Some(value),
                Some((field, Some(_))) => *self.problem = Some(InputError::Twice { field }),
                None => {
                    let similarity = |known: &&&'static str| strsim::jaro_winkler(known, &name);
                    let best = self.names.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
                    *self.problem = Some(InputError::Unknown {
                        suggestion: best.filter(|best| similarity(best) > 0.7).copied(),
                        expected: self.names.to_vec(),
                        field: name.into_owned(),
                    });
                }
            }
        }
        Ok(values)
    }
}

/// Borrows an object's key if it contains no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// A deserializer without a value: an `Option` is `None`, any other type is an error.
struct Missing;

impl<'de> Deserializer<'de> for Missing {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("it is missing"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_none()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
