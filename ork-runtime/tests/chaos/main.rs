//! Chaos with real services: worker processes, a RabbitMQ node and a store. While a job runs, workers, RabbitMQ and
//! PostgreSQL are killed, and connections are cut. Then three RabbitMQ nodes, of which one at a time is killed. The
//! seed is printed; `ORK_TEST_SEED` repeats it.

#![expect(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "tests and their tasks: a failure must be loud, and other tests use other parts of the support"
)]

mod audit;
mod cluster;
#[path = "../support/cluster.rs"]
mod cluster_of;
mod events;
#[path = "../support/node.rs"]
mod node;
#[path = "../support/postgres.rs"]
mod postgres;
mod processes;
#[path = "../support/proof.rs"]
mod proof;
#[path = "../support/proxy.rs"]
#[expect(dead_code, reason = "other tests use another part of it")]
mod proxy;
#[path = "../support/rabbit.rs"]
mod rabbit;
mod rounds;
mod storm;
mod suspects;
mod tasks;
