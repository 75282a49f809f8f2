//! The async runtime: the port, and tokio.

pub mod system;

pub use ork_ports::runtime::*;
