//! The inputs and outputs of a program's tasks, as documents for programs in other languages. Pure code.
//!
//! [`bundle`] is one JSON Schema of all tasks, [`asyncapi`] adds how their messages travel, and [`fingerprint`] is a
//! short id of a schema. With the feature `workflow`, `compare` reports what a change breaks.
//!
//! ```
//! use ork::{Registry, schema, task};
//!
//! /// Greets a person.
//! #[task]
//! fn greet(
//!     /// Who is greeted.
//!     name: String,
//! ) -> String {
//!     format!("hello {name}")
//! }
//!
//! let bundle = schema::bundle(Registry::collect().unwrap().tasks());
//! assert_eq!(bundle["properties"]["greet"]["properties"]["input"]["$ref"], "#/$defs/GreetInput");
//! assert_eq!(bundle["$defs"]["GreetInput"]["properties"]["name"]["description"], "Who is greeted.");
//! ```

mod asyncapi;
mod bundle;
mod definitions;
#[cfg(feature = "workflow")]
mod diff;
mod draft7;
mod fingerprint;
mod walk;
mod yaml;

pub use asyncapi::{Wire, asyncapi};
pub use bundle::{bundle, namesakes};
#[cfg(feature = "workflow")]
pub use diff::{Became, Change, Effect, Field, NotABundle, compare};
pub use draft7::draft7;
pub use fingerprint::fingerprint;
pub use yaml::yaml;
