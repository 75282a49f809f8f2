//! Reads the arguments of a call from its message: inputs by name or as a whole, context, state, parts.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::value::RawValue;

use super::def::{Check, Param};
use super::error::{CallError, InputError};
use super::json;
use super::outcome::{Form, Never};
use super::parts::{Parts, RawParts};
use super::state::{State, States};
use crate::context::Context;

/// Everything that is passed to one call.
#[derive(Debug)]
pub struct Call {
    /// The body of the message.
    pub body: Bytes,
    /// The context of the call.
    pub context: Context,
    /// The states of the application.
    pub states: States,
    /// The outcomes of the parts, for a join.
    pub parts: Option<RawParts>,
}

/// A type that can be an input of a task: it is owned, can be read from JSON and has a schema.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an input of a task",
    label = "not an input",
    note = "an input must be owned (`'static`), `Send`, and derive `serde::Deserialize`, `serde::Serialize` and `schemars::JsonSchema`",
    note = "a context is `ork::Context`, a state is `ork::State<T>`: mark the parameter `#[context]` or `#[state]` if its type has another name"
)]
pub trait TaskInput<Form>: DeserializeOwned + Serialize + JsonSchema + Send + 'static {}

impl<T: DeserializeOwned + Serialize + JsonSchema + Send + 'static> TaskInput<Form<0>> for T {}

// If a single impl could apply, the compiler would report each of its bounds. With two impls it reports the trait.
impl<T: Never + DeserializeOwned + Serialize + JsonSchema + Send + 'static> TaskInput<Form<1>> for T {}

/// A named input of type `T`: how it is described, read and written.
///
/// An expansion creates exactly one for each parameter, and only there it requires the traits of the type. An
/// unsuitable type therefore causes one compile error and not four.
#[derive(Debug, Clone, Copy)]
pub struct Input<T> {
    name: &'static str,
    docs: &'static str,
    schema: fn(&mut SchemaGenerator) -> Schema,
    optional: fn() -> bool,
    check: Check,
    read: fn(&Fields<'_>, &'static str) -> Result<T, CallError>,
    pub(super) write: fn(&T, &mut Vec<u8>) -> Result<(), serde_json::Error>,
}

/// Creates the input with this name and documentation.
pub const fn input<T: TaskInput<F>, F>(name: &'static str, docs: &'static str) -> Input<T> {
    Input {
        name,
        docs,
        schema: schema::<T>,
        optional: optional::<T>,
        check: |fields, name| fields.get::<T>(name).map(drop),
        read: |fields, name| fields.get(name),
        write: write::<T>,
    }
}

impl<T> Input<T> {
    /// The name of the input.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The parameter for the row of the task.
    pub const fn param(&self) -> Param {
        Param::Field {
            name: self.name,
            docs: self.docs,
            schema: self.schema,
            optional: self.optional,
            check: self.check,
        }
    }

    /// Reads the input.
    ///
    /// # Errors
    /// [`CallError::Input`] if it is missing or not a `T`.
    pub fn read(&self, fields: &Fields<'_>) -> Result<T, CallError> {
        (self.read)(fields, self.name)
    }
}

/// An input of type `T` that is the whole body. The counterpart of [`Input`].
#[derive(Debug, Clone, Copy)]
pub struct Body<T> {
    schema: fn(&mut SchemaGenerator) -> Schema,
    check: fn(&[u8]) -> Result<(), CallError>,
    read: fn(&Call) -> Result<T, CallError>,
    write: fn(&T, &mut Vec<u8>) -> Result<(), serde_json::Error>,
}

/// Creates the input that is the whole body.
pub const fn body<T: TaskInput<F>, F>() -> Body<T> {
    Body {
        schema: schema::<T>,
        check: |json| whole::<T>(json).map(drop),
        read: |call| whole(&call.body),
        write: write::<T>,
    }
}

impl<T> Body<T> {
    /// The parameter for the row of the task.
    pub const fn param(&self) -> Param {
        Param::Body { schema: self.schema, check: self.check }
    }

    /// Reads the input.
    ///
    /// # Errors
    /// [`CallError::Input`] if the body is not JSON or not a `T`.
    pub fn read(&self, call: &Call) -> Result<T, CallError> {
        (self.read)(call)
    }

    /// Writes the input.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn write(&self, value: &T) -> Result<Bytes, serde_json::Error> {
        let mut json = Vec::new();
        (self.write)(value, &mut json)?;
        Ok(json.into())
    }
}

fn write<T: Serialize + DeserializeOwned>(value: &T, json: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    json::write(value, json, Some(json::back::<T>))
}

/// A trait that only [`Context`] implements.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `ork::Context`",
    label = "not a context",
    note = "mark the parameter `#[input]` if this is your own type `Context`"
)]
pub trait IsContext: Sized {
    /// Returns the context of this call.
    fn of(call: &Call) -> Self;
}

impl IsContext for Context {
    fn of(call: &Call) -> Self {
        call.context.clone()
    }
}

/// A trait that only [`State<T>`] implements.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `ork::State<T>`",
    label = "not a state",
    note = "mark the parameter `#[input]` if this is your own type `State`"
)]
pub trait IsState: Sized {
    /// The type of the value inside.
    type Value: Send + Sync + 'static;

    /// Returns the state for this call.
    ///
    /// # Errors
    /// [`CallError::NoState`] if the application has given none.
    fn of(call: &Call) -> Result<Self, CallError>;
}

impl<T: Send + Sync + 'static> IsState for State<T> {
    type Value = T;

    fn of(call: &Call) -> Result<Self, CallError> {
        call.states.get().ok_or(CallError::NoState(std::any::type_name::<T>()))
    }
}

/// A trait that only [`Parts<T>`] implements, for a task that returns `T`.
#[diagnostic::on_unimplemented(
    message = "expected `ork::Parts<{T}>` for the parts of this task, found `{Self}`",
    label = "expected `ork::Parts<{T}>`",
    note = "a join takes `Parts` of the task's return type without its `Result`: failures are inside `Parts`"
)]
pub trait PartsOf<T>: Sized {
    /// Returns the outcomes of the parts of this call.
    fn of(call: &Call) -> Self;
}

impl<T: DeserializeOwned + Send + 'static> PartsOf<T> for Parts<T> {
    fn of(call: &Call) -> Self {
        Self::new(call.parts.clone().unwrap_or_default())
    }
}

/// The named inputs of a call. They have been found in the body, but not read.
#[derive(Debug)]
pub struct Fields<'a> {
    names: &'a [&'static str],
    values: Vec<Option<&'a RawValue>>,
}

impl Call {
    /// Finds the named inputs in the body.
    ///
    /// # Errors
    /// [`CallError::Input`] if the body is not JSON or not an object, or if it has an unknown or repeated name.
    pub fn fields<'a>(&'a self, names: &'a [&'static str]) -> Result<Fields<'a>, CallError> {
        Fields::find(&self.body, names)
    }
}

/// Reads the whole body as one input.
fn whole<T: DeserializeOwned>(body: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            wrong::<T>("", body)
        } else {
            CallError::Input(InputError::NotJson { message: error.to_string() })
        }
    })
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
fn optional<T: DeserializeOwned>() -> bool {
    T::deserialize(Missing).is_ok()
}

/// Returns the schema of an input or output.
pub fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
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
fn wrong<T: DeserializeOwned>(field: &str, json: &[u8]) -> CallError {
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
