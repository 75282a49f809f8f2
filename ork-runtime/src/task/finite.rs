//! Finds numbers that JSON cannot represent (NaN and infinities), for which `serde_json` writes `null`.

use std::fmt::{self, Display};

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Checks that every number of a value can be represented in JSON.
///
/// # Errors
/// The path of the first number that cannot.
#[cold]
pub(super) fn check<T: Serialize + ?Sized>(value: &T) -> Result<(), serde_json::Error> {
    value.serialize(NumberFinder).map_err(serde_json::Error::custom)
}

/// A number that JSON cannot represent, or another error.
#[derive(Debug)]
struct Found {
    /// The path of the number, from the innermost segment to the outermost one.
    place: Vec<String>,
    message: String,
}

impl Found {
    fn inside(mut self, step: impl FnOnce() -> String) -> Self {
        self.place.push(step());
        self
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place: String = self.place.iter().rev().map(String::as_str).collect();
        match place.strip_prefix('.').unwrap_or(&place) {
            "" => write!(f, "it {}", self.message),
            place => write!(f, "`{place}` {}", self.message),
        }
    }
}

impl std::error::Error for Found {}

impl serde::ser::Error for Found {
    fn custom<T: Display>(message: T) -> Self {
        Self { place: Vec::new(), message: format!("cannot be serialized: {message}") }
    }
}

fn number(number: f64) -> Result<(), Found> {
    if number.is_finite() {
        return Ok(());
    }
    let message =
        format!("is {number}, which JSON cannot represent: use a finite number, or an `Option` that is `None`");
    Err(Found { place: Vec::new(), message })
}

fn field(name: &str) -> String {
    format!(".{name}")
}

struct NumberFinder;

/// Serializes a list; counts its items.
struct Items(usize);

/// Serializes a map; holds the key of the next value.
struct Entries(Option<String>);

/// Serializes named fields.
struct Fields;

impl Items {
    fn next<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Found> {
        let at = self.0;
        self.0 += 1;
        item.serialize(NumberFinder).map_err(|found| found.inside(|| format!("[{at}]")))
    }
}

fn named<T: Serialize + ?Sized>(name: &'static str, value: &T) -> Result<(), Found> {
    value.serialize(NumberFinder).map_err(|found| found.inside(|| field(name)))
}

/// Formats a map key as a path segment.
fn key<T: Serialize + ?Sized>(key: &T) -> String {
    match serde_json::to_value(key) {
        Ok(serde_json::Value::String(text)) => field(&text),
        Ok(other) => field(&other.to_string()),
        Err(_no_key) => field("?"),
    }
}

macro_rules! nothing_wrong {
    ($($method:ident($type:ty))*) => {
        $(fn $method(self, _value: $type) -> Result<(), Found> {
            Ok(())
        })*
    };
}

impl Serializer for NumberFinder {
    type Ok = ();
    type Error = Found;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Entries;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    nothing_wrong! {
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_i128(i128) serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64)
        serialize_u128(u128) serialize_char(char) serialize_str(&str) serialize_bytes(&[u8])
    }

    fn serialize_f32(self, value: f32) -> Result<(), Found> {
        number(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Found> {
        number(value)
    }

    fn serialize_none(self) -> Result<(), Found> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Found> {
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Found> {
        Ok(())
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, _variant: &'static str) -> Result<(), Found> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Found> {
        named(variant, value)
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Items, Found> {
        Ok(Items(0))
    }

    fn serialize_tuple(self, _len: usize) -> Result<Items, Found> {
        Ok(Items(0))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Items, Found> {
        Ok(Items(0))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Items, Found> {
        Ok(Items(0))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Entries, Found> {
        Ok(Entries(None))
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Fields, Found> {
        Ok(Fields)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Fields, Found> {
        Ok(Fields)
    }
}

macro_rules! items {
    ($($compound:ident::$method:ident)*) => {
        $(impl $compound for Items {
            type Ok = ();
            type Error = Found;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
                self.next(value)
            }

            fn end(self) -> Result<(), Found> {
                Ok(())
            }
        })*
    };
}

items! {
    SerializeSeq::serialize_element SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field SerializeTupleVariant::serialize_field
}

macro_rules! fields {
    ($($compound:ident)*) => {
        $(impl $compound for Fields {
            type Ok = ();
            type Error = Found;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Found> {
                named(name, value)
            }

            fn end(self) -> Result<(), Found> {
                Ok(())
            }
        })*
    };
}

fields!(SerializeStruct SerializeStructVariant);

impl SerializeMap for Entries {
    type Ok = ();
    type Error = Found;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), Found> {
        self.0 = Some(key(name));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
        let name = self.0.take();
        value.serialize(NumberFinder).map_err(|found| found.inside(|| name.unwrap_or_default()))
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        name: &K,
        value: &V,
    ) -> Result<(), Found> {
        value.serialize(NumberFinder).map_err(|found| found.inside(|| key(name)))
    }

    fn end(self) -> Result<(), Found> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(serde::Serialize, Default)]
    struct Report {
        name: Option<String>,
        means: Vec<(u8, f64)>,
        by_day: BTreeMap<String, Shape>,
    }

    #[derive(serde::Serialize)]
    enum Shape {
        Circle { radius: f32 },
        Square(f64),
        Nothing,
    }

    fn message_of<T: Serialize>(value: &T) -> String {
        check(value).map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn error_names_the_path_of_the_number() {
        assert_eq!(message_of(&Report::default()), "fine");
        let means = Report { means: vec![(1, 1.0), (2, f64::NAN)], ..Report::default() };
        assert!(
            message_of(&means).starts_with("`means[1][1]` is NaN, which JSON cannot represent"),
            "{}",
            message_of(&means)
        );
        let shape = |shape| Report { by_day: BTreeMap::from([("monday".to_owned(), shape)]), ..Report::default() };
        assert_eq!(message_of(&shape(Shape::Nothing)), "fine");
        let circle = message_of(&shape(Shape::Circle { radius: f32::NEG_INFINITY }));
        assert!(circle.starts_with("`by_day.monday.radius` is -inf"), "{circle}");
        let square = message_of(&Some(shape(Shape::Square(f64::INFINITY))));
        assert!(square.starts_with("`by_day.monday.Square` is inf"), "{square}");
        assert!(message_of(&f64::NAN).starts_with("it is NaN"));
    }
}
