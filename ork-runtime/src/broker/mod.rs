//! Brokers: the port, and its adapters.

pub mod embedded;

pub use ork_ports::broker::*;

#[cfg(feature = "amqp")]
pub use ork_amqp as amqp;
