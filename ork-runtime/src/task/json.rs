//! Writes values as JSON that can be read back. Every number must be one that JSON has, the nesting must not exceed
//! what readers accept, and the type must be able to read what it has written. A value that fails here would fail
//! later, when it is read.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Serialize, ser};
use serde_json::ser::{CompactFormatter, Formatter};

use super::finite;

/// The maximum nesting depth of arrays and objects that `serde_json` reads.
const DEEPEST: usize = 127;

/// Reads a written value and discards it.
pub type Back = fn(&[u8]) -> Result<(), serde_json::Error>;

/// Compile-time information on whether `T` can be read. If it can, the inherent constant takes precedence over the
/// one of [`NotRead`].
pub struct Reads<T>(std::marker::PhantomData<T>);

impl<T: DeserializeOwned> Reads<T> {
    /// A function that reads a `T`.
    pub const BACK: Option<Back> = Some(back::<T>);
}

/// Compile-time information on whether the success type of the `Result` `T` can be read, as in [`Reads`].
pub struct ReadsOk<T>(std::marker::PhantomData<T>);

impl<T: DeserializeOwned, E> ReadsOk<Result<T, E>> {
    /// A function that reads the success type.
    pub const BACK: Option<Back> = Some(back::<T>);
}

/// The constant that [`Reads`] and [`ReadsOk`] have for types that cannot be read.
pub trait NotRead {
    /// No function.
    const BACK: Option<Back> = None;
}

impl<T> NotRead for Reads<T> {}
impl<T> NotRead for ReadsOk<T> {}

impl<T> fmt::Debug for Reads<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reads")
    }
}

impl<T> fmt::Debug for ReadsOk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadsOk")
    }
}

/// Appends a value as JSON and reads it back with `back`, if the type can be read.
///
/// # Errors
/// If a part of the value cannot be written as JSON, or the type cannot read it. The error names that part.
pub(crate) fn write<T: Serialize + ?Sized>(
    value: &T,
    json: &mut Vec<u8>,
    back: Option<Back>,
) -> Result<(), serde_json::Error> {
    let (begin, seen) = (json.len(), Cell::new(Seen::default()));
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut *json, Watch { seen: &seen, depth: 0 }))?;
    let Seen { nulls, deepest } = seen.get();
    if deepest > DEEPEST {
        return Err(too_deep());
    }
    // A number that JSON cannot represent was written as `null`. Most values contain no `null`, so the search is
    // rare.
    if nulls {
        finite::check(value)?;
    }
    match (back, json.get(begin..)) {
        (Some(back), Some(written)) => back(written),
        _ => Ok(()),
    }
}

/// Reads a value of this type and discards it.
pub(crate) fn back<T: DeserializeOwned>(json: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<T>(json).map(drop).map_err(|_found_again_below| unreadable::<T>(json))
}

/// Checks the nesting depth of JSON that was written elsewhere.
///
/// # Errors
/// If it is nested too deeply to be read.
pub(crate) fn check_depth(json: &[u8]) -> Result<(), serde_json::Error> {
    let limits = crate::message::Limits { bytes: usize::MAX, depth: DEEPEST };
    limits.check(json).map_err(|_too_deep| too_deep())
}

#[cold]
fn too_deep() -> serde_json::Error {
    ser::Error::custom(format!(
        "nested more than {DEEPEST} levels deep, which cannot be read back: make it flatter, or return it as a string"
    ))
}

/// Reads a value again with a slower reader that reports the path of the error.
#[cold]
fn unreadable<T: DeserializeOwned>(json: &[u8]) -> serde_json::Error {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let (place, message) = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        // Only characters after the value can be the reason.
        Ok(_) => (String::new(), "more than one value was serialized".to_owned()),
        Err(error) => (error.path().to_string(), error.inner().to_string()),
    };
    let message = message.split(" at line ").next().unwrap_or_default();
    let place = if matches!(place.as_str(), "" | "." | "?") { String::new() } else { format!("`{place}`: ") };
    ser::Error::custom(format!(
        "`{}` cannot deserialize what it has serialized: {place}{message}; its `Serialize` and `Deserialize` must \
         match (tagged and untagged enums of serde cannot read keys that are numbers, or integers beyond 64 bits)",
        std::any::type_name::<T>()
    ))
}

