//! Storage of large outputs: the port, and its adapter.

#[cfg(feature = "object-store")]
pub mod bucket;

pub use ork_ports::objects::*;
