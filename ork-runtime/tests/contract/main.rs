//! The contract of a port: what every adapter must do, run over each adapter. A change to a port begins here.
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
use ork_test_support::{node, proxy, rabbit, raw};
#[cfg(feature = "amqp")]
mod outages;
#[cfg(feature = "amqp")]
#[cfg(feature = "amqp")]
#[cfg(feature = "amqp")]
mod rabbitmq;
#[cfg(feature = "amqp")]
#[cfg(feature = "amqp")]
mod redeliveries;
