//! The contract of a port: the behavior of every adapter, run over each adapter. A change to a port begins here.
#![cfg_attr(
    feature = "amqp",
    expect(
        unreachable_pub,
        clippy::panic,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        reason = "these are tests"
    )
)]

#[cfg(feature = "amqp")]
mod adapters;
#[cfg(feature = "amqp")]
mod broker;
#[cfg(feature = "amqp")]
mod embedded;
#[cfg(feature = "amqp")]
#[path = "../support/node.rs"]
mod node;
#[cfg(feature = "amqp")]
mod outages;
#[cfg(feature = "amqp")]
#[path = "../support/proxy.rs"]
#[expect(dead_code, reason = "other tests use another part of it")]
mod proxy;
#[cfg(feature = "amqp")]
#[expect(dead_code, reason = "other tests use another part of it")]
#[path = "../support/rabbit.rs"]
mod rabbit;
#[cfg(feature = "amqp")]
mod rabbitmq;
#[cfg(feature = "amqp")]
#[path = "../support/raw.rs"]
mod raw;
#[cfg(feature = "amqp")]
mod redeliveries;
