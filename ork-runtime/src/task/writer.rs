//! Writes the inputs of a message.

use bytes::Bytes;

use super::arg::Input;

/// Writes named inputs as one JSON object.
#[derive(Debug)]
pub struct Writer(Result<Vec<u8>, serde_json::Error>);

impl Writer {
    /// Creates a writer for an object that has no properties yet.
    #[expect(clippy::new_without_default, reason = "only generated code creates one")]
    pub fn new() -> Self {
        Self(Ok(vec![b'{']))
    }

    /// Adds a property. Its name is an identifier, so it needs no escaping. An error is returned by
    /// [`Writer::finish`].
    #[must_use]
    pub fn input<T>(self, input: &Input<T>, value: &T) -> Self {
        Self(self.0.and_then(|mut json| {
            if json.len() > 1 {
                json.push(b',');
            }
            json.push(b'"');
            json.extend_from_slice(input.name().as_bytes());
            json.extend_from_slice(b"\":");
            (input.write)(value, &mut json).map_err(|error| of_input(input.name(), &error))?;
            Ok(json)
        }))
    }

    /// Closes the object and returns it.
    ///
    /// # Errors
    /// If a value cannot be written as JSON.
    pub fn finish(self) -> Result<Bytes, serde_json::Error> {
        self.0.map(|mut json| {
            json.push(b'}');
            json.into()
        })
    }
}

/// Names the input in an error.
#[cold]
fn of_input(name: &str, error: &serde_json::Error) -> serde_json::Error {
    serde::ser::Error::custom(format!("the input `{name}`: {error}"))
}
