//! Brokers: the port, and the embedded broker.

pub mod embedded;
mod yielding;

pub use ork_ports::broker::*;
