//! Stores: the port, and the stores that need no library.

pub mod memory;
pub mod none;

pub use ork_ports::store::*;