/// Observations that were made while a value was written.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    nulls: bool,
    deepest: usize,
}

/// A formatter that writes like that of `serde_json`, and observes what it writes.
struct Watch<'s> {
    seen: &'s Cell<Seen>,
    depth: usize,
}

impl Watch<'_> {
    fn deeper(&mut self) {
        self.depth += 1;
        let seen = self.seen.get();
        if self.depth > seen.deepest {
            self.seen.set(Seen { deepest: self.depth, ..seen });
        }
    }
}

impl Formatter for Watch<'_> {
    fn write_null<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.seen.set(Seen { nulls: true, ..self.seen.get() });
        CompactFormatter.write_null(writer)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.deeper();
        CompactFormatter.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        CompactFormatter.end_array(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.deeper();
        CompactFormatter.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        CompactFormatter.end_object(writer)
    }
}

/// Returns the schema of an input or output.
pub fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;

    use super::*;

    fn written<T: Serialize + DeserializeOwned>(value: &T) -> Result<String, String> {
        let mut json = Vec::new();
        let written = write(value, &mut json, Reads::<T>::BACK).map_err(|error| error.to_string());
        written.map(|()| String::from_utf8(json).unwrap())
    }

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Counts { by: HashMap<u32, u8> },
    }

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        LargeOutputs(u128),
        Text(String),
    }

    #[derive(Serialize, Deserialize)]
    struct Skips {
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
    }

    #[derive(Serialize, Deserialize)]
    struct Deep(Vec<Self>);

    fn nested(levels: usize) -> Deep {
        (1..levels).fold(Deep(vec![]), |inner, _| Deep(vec![inner]))
    }

    #[test]
    fn values_their_type_cannot_read_back_are_rejected() {
        assert_eq!(written(&(1, "a".to_owned(), None::<u8>)).unwrap(), r#"[1,"a",null]"#);
        let map = Tagged::Counts { by: HashMap::from([(7, 1)]) };
        assert!(
            written(&map).unwrap_err().contains("Tagged` cannot deserialize what it has serialized"),
            "{:?}",
            written(&map)
        );
        assert_eq!(written(&Tagged::Counts { by: HashMap::new() }).unwrap(), r#"{"kind":"Counts","by":{}}"#);
        assert!(written(&Untagged::LargeOutputs(u128::MAX)).unwrap_err().contains("beyond 64 bits"));
        assert_eq!(written(&Untagged::Text("a".into())).unwrap(), r#""a""#);
        let skips = written(&vec![Skips { name: String::new() }]).unwrap_err();
        assert!(skips.contains("`[0]`: missing field `name`"), "{skips}");
    }

    #[test]
    fn values_nested_deeper_than_readers_accept_are_rejected() {
        let deepest = written(&nested(DEEPEST)).unwrap();
        assert!(serde_json::from_str::<Deep>(&deepest).is_ok());
        assert!(check_depth(deepest.as_bytes()).is_ok());
        let message = written(&nested(DEEPEST + 1)).unwrap_err();
        assert!(message.contains("more than 127 levels deep"), "{message}");
        assert!(check_depth(format!("[{deepest}]").as_bytes()).is_err());
        assert!(serde_json::from_str::<Deep>(&format!("[{deepest}]")).is_err());
    }

    #[test]
    fn types_without_deserialize_are_written() {
        #[derive(Serialize)]
        struct Written(&'static str);
        assert!(Reads::<Written>::BACK.is_none());
        assert!(ReadsOk::<Result<Written, String>>::BACK.is_none());
        assert!(ReadsOk::<Result<u8, String>>::BACK.is_some());
        let mut json = Vec::new();
        write(&Written("a"), &mut json, Reads::<Written>::BACK).unwrap();
        assert_eq!(json, b"\"a\"");
    }
}
