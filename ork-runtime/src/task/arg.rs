//! Reads the arguments of a call from its message: inputs by name or as a whole, context, state, parts.

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::Call;
use super::def::{Check, Param};
use super::error::{CallError, InputError};
use super::fields::{Fields, optional, wrong};
use super::form::{Form, Never};
use super::json::{self, schema};
use super::parts::Parts;
use crate::context::Context;

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
