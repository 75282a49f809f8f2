//! Time: the port, and the clock of the system.

pub mod system;

pub use ork_core::clock::*;
