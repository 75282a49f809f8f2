//! Randomness: the port, and the random numbers of the system.

pub mod system;

pub use ork_core::entropy::*;
