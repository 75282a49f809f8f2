//! The contract of a port: the behavior of every adapter, run over each adapter. A change to a port begins here.
#![cfg_attr(
    feature = "amqp",
    expect(unreachable_pub, clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "these are tests")
)]

#[cfg(feature = "amqp")]
mod adapters;
#[cfg(feature = "amqp")]
mod cases;
#[cfg(feature = "amqp")]
mod embedded;
use ork_test_support::{node, proxy, rabbit, raw};
#[cfg(feature = "amqp")]
mod outages;
#[cfg(feature = "amqp")]
mod rabbitmq;
#[cfg(feature = "amqp")]
mod redeliveries;
