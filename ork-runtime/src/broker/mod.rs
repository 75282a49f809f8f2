//! Brokers: the port, and the embedded broker.

pub mod embedded;

pub use ork_ports::broker::*;
