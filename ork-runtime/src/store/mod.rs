//! Stores: the port, and its adapters.

pub mod memory;
pub mod none;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use ork_ports::store::*;
